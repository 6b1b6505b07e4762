//! The pages about workers, operations and events, and what is at no path at all, as they come over HTTP.

use app::dead_letters::{DeadLetterKind, Undeliverable};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Answer, OPERATOR, VIEWER, World, observation, until, worker};

/// The most that a first view may weigh.
const LIGHT: usize = 100 * 1024;

fn html(answer: &Answer) -> &str {
    assert!(answer.header("content-type").starts_with("text/html"), "{:?}", answer.headers);
    answer.body.as_str().unwrap()
}

async fn page_as(world: &World, token: &str, path: &str) -> Answer {
    world.send(world.request(Method::GET, path).bearer_auth(token)).await
}

async fn form(world: &World, token: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = world.request(Method::POST, path).bearer_auth(token).body(body);
    let request = request.header("content-type", "application/x-www-form-urlencoded").build().unwrap();
    let none = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(none).build().unwrap();
    Answer::of(http.execute(request).await.unwrap()).await
}

/// Where a form leads, without the place on the page.
fn led_to(answer: &Answer) -> String {
    answer.header("location").split('#').next().unwrap().to_owned()
}

/// Observes a session, and answers the position at which that is.
async fn observe(world: &World, session: &str, seen: &Value) -> String {
    let path = format!("/api/internal/lablet-sessions/{session}/resource-observations");
    world.post(&path, seen).await.expect(200).body["position"].as_str().unwrap().to_owned()
}

async fn keep(world: &World, source: &str, reason: &str, message: &str) -> String {
    let content_type = ("Content-Type".to_owned(), "application/cloudevents+json".to_owned());
    let letter = Undeliverable {
        kind: DeadLetterKind::Command,
        source,
        reason: reason.to_owned(),
        aggregate: Some(("lablet_session", "s1")),
        event: None,
        headers: [content_type, ("Authorization".to_owned(), "Bearer s3cret".to_owned())].into(),
        raw_headers: None,
        payload: message.as_bytes(),
    };
    format!("command:{}", world.dead_letters.keep(&letter).await.unwrap())
}

fn transition_of_s1() -> String {
    json!({
        "specversion": "1.0", "id": "1", "source": "/grading", "type": "io.lablet.command.transition_lablet_session.v1",
        "data": {"session_id": "s1", "new_status": "collecting"},
    })
    .to_string()
}

#[tokio::test]
async fn a_worker_shows_its_capacity_and_who_holds_which_port() {
    let world = World::start().await;
    let empty = world.get_in_time("/workers").await;
    assert!(html(&empty).contains("There is no worker yet."), "{}", html(&empty));
    world.session("s1", "running").await;
    world.session("s2", "running").await;
    let unseen = world.get_in_time("/workers/w1").await;
    assert!(html(&unseen).contains("unknown of 64 cores") && !html(&unseen).contains(">0 of 64 cores"));
    let seen = observation(2, &json!({"PC_serial": 5041, "PC_vnc": 9042}));
    let position = observe(&world, "s1", &seen).await;

    let list = world.get(&format!("/workers?position={position}")).await.expect(200);
    for words in
        ["at least 2 of 64 cores", "at least 1.5 of 256 GB", "unknown of 2,000 GB", "1 session unknown", "2 running"]
    {
        assert!(html(&list).contains(words), "{words} is missing: {}", html(&list));
    }
    let one = world.get(&format!("/workers/w1?position={position}")).await.expect(200);
    // Both sessions were given the same ports, and one of them took another one instead.
    for words in [
        ">Port map<",
        "2 sessions hold 3 ports: 2 clashes, 1 outside 2000 to 7999.",
        "clash",
        "outside the range",
        "as planned",
        "changed",
        "not yet",
        r#"href="/sessions/s2#ports""#,
        r#"href="/sessions?worker_id=w1""#,
        "worker.registered.v1",
        "https://cml-1.example.org",
    ] {
        assert!(html(&one).contains(words), "{words} is missing: {}", html(&one));
    }
    let clashes = world.get("/workers/w1?marked=out_of_range&text=pc_vnc").await.expect(200);
    assert!(html(&clashes).contains("9042") && !html(&clashes).contains("p-5041"));
    let csv = world.get("/workers/w1?format=csv").await.expect(200);
    assert!(csv.body.as_str().unwrap().starts_with("\u{feff}outside_port,protocol,"), "{}", csv.body);
    assert_eq!(csv.body.as_str().unwrap().lines().count(), 1 + 5);
    let csv = world.get("/workers?format=csv").await.expect(200);
    assert!(csv.body.as_str().unwrap().contains("\r\nw1,CML one,https://cml-1.example.org,2,0,"), "{}", csv.body);
    world.get("/workers/w1?after=x").await.expect(400);
    let absent = world.get("/workers/nobody").await.expect(404);
    assert!(html(&absent).contains("There is no worker") && html(&absent).contains(r#"role="search""#));
}

#[tokio::test]
async fn an_event_is_told_in_words_with_all_that_is_known_of_it() {
    let world = World::start().await;
    world.session("s1", "running").await;
    observe(&world, "s1", &observation(2, &json!({"PC_serial": 5041, "new_tcp": 2001}))).await;
    let events = world.get("/api/lablet-sessions/s1/events").await.expect(200);
    let id = |sequence: usize| events.body["items"][sequence - 1]["event_id"].as_str().unwrap().to_owned();
    let drift = world.get(&format!("/events/{}", id(7))).await.expect(200);
    for words in [
        "lablet_session.port_drift_detected.v1",
        "The observed ports are not the allocated ones: 2 ports differ.",
        "new_tcp: 2001 observed",
        "PC_vnc: 5042 allocated",
        "service:booking",
        &format!("/events/{}", id(6)),
        "Nothing happened to it since.",
        "observed it, ",
        r#"href="/sessions/s1""#,
        r#"href="/definitions/d1""#,
        r#"href="/workers/w1""#,
        "&#34;drift_details&#34;",
    ] {
        assert!(html(&drift).contains(words), "{words} is missing: {}", html(&drift));
    }
    let first = world.get(&format!("/events/{}", id(1))).await.expect(200);
    assert!(html(&first).contains("This is its first event.") && html(&first).contains(&id(2)));
    world.get("/events/00000000-0000-7000-8000-000000000000").await.expect(404);
    world.get("/events/no-uuid").await.expect(400);
}

#[tokio::test]
async fn a_large_event_makes_no_large_page_and_what_others_wrote_stays_text() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let mut seen = observation(600, &json!({}));
    seen["observed_resources"]["observer"] = "<script>alert(1)</script>".into();
    seen["observed_resources"]["nodes"][0]["label"] = "\"><img src=x onerror=alert(2)>".into();
    observe(&world, "s1", &seen).await;
    let events = world.get("/api/lablet-sessions/s1/events").await.expect(200);
    let id = events.body["items"][5]["event_id"].as_str().unwrap();
    assert!(events.body["items"][5].to_string().len() > LIGHT);
    let answer = world.get(&format!("/events/{id}")).await.expect(200);
    let shown = html(&answer);
    assert!(shown.len() < LIGHT, "{}", shown.len());
    assert!(shown.contains("saw 600 nodes") && shown.contains(&format!("href=\"/api/events/{id}\">All of it")));
    assert!(!shown.contains("<script>alert") && !shown.contains("<img src=x"));
    assert!(shown.contains("alert(1)") && shown.contains("onerror=alert(2)"));
}

#[tokio::test]
async fn who_may_not_see_dead_letters_is_told_why_and_refused() {
    let world = World::start().await;
    let id = keep(&world, "lablet.commands.grading.transition_lablet_session", "no", "{}").await;
    let operations = page_as(&world, VIEWER, "/operations").await.expect(200);
    assert!(html(&operations).contains("What they hold is for operators"), "{}", html(&operations));
    assert!(!html(&operations).contains(&id.to_string()));
    let refused = page_as(&world, VIEWER, &format!("/operations/dead-letters/{id}")).await.expect(403);
    assert!(html(&refused).contains("This needs the role operator"), "{}", html(&refused));
    for what in ["retry", "discard"] {
        let path = format!("/operations/dead-letters/{id}/{what}");
        let refused = form(&world, VIEWER, &path, &[("reason", "because")]).await.expect(403);
        assert!(html(&refused).contains("This needs the role operator"));
    }
    let waiting = page_as(&world, OPERATOR, "/operations").await.expect(200);
    assert!(html(&waiting).contains("1 command and 0 events wait"), "{}", html(&waiting));
}

#[tokio::test]
async fn operations_say_how_far_everything_is() {
    let world = World::start().await;
    world.session("s1", "running").await;
    world.get_in_time("/sessions/s1").await;
    let answer = page_as(&world, OPERATOR, "/operations").await.expect(200);
    // No relay runs here, and there is no bus.
    for words in [
        "Nothing is stuck",
        "not on the bus yet",
        "not connected",
        "there is no connection to the bus",
        "Nobody has verified yet",
        "as this build knows it",
        "observation_requests",
    ] {
        assert!(html(&answer).contains(words), "{words} is missing: {}", html(&answer));
    }
    let csv = page_as(&world, OPERATOR, "/operations?table=read_models&format=csv").await.expect(200);
    assert_eq!(csv.body.as_str().unwrap().lines().count(), 8);
}

#[tokio::test]
async fn a_dead_letter_is_retried_from_its_page_and_what_came_of_it_is_told() {
    let world = World::start().await;
    let message = transition_of_s1();
    let reason = "there is no session <b>s1</b>";
    let id = keep(&world, "lablet.commands.grading.transition_lablet_session", reason, &message).await;
    let letter = format!("/operations/dead-letters/{id}");
    let shown = page_as(&world, OPERATOR, &letter).await.expect(200);
    for words in ["&#60;b&#62;s1&#60;/b&#62;", "(not shown)", "application/cloudevents+json", "&#34;new_status&#34;"] {
        assert!(html(&shown).contains(words), "{words} is missing: {}", html(&shown));
    }
    assert!(!html(&shown).contains("s3cret"));
    let list = page_as(&world, OPERATOR, "/operations").await.expect(200);
    assert!(html(&list).contains(&letter) && html(&list).contains(">Retry</button>") && !html(&list).contains("<b>s1"));
    let csv = page_as(&world, OPERATOR, "/operations?table=dead_letters&format=csv").await.expect(200);
    assert!(csv.body.as_str().unwrap().contains(&id), "{}", csv.body);

    let retry = format!("{letter}/retry");
    let fields = [("csrf_token", ""), ("idempotency_key", "k1"), ("form_page", letter.as_str())];
    let failed = form(&world, OPERATOR, &retry, &fields).await.expect(303);
    assert_eq!(led_to(&failed), format!("{letter}?tried=true"));
    let still = page_as(&world, OPERATOR, &led_to(&failed)).await.expect(200);
    assert!(html(&still).contains("it still does not work") && html(&still).contains("there is no session s1"));

    world.session("s1", "running").await;
    let mut places = Vec::new();
    for _ in 0..2 {
        places.push(led_to(&form(&world, OPERATOR, &retry, &fields).await.expect(303)));
    }
    assert_eq!(places[0], places[1], "the second click finds what the first one did");
    let told = page_as(&world, OPERATOR, &places[0]).await.expect(200);
    assert!(html(&told).contains("was tried again by admin:oli and worked"), "{}", html(&told));
    assert!(html(&told).contains("Nothing is stuck"));
    let settled = page_as(&world, OPERATOR, &letter).await.expect(200);
    assert!(html(&settled).contains("Nothing is left to decide.") && !html(&settled).contains(">Retry</button>"));
    let events = world.get("/api/lablet-sessions/s1/events").await.expect(200);
    let collecting = events.body["items"].as_array().unwrap().iter();
    assert_eq!(collecting.filter(|event| event["type"] == "io.lablet.lablet_session.collecting.v1").count(), 1);
    // A link that somebody made up tells nothing.
    let other = keep(&world, "lablet.commands.other.transition_lablet_session", "no", &message).await;
    let made_up = page_as(&world, OPERATOR, &format!("/operations?retried={other}")).await.expect(200);
    assert!(!html(&made_up).contains("and worked"));
}

#[tokio::test]
async fn a_dead_letter_is_discarded_with_a_reason_and_not_without() {
    let world = World::start().await;
    let id = keep(&world, "lablet.commands.grading.transition_lablet_session", "no", "no json").await;
    let letter = format!("/operations/dead-letters/{id}");
    let discard = format!("{letter}/discard");
    let without = form(&world, ADMIN, &discard, &[("reason", "")]).await.expect(400);
    assert!(html(&without).contains("reason is empty; expected why it can be done without"), "{}", html(&without));
    let prefilled = page_as(&world, OPERATOR, &format!("{letter}?reason=a+%22test%22")).await.expect(200);
    assert!(html(&prefilled).contains("value=\"a &#34;test&#34;\""));
    let mut places = Vec::new();
    for _ in 0..2 {
        places.push(led_to(&form(&world, ADMIN, &discard, &[("reason", "a test")]).await.expect(303)));
    }
    assert_eq!(places[0], places[1]);
    let told = page_as(&world, OPERATOR, &places[0]).await.expect(200);
    assert!(html(&told).contains("was discarded by admin:ada"), "{}", html(&told));
    let unknown = "command:00000000-0000-7000-8000-000000000000";
    let path = format!("/operations/dead-letters/{unknown}");
    page_as(&world, OPERATOR, &path).await.expect(404);
    for what in ["retry", "discard"] {
        let reason = [("reason", "a test")];
        let fields: &[(&str, &str)] = if what == "retry" { &[] } else { &reason };
        form(&world, OPERATOR, &format!("{path}/{what}"), fields).await.expect(404);
    }
}

#[tokio::test]
async fn an_event_that_a_read_model_cannot_apply_is_decided_on_from_its_page() {
    let mut world = World::start().await;
    world.session("s1", "pending").await;
    world.get_in_time("/sessions/s1").await;
    // The row that the next event would change is gone: the read model refuses it, and those behind it wait.
    world.stand_still().await;
    sqlx::query("DELETE FROM read_sessions.sessions WHERE id = 's1'").execute(world.log.pool()).await.unwrap();
    let step = |body: Value| {
        let world = &world;
        async move { world.post("/api/internal/lablet-sessions/s1/transition", &body).await.expect(200) }
    };
    step(json!({"new_status": "scheduled", "worker_id": "w1"})).await;
    step(json!({"new_status": "instantiating"})).await;
    world.project();
    let list = until("two events that wait", async || {
        let list = page_as(&world, OPERATOR, "/operations?kind=event").await.expect(200);
        if html(&list).contains("2 events wait") { Ok(list) } else { Err(html(&list).to_owned()) }
    })
    .await;
    let letters = world.send(world.request(Method::GET, "/api/dead-letters").bearer_auth(OPERATOR)).await.expect(200);
    let id = letters.body["items"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("sessions:") && html(&list).contains(id), "{}", html(&list));
    let letter = format!("/operations/dead-letters/{id}");
    let shown = page_as(&world, OPERATOR, &letter).await.expect(200);
    assert!(html(&shown).contains("lablet_session.scheduled.v1") && html(&shown).contains(r#"href="/sessions/s1""#));
    let failed = form(&world, OPERATOR, &format!("{letter}/retry"), &[]).await.expect(303);
    assert_eq!(led_to(&failed), format!("{letter}?tried=true"));
    // The later one only waits, and says so.
    let events = world.get("/api/lablet-sessions/s1/events").await.expect(200);
    let later = events.body["items"][2]["event_id"].as_str().unwrap();
    let waits = page_as(&world, OPERATOR, &format!("/operations/dead-letters/sessions:{later}")).await.expect(200);
    assert!(html(&waits).contains("settle that one first"), "{}", html(&waits));

    let discard = format!("{letter}/discard");
    let first = form(&world, OPERATOR, &discard, &[("reason", "a test took the row")]).await.expect(303);
    let told = page_as(&world, OPERATOR, &led_to(&first)).await.expect(200);
    assert!(html(&told).contains("is no longer among the dead letters of the read model sessions"), "{}", html(&told));
    let second = form(&world, OPERATOR, &discard, &[("reason", "a test took the row")]).await.expect(303);
    assert_eq!(led_to(&first), led_to(&second));
}

#[tokio::test]
async fn a_path_that_is_nobodys_is_a_page_for_a_browser_and_a_document_for_programs() {
    let world = World::start().await;
    let browser = |method, path: &str| world.request(method, path).header("accept", "text/html,*/*;q=0.8");
    let page = world.send(browser(Method::GET, "/no/such/<path>").bearer_auth(VIEWER)).await.expect(404);
    let shown = html(&page);
    assert!(shown.contains("There is nothing at /no/such/") && shown.contains(r#"action="/search""#), "{shown}");
    assert!(shown.contains("<b>vic</b>") && !shown.contains("<path>"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    // Whoever is not signed in is told too, without the navigation.
    let stranger = world.send(browser(Method::GET, "/no/such/path")).await.expect(404);
    assert!(html(&stranger).contains("There is nothing at") && !html(&stranger).contains("<b>vic</b>"));
    world.send(browser(Method::GET, "/api/no/such/path")).await.problem(404, "not-found", None);
    world.send(world.request(Method::GET, "/no/such/path")).await.problem(404, "not-found", None);
    let other = world.send(browser(Method::PUT, "/sessions").bearer_auth(VIEWER)).await.expect(405);
    assert!(html(&other).contains("does not take PUT") && !other.header("allow").is_empty());
}

#[tokio::test]
async fn a_workers_name_is_shown_as_text() {
    let world = World::start().await;
    let mut new = worker("w1");
    new["name"] = "<i>one</i>".into();
    let position = world.post("/api/workers", &new).await.expect(201).body["position"].as_str().unwrap().to_owned();
    for path in ["/workers", "/workers/w1"] {
        let answer = world.get_in_time(&format!("{path}?position={position}")).await;
        assert!(html(&answer).contains("&#60;i&#62;one") && !html(&answer).contains("<i>one"), "{path}");
    }
}

#[tokio::test]
async fn an_id_leads_straight_to_its_page_and_a_text_to_what_contains_it() {
    let world = World::start().await;
    world.session("s1", "running").await;
    world.session("s2", "running").await;
    world.get_in_time("/sessions/s2").await;
    let events = world.get("/api/lablet-sessions/s1/events").await.expect(200);
    let event = events.body["items"][0]["event_id"].as_str().unwrap();
    let find = async |text: &str| {
        let text = url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let none = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(none).build().unwrap();
        let request = http.get(format!("http://{}/search?text={text}", world.address)).bearer_auth(VIEWER);
        Answer::of(request.send().await.unwrap()).await
    };
    for (id, place) in [
        ("s1", "/sessions/s1".to_owned()),
        (" d1 ", "/definitions/d1".to_owned()),
        ("w1", "/workers/w1".to_owned()),
        (event, format!("/events/{event}")),
    ] {
        assert_eq!(find(id).await.expect(303).header("location"), place);
    }
    let found = find("1").await.expect(200);
    for words in ["Definitions", "Workers", "Sessions", r#"href="/sessions/s1""#, r#"value="1""#, "Routing basics"] {
        assert!(html(&found).contains(words), "{words} is missing: {}", html(&found));
    }
    // Names first, the short id beside them.
    for (path, name, id) in [("definitions", "Routing basics 1.0", "d1"), ("workers", "CML one", "w1")] {
        let named = format!(
            r#"<a href="/{path}/{id}" title="{id}">{name}</a> <button type="button" class="copy id" data-copy aria-label="Copy id {id}">{id}</button>"#
        );
        assert!(html(&found).contains(&named), "{named} is missing: {}", html(&found));
    }
    let suggested = world.get("/api/search/suggestions?text=routing").await.expect(200);
    let definition =
        json!({"kind": "definition", "label": "Routing basics 1.0", "detail": "d1", "page": "/definitions/d1"});
    assert_eq!(suggested.body["items"], json!([definition]));
    assert!(html(&found).contains(r#"href="/api/search?text=1""#));
    let nothing = find("<b>nobody</b>").await.expect(200);
    assert!(html(&nothing).contains("Nothing is or contains this text") && !html(&nothing).contains("<b>nobody"));
    let csv = world.get("/search?text=routing&format=csv").await.expect(200);
    assert_eq!(
        csv.body,
        "\u{feff}kind,id,title,detail,page,session_id,worker_id,lab_title\r\ndefinition,d1,Routing basics 1.0,,/definitions/d1,,,\r\n"
    );
    let empty = world.get("/search?text=").await.expect(200);
    assert!(html(&empty).contains("One thing that is exactly what was typed leads straight to its page."));
    world.get(&format!("/search?text={}", "x".repeat(501))).await.expect(400);
}

#[tokio::test]
async fn a_short_worker_is_marked_and_what_was_measured_on_it_is_doubted() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let silent = world.get_in_time("/workers/w1").await;
    assert!(html(&silent).contains("Nobody told yet"), "{}", html(&silent));
    let report = json!({"pressure": {
        "short_of_cpu": true, "short_of_memory": false, "queued_nodes": 3, "longest_wait_seconds": 150,
        "free_cpu_cores": 0.5, "total_cpu_cores": 64, "free_memory_mb": 2048, "total_memory_mb": 4096,
        "launch_queue": "answered", "statistics": "answered"
    }});
    world.post("/api/internal/workers/w1/pressure", &report).await.expect(200);
    let mut seen = observation(2, &json!({}));
    seen["observed_resources"]["coverage"] =
        json!({"phase": "steady", "worker_short": true, "worker_short_of": ["cpu", "launch_queue"]});
    seen["observed_resources"]["profile"] = json!({"samples": 9, "steady": {"cpu_cores": {"peak": 1.5}}});
    let position = observe(&world, "s1", &seen).await;

    let list = world.get(&format!("/workers?position={position}")).await.expect(200);
    assert!(html(&list).contains("short of CPU and launches"), "{}", html(&list));
    let csv = world.get(&format!("/workers?format=csv&position={position}")).await.expect(200);
    assert!(csv.body.as_str().unwrap().contains(",short,cpu launch_queue,0.5,2048,,3,150,,"), "{}", csv.body);
    let shown = world.get(&format!("/workers/w1?position={position}")).await.expect(200);
    for words in [
        "short of CPU and launches",
        "0.5 of 64 cores",
        "2 of 4 GB",
        "3 nodes wait, the first for 2 min",
        "by service:",
        "3 nodes, up to 2 min",
        "lasts",
    ] {
        assert!(html(&shown).contains(words), "{words} is missing: {}", html(&shown));
    }
    for path in [format!("/sessions/s1?position={position}"), format!("/sessions/s1/usage?position={position}")] {
        let page = world.get(&path).await.expect(200);
        assert!(html(&page).contains("what was measured may be too low"), "{}", html(&page));
        assert!(html(&page).contains("The worker was short of CPU and launches"), "{}", html(&page));
    }
    let event = shown.body.as_str().unwrap().split("/events/").nth(1).unwrap();
    let event = world.get(&format!("/events/{}", event.split('"').next().unwrap())).await.expect(200);
    assert!(html(&event).contains("The worker was short of CPU and launches."), "{}", html(&event));

    let unknown = json!({"pressure": {"launch_queue": "no_rights", "statistics": "answered"}});
    let recorded = world.post("/api/internal/workers/w1/pressure", &unknown).await.expect(200);
    let position = recorded.body["position"].as_str().unwrap();
    let shown = world.get(&format!("/workers/w1?position={position}")).await.expect(200);
    for words in ["shortage unknown", "Shortages and the launch queue: unknown, as the controller", "no right to read"]
    {
        assert!(html(&shown).contains(words), "{words} is missing: {}", html(&shown));
    }
}
