//! Bodies: what is misspelt is told, what is wrong is told all at once, and a stated version is honoured.

use gateway::GatewayOptions;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Answer, KEY, World, definition, observation, worker};

const OBSERVATIONS: &str = "/api/internal/lablet-sessions/s1/resource-observations";
const TRANSITION: &str = "/api/internal/lablet-sessions/s1/transition";

async fn raw(world: &World, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = world.request(Method::POST, path).header("x-api-key", KEY);
    world.send(request.header("content-type", "application/json").body(body)).await
}

async fn strictly(world: &World, path: &str, body: &Value) -> Answer {
    let request = world.request(Method::POST, path).header("x-api-key", KEY).header("prefer", "handling=strict");
    world.send(request.json(body)).await
}

fn fields(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|entry| entry["field"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_misspelt_member_is_named_in_the_answer_with_what_may_be_meant() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let mut report = observation(4, &json!({"PC_serial": 5041}));
    report["observedports"] = json!({});
    report["observed_resources"]["total_cpu_core"] = json!(1.5);
    report["observed_resources"]["nodes"][3]["lable"] = json!("R3");
    let answer = world.post(OBSERVATIONS, &report).await.expect(200);
    let mut named = fields(&answer.body["warnings"]);
    named.sort_unstable();
    assert_eq!(named, ["observed_resources.nodes[3].lable", "observed_resources.total_cpu_core", "observedports"]);
    for warning in answer.body["warnings"].as_array().unwrap() {
        assert_eq!(warning["code"], "unknown_member");
        assert!(warning["message"].as_str().unwrap().contains("did you mean "), "{warning}");
    }
    assert_eq!(answer.body["observation_count"], 1, "it is recorded all the same");

    let good = world.post(OBSERVATIONS, &observation(1, &json!({"PC_serial": 5041}))).await.expect(200);
    assert!(good.body.get("warnings").is_none() && good.header("preference-applied").is_empty());
}

#[tokio::test]
async fn every_command_names_what_it_does_not_know() {
    let world = World::start().await;
    world.session("s1", "ready").await;
    let surplus = |mut body: Value| {
        body["surplus"] = json!({"a": 1});
        body
    };
    let commands = [
        ("/api/lablet-definitions", surplus(definition("d2")), 201),
        ("/api/workers", surplus(worker("w2")), 201),
        ("/api/internal/lablet-sessions", surplus(json!({"id": "s2", "definition_id": "d1"})), 201),
        (TRANSITION, surplus(json!({"new_status": "running", "cml_lab_id": "lab-1"})), 200),
        (OBSERVATIONS, surplus(observation(1, &json!({}))), 200),
    ];
    for (path, body, status) in commands {
        let answer = world.post(path, &body).await.expect(status);
        assert_eq!(fields(&answer.body["warnings"]), ["surplus"], "{path}");
        let refused = strictly(&world, path, &body).await.problem(400, "invalid-input", Some("surplus"));
        assert_eq!(refused.header("preference-applied"), "handling=strict", "{path}");
    }
    let mut nested = worker("w3");
    nested["capacity"]["max_node"] = json!(3);
    let answer = world.post("/api/workers", &nested).await.expect(201);
    assert_eq!(fields(&answer.body["warnings"]), ["capacity.max_node"]);
    let asked = world.request(Method::POST, "/api/lablet-sessions/s1/observe-resources").bearer_auth(ADMIN);
    let asked = world.send(asked.json(&json!({"requestid": "r1"}))).await.expect(202);
    assert_eq!(fields(&asked.body["warnings"]), ["requestid"]);
    let revised = world.patch("/api/lablet-definitions/d1", "\"1\"", &json!({"reason": "?", "desciption": "x"})).await;
    let revised = revised.problem(400, "invalid-input", None);
    assert_eq!(fields(&revised.body["warnings"]), ["desciption"], "a refusal tells it too: it may be why");
}

#[tokio::test]
async fn strict_handling_can_be_preferred_and_can_be_the_rule() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let mut report = observation(1, &json!({}));
    report["observed_resources"]["total_cpu_core"] = json!(1.5);
    let refused = strictly(&world, OBSERVATIONS, &report).await;
    let refused = refused.problem(400, "invalid-input", Some("observed_resources.total_cpu_core"));
    assert!(refused.body["errors"][0]["expected"].as_str().unwrap().starts_with("total_cpu_cores"));
    let good = strictly(&world, OBSERVATIONS, &observation(1, &json!({}))).await.expect(200);
    assert_eq!(good.header("preference-applied"), "handling=strict");

    let world = World::start_strict(GatewayOptions::default()).await;
    let mut surplus = worker("w1");
    surplus["surplus"] = json!(1);
    let refused = world.post("/api/workers", &surplus).await.problem(400, "invalid-input", Some("surplus"));
    assert!(refused.header("preference-applied").is_empty(), "nobody preferred it");
    world.post("/api/workers", &worker("w1")).await.expect(201);
}

#[tokio::test]
async fn an_observation_in_which_nothing_is_known_is_refused() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let misspelt = json!({"observed_resources": {"total_cpu_core": 1.5}, "observedports": {"PC_serial": 5041}});
    let refused = world.post(OBSERVATIONS, &misspelt).await;
    let refused = refused.problem(400, "invalid-input", Some("observed_resources"));
    let mut named = fields(&refused.body["warnings"]);
    named.sort_unstable();
    assert_eq!(named, ["observed_resources.total_cpu_core", "observedports"]);
    for nothing in [
        json!({"observed_resources": {}}),
        json!({"observed_resources": {"observer": "grading", "observed_at": "2026-03-01T10:00:00Z", "nodes": []}}),
        json!({"observed_resources": {"usage": {"cpu_core": 1}}}),
    ] {
        world.post(OBSERVATIONS, &nothing).await.problem(400, "invalid-input", Some("observed_resources"));
    }
    world.settle().await;
    let session = world.get("/api/lablet-sessions/s1").await.expect(200);
    assert_eq!((&session.body["observation_count"], &session.body["observed_at"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn all_wrong_fields_of_a_body_are_named_at_once() {
    let world = World::start().await;
    let wrong = json!({
        "id": "a b", "name": 5, "version": {}, "port_template": {"ports": [{"name": "a/b", "protocol": "vnc"}]},
        "resource_requirements": {"cpu_cores": 0, "memory_gb": "8"}, "node_count": -1,
    });
    let refused = world.post("/api/lablet-definitions", &wrong).await.problem(400, "invalid-input", None);
    let mut named = fields(&refused.body["errors"]);
    named.sort_unstable();
    assert_eq!(
        named,
        [
            "id",
            "name",
            "node_count",
            "port_template.ports[0].name",
            "resource_requirements.cpu_cores",
            "resource_requirements.memory_gb",
            "resource_requirements.storage_gb",
            "version",
        ]
    );
    for error in refused.body["errors"].as_array().unwrap() {
        assert!(!error["problem"].as_str().unwrap().is_empty() && !error["expected"].as_str().unwrap().is_empty());
    }
    assert!(refused.body["detail"].as_str().unwrap().contains("7 more"), "{}", refused.body["detail"]);
}

#[tokio::test]
async fn json_that_does_not_fit_is_not_called_no_json() {
    let world = World::start().await;
    world.session("s1", "ready").await;
    for (body, field, problem) in [
        (r#"{"new_status": 5}"#, "new_status", "is 5"),
        (r#"{"new_status": {"running": 1}}"#, "new_status", "is an object"),
        (r#"{"new_status": null}"#, "new_status", "is null"),
        (r#"{"new_status": "running", "timeslot": 5}"#, "timeslot", "is 5"),
        (
            r#"{"new_status": "running", "allocated_ports": {"a": 1e400}}"#,
            "allocated_ports.a",
            "is out of the range of numbers",
        ),
        (r#"{"new_status": "ready", "new_status": "running"}"#, "new_status", "is given twice"),
        (r#"{"new_status": "running", "allocated_ports": {"a": 1, "a": 2}}"#, "allocated_ports.a", "is given twice"),
        ("[]", "", "is a list"),
        (r#"["running"]"#, "", "is a list"),
        (r#""running""#, "", "is \"running\""),
        ("5", "", "is 5"),
        ("", "", "is empty"),
        ("\n", "", "is empty"),
    ] {
        let refused = raw(&world, TRANSITION, body).await.problem(400, "invalid-input", Some(field));
        assert_eq!(refused.body["errors"][0]["problem"], problem, "{body}");
    }
    for body in [r#"{"new_status": "#, r#"{"new_status": "ready",}"#, "{'new_status': 'ready'}", "new_status=ready"] {
        let refused = raw(&world, TRANSITION, body).await.problem(400, "invalid-input", Some(""));
        assert!(refused.body["errors"][0]["problem"].as_str().unwrap().starts_with("is not JSON: "), "{body}");
    }
    let utf_16: Vec<u8> = r#"{"new_status": "ready"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused = raw(&world, TRANSITION, utf_16).await.problem(400, "invalid-input", Some(""));
    assert_eq!(refused.body["errors"][0]["problem"], "is UTF-16 or UTF-32");
    let trailing = raw(&world, TRANSITION, r#"{"new_status": "ready"} {}"#).await;
    let trailing = trailing.problem(400, "invalid-input", Some(""));
    assert!(trailing.body["errors"][0]["problem"].as_str().unwrap().starts_with("goes on after its end"));
    raw(&world, TRANSITION, "\u{feff}{\"new_status\": \"ready\"}").await.expect(200);
}

#[tokio::test]
async fn a_stated_version_of_a_session_is_honoured() {
    let world = World::start().await;
    world.session("s1", "ready").await;
    world.settle().await;
    let etag = world.get("/api/lablet-sessions/s1").await.expect(200).header("etag").to_owned();
    assert_eq!(etag, "\"4\"");
    let go = async |if_match: &str, status: &str| {
        let request = world.request(Method::POST, TRANSITION).header("x-api-key", KEY).header("if-match", if_match);
        world.send(request.json(&json!({"new_status": status, "cml_lab_id": "lab-1"}))).await
    };
    let stale = go("\"3\"", "running").await.problem(412, "stale-version", None);
    let detail = stale.body["detail"].as_str().unwrap();
    assert!(detail.contains("\"3\"") && detail.contains("\"4\""), "both versions: {detail}");
    assert_eq!(stale.header("etag"), "\"4\"");
    go("7", "running").await.problem(400, "invalid-input", Some("If-Match"));
    let gone = go("W/\"4\"", "running").await.expect(200);
    assert_eq!(gone.header("etag"), "\"5\"", "a proxy that compressed the answer made the tag a weak one");
    go("\"3\", \"4\"", "collecting").await.problem(412, "stale-version", None);
    go("\"4\", W/\"5\"", "collecting").await.expect(200);
    go("*", "grading").await.expect(200);

    let report = observation(1, &json!({}));
    let request = world.request(Method::POST, OBSERVATIONS).header("x-api-key", KEY).header("if-match", "\"1\"");
    world.send(request.json(&report)).await.problem(412, "stale-version", None);
    let path = "/api/lablet-sessions/s1/observe-resources";
    let request = world.request(Method::POST, path).bearer_auth(ADMIN).header("if-match", "\"1\"");
    world.send(request).await.problem(412, "stale-version", None);
    let nobody = world.request(Method::POST, "/api/internal/lablet-sessions/nobody/transition");
    let nobody = nobody.header("x-api-key", KEY).header("if-match", "\"1\"");
    world.send(nobody.json(&json!({"new_status": "ready"}))).await.problem(404, "not-found", None);

    let change = json!({"name": "CML two"});
    world.patch("/api/workers/w1", "W/\"1\"", &change).await.expect(200);
    world.patch("/api/workers/w1", "\"1\", \"9\"", &change).await.problem(412, "stale-version", None);
    world.patch("/api/workers/w1", "\"2-gzip\"", &json!({"name": "CML three"})).await.expect(200);
}
