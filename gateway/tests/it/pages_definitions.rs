//! The pages of definitions over HTTP: what they show, and the way from an observation to a revision.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::page_forms::{attribute, fields, html, look, page, submit, with_query};
use crate::world::{ADMIN, OPERATOR, VIEWER, World, definition, observation};

/// What one session was observed to need.
struct Reading {
    session: &'static str,
    minute: u32,
    cores: Option<f64>,
    memory_mb: Option<f64>,
    storage_mb: Option<f64>,
    ports: Value,
}

impl Reading {
    fn new(session: &'static str, minute: u32) -> Self {
        let ports = json!({"PC_serial": 5041, "PC_vnc": 5042});
        Self { session, minute, cores: Some(4.0), memory_mb: Some(8192.0), storage_mb: None, ports }
    }
}

/// A session that runs and was observed; answers the observation's position.
async fn observed(world: &World, reading: &Reading) -> String {
    world.session(reading.session, "running").await;
    let mut report = observation(3, &reading.ports);
    let resources = &mut report["observed_resources"];
    resources["observed_at"] = format!("2026-03-01T10:{:02}:00Z", reading.minute).into();
    resources["total_cpu_cores"] = json!(reading.cores);
    resources["total_memory_mb"] = json!(reading.memory_mb);
    resources["total_storage_mb"] = json!(reading.storage_mb);
    // What each node has is not told, so that any total may be right.
    for node in resources["nodes"].as_array_mut().unwrap() {
        node["ram_mb"] = Value::Null;
    }
    let path = format!("/api/internal/lablet-sessions/{}/resource-observations", reading.session);
    let answer = world.post(&path, &report).await.expect(200);
    answer.body["position"].as_str().unwrap().to_owned()
}

/// The edit form that a button leads to, and the review of it as it stands.
async fn reviewed(world: &World, from: &str, change: impl FnOnce(&mut BTreeMap<String, String>)) -> String {
    let edit = page(world, ADMIN, &format!("/definitions/d1/edit?from={from}")).await;
    let mut typed = fields(&edit, "/definitions/d1/review");
    change(&mut typed);
    page(world, ADMIN, &with_query("/definitions/d1/review", &typed)).await
}

async fn two_sessions(world: &World) -> String {
    observed(world, &Reading { cores: Some(2.5), memory_mb: Some(8448.0), ..Reading::new("s1", 1) }).await;
    let drifted = json!({"PC_serial": 5041, "PC_vnc": 6000});
    observed(world, &Reading { cores: None, memory_mb: Some(6144.0), ports: drifted, ..Reading::new("s2", 2) }).await
}

#[tokio::test]
async fn the_list_says_what_was_observed_of_each_and_keeps_its_state_in_the_address() {
    let world = World::start().await;
    let empty = page(&world, VIEWER, "/definitions").await;
    assert!(empty.contains("There is no definition yet"), "{empty}");
    let position = two_sessions(&world).await;
    let mut other = definition("d2");
    other["name"] = "Switching <b>basics</b>".into();
    let created = world.post("/api/lablet-definitions", &other).await.expect(201);
    let list = page(&world, VIEWER, &format!("/definitions?position={position}")).await;
    assert!(list.contains("drift in 1 of 2 sessions"), "{list}");
    let position = created.body["position"].as_str().unwrap();
    let list = page(&world, VIEWER, &format!("/definitions?position={position}")).await;
    assert!(list.contains("none yet") && list.contains("Switching &#60;b&#62;basics"), "{list}");

    let first = page(&world, VIEWER, "/definitions?limit=1").await;
    assert!(first.contains("id=\"d-d2\"") && !first.contains("id=\"d-d1\""), "{first}");
    let next = attribute(first.split("rel=\"next\"").nth(1).unwrap(), "href").unwrap();
    let second = page(&world, VIEWER, &next).await;
    assert!(second.contains("id=\"d-d1\"") && !second.contains("id=\"d-d2\""), "{second}");

    let filtered = page(&world, VIEWER, "/definitions?observed=true&drift=true&text=routing").await;
    assert!(filtered.contains("id=\"d-d1\"") && !filtered.contains("id=\"d-d2\""), "{filtered}");
    assert!(filtered.contains("href=\"/api/lablet-definitions?drift=true&#38;observed=true&#38;text=routing\""));
    let nothing = page(&world, VIEWER, "/definitions?text=nothing-like-it").await;
    assert!(nothing.contains("No definition matches"), "{nothing}");

    let csv = look(&world, VIEWER, "/definitions?format=csv&observed=true").await.expect(200);
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"definitions.csv\"");
    let lines: Vec<&str> = html(&csv).lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("\u{feff}definition_id,name,version") && lines[1].starts_with("d1,Routing basics,1.0")
    );
}

#[tokio::test]
async fn a_definition_shows_what_was_observed_beside_what_is_configured() {
    let world = World::start().await;
    let position = two_sessions(&world).await;
    let shown = page(&world, VIEWER, &format!("/definitions/d1?position={position}")).await;
    assert!(shown.contains("Observed resources (from 2 sessions)"), "{shown}");
    assert!(shown.contains("drift in 1 of 2 sessions"));
    let api = world.get("/api/lablet-definitions/d1/resource-observations").await.expect(200);
    let aggregate = &api.body["aggregate"];
    for (words, event) in [
        ("2.5", &aggregate["cpu_cores"]["max_event_id"]),
        ("8.25 GB", &aggregate["memory_mb"]["max_event_id"]),
        ("6 GB", &aggregate["memory_mb"]["latest_event_id"]),
    ] {
        let link =
            format!("<a href=\"/events/{}\" title=\"The event that says so\">{words}</a>", event.as_str().unwrap());
        assert!(shown.contains(&link), "{link} in {shown}");
    }
    assert!(shown.contains("Verdict, by use") && shown.contains("size unknown"), "no session has ended: {shown}");
    assert!(shown.contains("1 session</td>"), "the unknown cores are counted: {shown}");
    assert_eq!(shown.matches("<svg class=\"chart\"").count(), 3);
    assert!(shown.contains("<a href=\"/sessions/s1\" tabindex=\"-1\" aria-label="), "bars lead on: {shown}");
    assert!(shown.contains("Nothing is known; 2 unknown."), "storage is unknown, not zero: {shown}");
    assert!(shown.contains("/api/stream?definition_id=d1") && shown.contains("data-print"));
    assert!(!shown.contains("style=\"") && !shown.contains("<script>"));

    // A viewer sees what may be done, that they may not, and why.
    for button in ["Apply max", "Apply latest", "Custom"] {
        let disabled = format!("<button type=\"button\" disabled aria-describedby=\"apply-why\">{button}</button>");
        assert!(shown.contains(&disabled), "{shown}");
    }
    assert!(shown.contains("This needs the role admin; you are signed in as viewer."));
    let admin = page(&world, ADMIN, "/definitions/d1?sessions=50").await;
    assert!(admin.contains("href=\"/definitions/d1/edit?from=max&#38;scope=newest-50\""), "{admin}");

    let sessions = look(&world, VIEWER, "/definitions/d1?format=csv&table=sessions").await.expect(200);
    assert_eq!(sessions.header("content-disposition"), "attachment; filename=\"definition-d1-sessions.csv\"");
    assert_eq!(html(&sessions).lines().count(), 3);
    let nobody = look(&world, VIEWER, "/definitions/nobody").await.expect(404);
    assert!(html(&nobody).contains("role=\"search\""), "{}", html(&nobody));
    for wrong in ["sessions=0", "scope=newest-0", "scope=mine"] {
        look(&world, VIEWER, &format!("/definitions/d1?{wrong}")).await.expect(400);
    }
}

#[tokio::test]
async fn everything_on_the_page_rests_on_the_scope_that_it_says() {
    let world = World::start().await;
    two_sessions(&world).await;
    let size = json!({"cpu_cores": 4, "memory_gb": 9, "storage_gb": 20});
    let revision = json!({"resource_requirements": size, "reason": "more memory"});
    world.patch("/api/lablet-definitions/d1", "\"1\"", &revision).await.expect(200);
    world.settle().await;
    let current = page(&world, ADMIN, "/definitions/d1").await;
    assert!(current.contains("0 of 2 sessions, this revision and topology"), "{current}");
    assert!(current.contains("Nothing is known of the sessions in this scope"), "{current}");
    let all = page(&world, ADMIN, "/definitions/d1?scope=all").await;
    for words in [
        "2 of 2 sessions, of any revision",
        "href=\"/definitions/d1/edit?from=max&#38;scope=all\"",
        "resource-observations?limit=200&#38;scope=all",
    ] {
        assert!(all.contains(words), "{words} is missing: {all}");
    }
    let newest = page(&world, ADMIN, "/definitions/d1?scope=newest-1").await;
    assert!(newest.contains("More sessions say otherwise:"), "{newest}");
    let edit = page(&world, ADMIN, "/definitions/d1/edit?from=max&scope=all").await;
    assert!(edit.contains("Apply max, from 2 of 2 sessions, of any revision"), "{edit}");
    let typed = fields(&edit, "/definitions/d1/review");
    assert_eq!(typed["scope"], "all");
    let review = page(&world, ADMIN, &with_query("/definitions/d1/review", &typed)).await;
    assert!(review.contains("from 2 of 2 sessions, of any revision"), "the review repeats it: {review}");
    let answer = world.get("/api/lablet-definitions/d1/resource-observations?scope=current").await.expect(200);
    assert_eq!((&answer.body["scope"]["sessions"], &answer.body["scope"]["of_sessions"]), (&json!(0), &json!(2)));
    let before = world.get("/api/lablet-definitions/d1/resource-observations").await.expect(200);
    assert_eq!(before.body["scope"]["scope"], "newest-20", "as ever where no scope is asked for");
}

#[tokio::test]
async fn before_anything_is_observed_there_is_nothing_to_apply_but_a_number_by_hand() {
    let world = World::start().await;
    let created = world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let position = created.body["position"].as_str().unwrap();
    let shown = page(&world, ADMIN, &format!("/definitions/d1?position={position}")).await;
    assert!(shown.contains("Observed resources (from 0 sessions)") && shown.contains("Nothing was observed yet"));
    assert!(shown.contains("disabled aria-describedby=\"apply-why\">Apply max"), "{shown}");
    assert!(shown.contains("href=\"/definitions/d1/edit?from=custom&#38;scope=current\""), "{shown}");
    assert!(!shown.contains("role=\"img\""));
}

#[tokio::test]
async fn applying_the_greatest_goes_through_a_review_to_a_revision_with_its_evidence() {
    let world = World::start().await;
    two_sessions(&world).await;
    let position = observed(&world, &Reading { cores: Some(5.1), ..Reading::new("s3", 3) }).await;
    let edit = page(&world, ADMIN, &format!("/definitions/d1/edit?from=max&position={position}")).await;
    assert!(edit.contains("8448 MB = 8.25 GB, rounded up to 9 GB"), "{edit}");
    assert!(edit.contains("5.1 cores, rounded up to 6 cores") && edit.contains("unknown: stays 20 GB"), "{edit}");
    let typed = fields(&edit, "/definitions/d1/review");
    assert_eq!(
        (typed["cpu_cores"].as_str(), typed["memory_gb"].as_str(), typed["storage_gb"].as_str()),
        ("6", "9", "20")
    );
    assert_eq!(typed["etag"], "\"1\"");

    let review = page(&world, ADMIN, &with_query("/definitions/d1/review", &typed)).await;
    assert!(
        review.contains("<span class=\"written\">8 GB</span>")
            && review.contains("<span class=\"written\">9 GB</span>")
    );
    assert_eq!(review.matches("data-different").count(), 2, "{review}");
    assert!(review.contains("2 events") && review.contains("Apply this revision"), "{review}");
    assert_eq!(
        world.get("/api/lablet-definitions/d1").await.expect(200).body["revision"],
        1,
        "a review changes nothing"
    );

    let mut form = fields(&review, "/definitions/d1/revise");
    assert_eq!(form["form_page"], "/definitions/d1/review");
    form.insert("reason".into(), "three sessions needed <b>more</b>".into());
    let done = submit(&world, ADMIN, "/definitions/d1/revise", &form).await.expect(303);
    let location = done.header("location").to_owned();
    assert!(
        location.starts_with("/definitions/d1?position=") && location.ends_with("&revised=2#revisions"),
        "{location}"
    );

    // The second click of a double click.
    let again = submit(&world, ADMIN, "/definitions/d1/revise", &form).await.expect(303);
    assert_eq!(again.header("location"), location);

    let shown = page(&world, VIEWER, location.trim_end_matches("#revisions")).await;
    assert!(shown.contains("Revision 2 is recorded") && shown.contains("admin:ada"), "{shown}");
    assert!(shown.contains("three sessions needed &#60;b&#62;more&#60;/b&#62;"), "{shown}");
    let api = world.get("/api/lablet-definitions/d1/revisions").await.expect(200);
    let revisions = api.body["items"].as_array().unwrap();
    assert_eq!(revisions.len(), 2);
    let aggregate = world.get("/api/lablet-definitions/d1/resource-observations").await.expect(200);
    let aggregate = &aggregate.body["aggregate"];
    let evidence = json!([aggregate["cpu_cores"]["max_event_id"], aggregate["memory_mb"]["max_event_id"]]);
    assert_eq!(revisions[0]["evidence"], evidence);
    for id in evidence.as_array().unwrap() {
        assert!(shown.contains(&format!("href=\"/events/{}\"", id.as_str().unwrap())), "{shown}");
    }
}

#[tokio::test]
async fn numbers_by_hand_rest_on_the_sessions_that_were_looked_at() {
    let world = World::start().await;
    let position = two_sessions(&world).await;
    page(&world, ADMIN, &format!("/definitions/d1?position={position}")).await;
    let review = reviewed(&world, "custom", |typed| {
        assert_eq!(typed["memory_gb"], "8");
        typed.insert("memory_gb".into(), "16".into());
        typed.insert("description".into(), "two\r\nlines".into());
    })
    .await;
    assert_eq!(review.matches("data-different").count(), 2, "{review}");
    let mut form = fields(&review, "/definitions/d1/revise");
    assert_eq!(form["evidence"].split(',').count(), 2);
    form.insert("reason".into(), "a new router".into());
    let done = submit(&world, ADMIN, "/definitions/d1/revise", &form).await.expect(303);
    page(&world, ADMIN, done.header("location").trim_end_matches("#revisions")).await;
    let now = world.get("/api/lablet-definitions/d1").await.expect(200);
    assert_eq!(now.body["description"], "two\nlines");
    assert_eq!(now.body["resource_requirements"]["memory_gb"], 16);
}

#[tokio::test]
async fn what_is_wrong_is_told_at_its_field_and_nothing_typed_is_lost() {
    let world = World::start().await;
    let position = two_sessions(&world).await;
    let edit = page(&world, ADMIN, &format!("/definitions/d1/edit?from=max&position={position}")).await;
    let mut typed = fields(&edit, "/definitions/d1/review");
    typed.insert("cpu_cores".into(), "0".into());
    typed.insert("memory_gb".into(), "a \"lot\"".into());
    typed.insert("storage_gb".into(), String::new());
    typed.insert("description".into(), "kept <i>as it is</i>".into());
    let wrong = look(&world, ADMIN, &with_query("/definitions/d1/review", &typed)).await.expect(400);
    let page = html(&wrong);
    assert!(page.contains("CPU cores is 0; expected a whole number from 1 to 10000"), "{page}");
    assert!(page.contains("Storage, GB is empty; expected a whole number from 1 to 10000000"), "{page}");
    assert!(page.contains("3 fields cannot be taken as typed") && page.contains("kept &#60;i&#62;as it is"), "{page}");
    assert_eq!(page.matches("aria-invalid=\"true\"").count(), 3);
    assert_eq!(fields(page, "/definitions/d1/review")["memory_gb"], "a \"lot\"");
    typed.extend([("cpu_cores", "4"), ("memory_gb", "9"), ("storage_gb", "20")].map(|(a, b)| (a.into(), b.into())));
    typed.insert("description".into(), "x".repeat(4_001));
    let wrong = look(&world, ADMIN, &with_query("/definitions/d1/review", &typed)).await.expect(400);
    assert!(html(&wrong).contains("Description has 4001 characters; expected at most 4000"), "{}", html(&wrong));

    // Nothing to confirm where nothing would change.
    let review = reviewed(&world, "custom", |_| {}).await;
    assert!(review.contains("Nothing would change") && !review.contains("Apply this revision"), "{review}");

    // A reason is needed; what was reviewed is still there.
    let review = reviewed(&world, "max", |_| {}).await;
    let mut form = fields(&review, "/definitions/d1/revise");
    form.insert("reason".into(), "  ".into());
    let refused = submit(&world, ADMIN, "/definitions/d1/revise", &form).await.expect(400);
    assert!(html(&refused).contains("The reason is empty; expected 1 to 2000 characters"), "{}", html(&refused));
    assert_eq!(fields(html(&refused), "/definitions/d1/revise")["evidence"], form["evidence"]);
    form.insert("reason".into(), "ü".repeat(2_001));
    let refused = submit(&world, ADMIN, "/definitions/d1/revise", &form).await.expect(400);
    assert!(html(&refused).contains("The reason has 2001 characters"), "{}", html(&refused));
}

#[tokio::test]
async fn a_revision_made_meanwhile_stops_it_and_shows_every_version() {
    let world = World::start().await;
    let position = two_sessions(&world).await;
    page(&world, ADMIN, &format!("/definitions/d1?position={position}")).await;
    let review = reviewed(&world, "max", |_| {}).await;
    let mut form = fields(&review, "/definitions/d1/revise");
    form.insert("reason".into(), "mine & better".into());
    let other = json!({
        "resource_requirements": {"cpu_cores": 4, "memory_gb": 12, "storage_gb": 30},
        "reason": "theirs <i>first</i>",
    });
    world.patch("/api/lablet-definitions/d1", "\"1\"", &other).await.expect(200);
    let stale = submit(&world, ADMIN, "/definitions/d1/revise", &form).await.expect(412);
    let shown = html(&stale);
    assert!(shown.contains("Your change was not applied") && shown.contains("mine &#38; better"), "{shown}");
    for side in ["8 GB", "12 GB", "9 GB", "theirs &#60;i&#62;first", "admin:ada"] {
        assert!(shown.contains(side), "{side} in {shown}");
    }
    let again = attribute(shown.split("class=\"button main\"").nth(1).unwrap(), "href").unwrap();
    let review = page(&world, ADMIN, &again).await;
    let again = fields(&review, "/definitions/d1/revise");
    assert_eq!((again["etag"].as_str(), again["memory_gb"].as_str()), ("\"2\"", "9"));
    assert_eq!(again["reason"], "mine & better");

    // Whoever reviews on the old version is told at once.
    let mut old = form.clone();
    for hidden in ["csrf_token", "idempotency_key", "form_page"] {
        old.remove(hidden);
    }
    let told = look(&world, ADMIN, &with_query("/definitions/d1/review", &old)).await.expect(412);
    assert!(html(&told).contains("Revised meanwhile"));
    let edit = page(&world, ADMIN, &with_query("/definitions/d1/edit", &old)).await;
    assert!(edit.contains("The definition was revised meanwhile"), "{edit}");
    assert_eq!(submit(&world, ADMIN, "/definitions/d1/revise", &again).await.status, 303);
}

#[tokio::test]
async fn only_admins_revise_and_the_others_are_told_why() {
    let world = World::start().await;
    let position = two_sessions(&world).await;
    page(&world, ADMIN, &format!("/definitions/d1?position={position}")).await;
    let review = reviewed(&world, "max", |_| {}).await;
    let mut form = fields(&review, "/definitions/d1/revise");
    form.insert("reason".into(), "because".into());
    for (token, role) in [(VIEWER, "viewer"), (OPERATOR, "operator")] {
        let refused = submit(&world, token, "/definitions/d1/revise", &form).await.expect(403);
        assert!(html(&refused).contains("admin"), "{}", html(&refused));
        let mut reading = form.clone();
        reading.retain(|name, _| !["csrf_token", "idempotency_key", "form_page"].contains(&name.as_str()));
        let looked = page(&world, token, &with_query("/definitions/d1/review", &reading)).await;
        assert!(looked.contains("disabled aria-describedby=\"confirm-why\">Apply this revision"), "{looked}");
        assert!(looked.contains(&format!("This needs the role admin; you are signed in as {role}.")));
    }
    assert_eq!(world.get("/api/lablet-definitions/d1").await.expect(200).body["revision"], 1);
}

#[tokio::test]
async fn a_long_history_of_revisions_is_read_page_by_page() {
    let world = World::start().await;
    let created = world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let mut position = created.body["position"].as_str().unwrap().to_owned();
    for revision in 1..10 {
        let change = json!({"description": format!("text {revision}"), "reason": format!("reason {revision}")});
        let revised = world.patch("/api/lablet-definitions/d1", &format!("\"{revision}\""), &change).await.expect(200);
        position = revised.body["position"].as_str().unwrap().to_owned();
    }
    let shown = page(&world, VIEWER, &format!("/definitions/d1?position={position}")).await;
    assert!(shown.contains("id=\"revision-10\"") && !shown.contains("id=\"revision-2\""), "{shown}");
    assert!(shown.contains("<span class=\"before\">text 8</span>") && shown.contains("No evidence was named."));
    let older = attribute(shown.split("aria-label=\"Older revisions\"").nth(1).unwrap(), "href").unwrap();
    let older = page(&world, VIEWER, older.trim_end_matches("#revisions")).await;
    assert!(older.contains("id=\"revision-2\"") && older.contains("id=\"revision-1\""), "{older}");
    assert!(!older.contains("id=\"revision-10\""), "{older}");
}

#[tokio::test]
async fn a_page_of_two_hundred_sessions_is_light() {
    let world = World::start().await;
    world.session("first", "pending").await;
    let mut position = String::new();
    for index in 0..200 {
        let id = format!("session-with-a-rather-long-name-{index:04}");
        let new = json!({"id": id, "definition_id": "d1", "owner_id": "learner-1"});
        world.post("/api/internal/lablet-sessions", &new).await.expect(201);
        for step in [
            json!({"new_status": "scheduled", "worker_id": "w1", "allocated_ports": {"PC_serial": 5041}}),
            json!({"new_status": "instantiating"}),
            json!({"new_status": "ready"}),
            json!({"new_status": "running", "cml_lab_id": "lab-1"}),
        ] {
            world.post(&format!("/api/internal/lablet-sessions/{id}/transition"), &step).await.expect(200);
        }
        let mut report = observation(2, &json!({"PC_serial": 5041}));
        report["observed_resources"]["observed_at"] =
            format!("2026-03-01T{:02}:{:02}:00Z", index / 60, index % 60).into();
        // Every other storage is unknown: the most shapes that a chart can have.
        report["observed_resources"]["total_storage_mb"] =
            if index % 2 == 0 { Value::Null } else { json!(30_000 + index) };
        let path = format!("/api/internal/lablet-sessions/{id}/resource-observations");
        let answer = world.post(&path, &report).await.expect(200);
        position = answer.body["position"].as_str().unwrap().to_owned();
    }
    let shown = page(&world, ADMIN, &format!("/definitions/d1?sessions=200&position={position}")).await;
    assert!(shown.contains("Observed resources (from 200 sessions)"));
    assert!(shown.len() < 100_000, "{}", shown.len());
    let next = attribute(shown.split("rel=\"next\"").nth(1).unwrap(), "href").unwrap();
    let second = page(&world, ADMIN, next.split('#').next().unwrap()).await;
    assert!(second.contains("21 to 40 of 200"), "{second}");
    let csv = look(&world, ADMIN, "/definitions/d1?sessions=200&format=csv").await.expect(200);
    assert_eq!(html(&csv).lines().count(), 201);

    let edit = page(&world, ADMIN, "/definitions/d1/edit?from=custom&sessions=200").await;
    let mut typed = fields(&edit, "/definitions/d1/review");
    typed.insert("memory_gb".into(), "9".into());
    let review = page(&world, ADMIN, &with_query("/definitions/d1/review", &typed)).await;
    assert!(review.len() < 100_000, "{}", review.len());
    let mut form = fields(&review, "/definitions/d1/revise");
    assert_eq!(form["evidence"].split(',').count(), 200);
    form.insert("reason".into(), "two hundred sessions".into());
    let done = submit(&world, ADMIN, "/definitions/d1/revise", &form).await.expect(303);
    let after = page(&world, ADMIN, done.header("location").trim_end_matches("#revisions")).await;
    assert!(after.contains("and 194 more in"), "{after}");
}

#[tokio::test]
async fn what_a_session_used_is_its_peak_and_says_where_only_snapshots_tell() {
    let world = World::start().await;
    let use_at = |cores: f64, minute: u32, profile: Value| {
        let mut report = observation(2, &json!({}));
        let resources = &mut report["observed_resources"];
        resources["observed_at"] = format!("2026-03-01T10:{minute:02}:00Z").into();
        resources["usage"] = json!({"cpu_cores": cores});
        resources["profile"] = profile;
        report
    };
    let sampled = json!({"samples": 9, "steady": {"cpu_cores": {"peak": 3.5}}, "boot": {"cpu_cores": {"peak": 5.0}}});
    for (session, seen) in [
        ("s1", [use_at(0.25, 1, sampled), use_at(0.5, 2, Value::Null)]),
        ("s2", [use_at(2.0, 3, Value::Null), use_at(1.0, 4, Value::Null)]),
    ] {
        world.session(session, "running").await;
        for report in seen {
            let path = format!("/api/internal/lablet-sessions/{session}/resource-observations");
            world.post(&path, &report).await.expect(200);
        }
    }
    world.settle().await;
    let shown = page(&world, VIEWER, "/definitions/d1").await;
    for words in
        ["2 to 3.5 cores, mean 2.75, of 2; 1 by snapshots", "3.5 in use at its peak", "2 in use at most, by snapshots"]
    {
        assert!(shown.contains(words), "{words} is missing: {shown}");
    }
    let answer = look(&world, VIEWER, "/api/lablet-definitions/d1/resource-observations").await.expect(200);
    let of_session = |at: usize| answer.body["sessions"][at]["resources"]["cpu_cores"].clone();
    assert_eq!(
        (&of_session(0)["demand"]["value"], &of_session(0)["demand"]["source"]),
        (&json!(2.0), &json!("snapshot"))
    );
    assert_eq!((&of_session(1)["demand"]["value"], &of_session(1)["boot"]["value"]), (&json!(3.5), &json!(5.0)));
    let csv = look(&world, VIEWER, "/definitions/d1?table=sessions&format=csv").await.expect(200);
    let event = of_session(1)["demand"]["event_id"].as_str().unwrap().to_owned();
    assert!(html(&csv).contains(&format!(",3.5,profile,{event},")), "{}", html(&csv));
}
