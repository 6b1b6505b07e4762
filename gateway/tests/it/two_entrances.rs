//! The same mistake, told over HTTP and on the bus: by the same code, about the same fields, in the same words.

use app::authority::{Authorities, Grants, TEAM_SETTING};
use app::command_consumer::CommandDecoder;
use app::commands::Commands;
use bus::clock::{Clock, IdGenerator};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, KEY, PLAIN_KEY, World, observation, worker};

const SESSIONS: &str = "/api/internal/lablet-sessions";
const TRANSITION: &str = "/api/internal/lablet-sessions/s1/transition";
const OBSERVATIONS: &str = "/api/internal/lablet-sessions/s1/resource-observations";

/// What a sender is told.
#[derive(Debug, PartialEq)]
struct Refusal {
    code: String,
    /// Field, problem and what would be right.
    errors: Vec<[String; 3]>,
    words: String,
    /// Code and field of each.
    warnings: Vec<[String; 2]>,
}

fn texts<const N: usize>(list: &Value, members: [&str; N]) -> Vec<[String; N]> {
    let entries = list.as_array().into_iter().flatten();
    entries.map(|entry| members.map(|member| entry[member].as_str().unwrap_or_default().to_owned())).collect()
}

/// A sentence and a message differ by a capital letter and a full stop, and a sentence about many by where they are.
fn words(text: &str) -> String {
    let text = text.trim_end_matches('.').split_once("; and ").map_or(text.trim_end_matches('.'), |(first, _)| first);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn by_http(answer: &Answer) -> Refusal {
    Refusal {
        code: answer.body["code"].as_str().unwrap_or_default().to_owned(),
        errors: texts(&answer.body["errors"], ["field", "problem", "expected"]),
        words: words(answer.body["detail"].as_str().unwrap_or_default()),
        warnings: texts(&answer.body["warnings"], ["code", "field"]),
    }
}

/// What HTTP calls the body as a whole, the bus calls `data`: a member of the event.
fn by_bus(answer: &Value) -> Refusal {
    let error = &answer["error"];
    let mut errors = texts(&error["errors"], ["field", "problem", "expected"]);
    for [field, ..] in &mut errors {
        if field == "data" {
            field.clear();
        }
    }
    let message = error["message"].as_str().unwrap_or_default();
    let message = message.strip_prefix("data ").map_or_else(|| message.to_owned(), |rest| format!("the body {rest}"));
    Refusal {
        code: error["code"].as_str().unwrap_or_default().to_owned(),
        errors,
        words: words(&message),
        warnings: texts(&answer["warnings"], ["code", "field"]),
    }
}

/// The bus' entrance to the log of a world, as the stream, the micro service and the retry of dead letters use it.
struct BusEntrance(CommandDecoder);

impl BusEntrance {
    fn new(world: &World) -> Self {
        let teams = Grants::parse(TEAM_SETTING, "booking=all").unwrap();
        let commands = Commands::new(world.log.clone(), Clock::system(), IdGenerator::random());
        Self(CommandDecoder::new(commands.with_authorities(Authorities::new(teams, Grants::default()))))
    }

    /// What the sender is told of this data, which is no Rust value as it may say a name twice.
    async fn send(&self, team: &str, (command, id, about): (&str, &str, Option<&str>), data: &str) -> Value {
        let subject = about.map_or_else(String::new, |about| format!(r#""subject":"{about}","#));
        let event = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/{team}","type":"io.lablet.command.{command}.v1",{subject}
                "datacontenttype":"application/json","data":{data}}}"#
        );
        let subject = format!("lablet.commands.{team}.{command}");
        let outcome = match CommandDecoder::take(&subject, None, event.as_bytes()) {
            Ok(decoded) => self.0.handle(decoded).await,
            Err(rejection) => Err(rejection),
        };
        outcome.map_or_else(|rejection| rejection.answer(), |answer| panic!("{command} {data} took effect: {answer:?}"))
    }
}

async fn over_http(world: &World, key: &str, path: &str, body: &str) -> Answer {
    let request = world.request(Method::POST, path).header("x-api-key", key);
    world.send(request.header("content-type", "application/json").body(body.to_owned())).await
}

#[tokio::test]
async fn a_wrong_command_is_refused_with_the_same_code_fields_and_words_by_both_entrances() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let bus = BusEntrance::new(&world);
    let of_s1 = |command| (command, "c1", Some("s1"));
    let begin = |command| (command, "c1", None);
    let with = |mut value: Value, path: &str, member: Value| {
        *value.pointer_mut(path).unwrap() = member;
        value.to_string()
    };
    let report = observation(2, &json!({"PC_serial": 5041}));
    let nodes = with(report.clone(), "/observed_resources/nodes/1/cpu_limit", json!("many"));
    let late = with(report.clone(), "/observed_resources/observed_at", json!("yesterday"));
    let port = with(report.clone(), "/observed_ports/PC_serial", json!(70_000));
    let cores = with(worker("w2"), "/capacity/cpu_cores", json!(0));
    let address = with(worker("w2"), "/address", json!("not an address"));
    let nul = json!({"definition_id": "d1", "owner_id": "a\u{0}b"}).to_string();
    let strange = json!({"definition_id": "no such", "owner_id": 7, "ownerid": "x"}).to_string();
    for (mistake, http, (command, id, about), body) in [
        ("a body that is no JSON object", TRANSITION, of_s1("transition_lablet_session"), "[]"),
        ("a member that is missing", TRANSITION, of_s1("transition_lablet_session"), r#"{"reason": "x"}"#),
        ("a status that is none", TRANSITION, of_s1("transition_lablet_session"), r#"{"new_status": "flying"}"#),
        (
            "a member that is given twice",
            TRANSITION,
            of_s1("transition_lablet_session"),
            r#"{"new_status": "collecting", "new_status": "stopping"}"#,
        ),
        ("a wrong type deep in the body", OBSERVATIONS, of_s1("record_resource_observation"), &nodes),
        ("a time that is none", OBSERVATIONS, of_s1("record_resource_observation"), &late),
        ("a number out of its range", OBSERVATIONS, of_s1("record_resource_observation"), &port),
        ("a capacity of nothing", "/api/workers", begin("register_worker"), &cores),
        ("an address that is none", "/api/workers", begin("register_worker"), &address),
        ("a NUL in a text", SESSIONS, begin("create_lablet_session"), &nul),
        ("several mistakes and an unknown member", SESSIONS, begin("create_lablet_session"), &strange),
        (
            "a definition that is unknown",
            SESSIONS,
            begin("create_lablet_session"),
            r#"{"definition_id": "d9", "owner_id": "learner"}"#,
        ),
        (
            "a session that is unknown",
            "/api/internal/lablet-sessions/s9/transition",
            ("transition_lablet_session", "c1", Some("s9")),
            r#"{"new_status": "collecting"}"#,
        ),
        (
            "a worker that is unknown",
            TRANSITION,
            of_s1("transition_lablet_session"),
            r#"{"new_status": "scheduled", "worker_id": "w9"}"#,
        ),
        ("a step that is not allowed", TRANSITION, of_s1("transition_lablet_session"), r#"{"new_status": "archived"}"#),
        (
            "an id that something else has",
            "/api/workers",
            begin("register_worker"),
            &with(worker("w1"), "/name", json!("Another")),
        ),
        (
            "a session id that is taken",
            SESSIONS,
            begin("create_lablet_session"),
            r#"{"id": "s1", "definition_id": "d1", "owner_id": "somebody else"}"#,
        ),
    ] {
        let answer = over_http(&world, KEY, http, body).await;
        assert!((400..500).contains(&answer.status), "{mistake}: {} {}", answer.status, answer.body);
        let told = bus.send("booking", (command, id, about), body).await;
        assert_eq!(by_http(&answer), by_bus(&told), "{mistake}:\n{}\n{told}", answer.body);
    }
}

#[tokio::test]
async fn a_key_used_for_another_command_and_a_command_without_authority_are_refused_alike() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let bus = BusEntrance::new(&world);
    let step = |status: &str| json!({"new_status": status}).to_string();
    let keyed = |body: String| {
        let request = world.request(Method::POST, TRANSITION).header("x-api-key", KEY).header("idempotency-key", "k1");
        world.send(request.header("content-type", "application/json").body(body))
    };
    keyed(step("collecting")).await.expect(200);
    let reused = keyed(step("grading")).await.expect(409);
    let event = |status: &str| {
        let data = json!({"session_id": "s1", "new_status": status});
        let kind = "io.lablet.command.transition_lablet_session.v1";
        json!({"specversion": "1.0", "id": "c1", "source": "/b", "type": kind, "data": data}).to_string()
    };
    let taken = |event: String| {
        CommandDecoder::take("lablet.commands.booking.transition_lablet_session", None, event.as_bytes()).unwrap()
    };
    bus.0.handle(taken(event("grading"))).await.unwrap();
    let told = bus.0.handle(taken(event("stopping"))).await.unwrap_err().answer();
    assert_eq!(by_http(&reused), by_bus(&told));

    let forbidden = over_http(&world, PLAIN_KEY, "/api/workers", &worker("w2").to_string()).await.expect(403);
    let told = bus.send("grading", ("register_worker", "c2", None), &worker("w2").to_string()).await;
    assert_eq!(by_http(&forbidden).code, by_bus(&told).code);
    for (sender, told) in [("grading", by_http(&forbidden).words), ("grading", by_bus(&told).words)] {
        assert!(told.contains(sender) && told.contains("register_worker"), "{told}");
    }
}
