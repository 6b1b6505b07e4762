//! The pages of advice over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::page_forms::{attribute, fields, html, look, page, submit, with_query};
use crate::proposals::propose;
use crate::world::{ADMIN, OPERATOR, VIEWER, World, definition, observation};

/// A session of `d1` that needed this much memory, and ended.
async fn ended(world: &World, session: &str, memory_mb: f64) {
    world.session(session, "running").await;
    let mut report = observation(2, &json!({}));
    report["observed_resources"]["usage"] = json!({"memory_mb": memory_mb, "cpu_cores": 0.5});
    let path = format!("/api/internal/lablet-sessions/{session}");
    world.post(&format!("{path}/resource-observations"), &report).await.expect(200);
    for step in ["collecting", "grading"] {
        world.post(&format!("{path}/transition"), &json!({ "new_status": step })).await.expect(200);
    }
}

/// A session of `d1` that was sampled, and ended: what it used in its steady phase, and while it booted.
async fn sampled(world: &World, session: &str, steady_mb: f64, boot_mb: f64) {
    world.session(session, "running").await;
    let mut report = observation(2, &json!({}));
    report["observed_resources"]["usage"] = json!({"memory_mb": steady_mb, "cpu_cores": 0.5});
    report["observed_resources"]["profile"] = json!({
        "samples": 9, "steady": {"memory_mb": {"peak": steady_mb}}, "boot": {"memory_mb": {"peak": boot_mb}}
    });
    let path = format!("/api/internal/lablet-sessions/{session}");
    world.post(&format!("{path}/resource-observations"), &report).await.expect(200);
    for step in ["collecting", "grading"] {
        world.post(&format!("{path}/transition"), &json!({ "new_status": step })).await.expect(200);
    }
}

#[tokio::test]
async fn a_policy_that_includes_the_boot_changes_what_is_recommended_and_pages_say_so() {
    let world = World::start().await;
    for (number, memory) in [600.0, 620.0, 610.0, 630.0].into_iter().enumerate() {
        sampled(&world, &format!("s{number}"), memory, 2.0 * memory).await;
    }
    world.settle().await;
    let home = "/api/lablet-definitions/d1";
    let without = world.get(&format!("{home}/recommendation")).await.expect(200).body;
    let boot = |answer: &Value| answer["left_out"].as_array().unwrap().iter().any(|left| left["code"] == "boot");
    assert!(without["policy"]["include_boot"].is_null() && boot(&without), "{without}");
    let evidence = page(&world, VIEWER, "/definitions/d1/evidence").await;
    assert!(
        evidence.contains("after booting") && evidence.contains("1.23 GB while booting, not counted"),
        "{evidence}"
    );

    let review = reviewed(&world, "/definitions/d1/policy", &[("include_boot", "true")]).await;
    for text in ["not counted", "included", "Both on the same past", "What sessions needed, boot included."] {
        assert!(review.contains(text), "{text}: {review}");
    }
    let mut confirmed = fields(&review, "/definitions/d1/policy");
    confirmed.insert("reason".to_owned(), "classes boot at once".to_owned());
    let set = submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(303);
    let shown = page(&world, VIEWER, set.header("location")).await;
    assert!(shown.contains("<dt>Boot</dt><dd>included</dd>"), "{shown}");

    world.settle().await;
    let with_boot = world.get(&format!("{home}/recommendation")).await.expect(200).body;
    assert!(with_boot["policy"]["include_boot"] == true && !boot(&with_boot), "{with_boot}");
    let [before, after] = [&without, &with_boot].map(|answer| answer["resources"]["memory_mb"].clone());
    assert_eq!((&before["demand"]["max"], &after["demand"]["max"]), (&json!(630.0), &json!(1260.0)));
    assert!(after["value"].as_f64() >= Some(1260.0) && before["value"].as_f64() < Some(1000.0), "{before} {after}");
    let advised = page(&world, VIEWER, "/definitions/d1").await;
    assert!(
        advised.contains("within their memory, boot included; seen 4 sessions; the largest used 1.23 GB."),
        "{advised}"
    );
    let evidence = page(&world, VIEWER, "/definitions/d1/evidence").await;
    assert!(evidence.contains("boot included") && evidence.contains("while booting; 0.62 GB afterwards"), "{evidence}");
    let explained = page(&world, VIEWER, "/definitions/d1/advice?resource=memory_mb").await;
    assert!(explained.contains("95 of 100, boot included"), "{explained}");

    let short = async |query: &str| {
        let tried = world.get(&format!("{home}/back-test?memory_gb=1{query}")).await.expect(200).body;
        (tried["include_boot"].clone(), tried["resources"]["memory_mb"]["sessions_short"].clone())
    };
    assert_eq!(short("").await, (json!(true), json!(4)));
    assert_eq!(short("&include_boot=false").await, (json!(false), json!(0)));
    let rows = world.get(&format!("{home}/evidence")).await.expect(200).body;
    assert_eq!(rows["items"][0]["demand_with_boot"]["memory_mb"], 1260.0);
    world.get(&format!("{home}/back-test?include_boot=perhaps")).await.problem(
        400,
        "invalid-input",
        Some("include_boot"),
    );
}

/// The target of the first link that stands after a text.
fn link_after(page: &str, text: &str) -> String {
    let from = page.find(text).unwrap_or_else(|| panic!("no {text} in {page}"));
    attribute(page[from..].split("<a").nth(1).unwrap(), "href").unwrap()
}

#[tokio::test]
async fn a_definition_shows_what_is_recommended_and_two_clicks_lead_to_the_reading_that_set_it() {
    let world = World::start().await;
    for (number, memory) in [700.0, 900.0, 800.0, 850.0].into_iter().enumerate() {
        ended(&world, &format!("s{number}"), memory).await;
    }
    world.settle().await;
    let shown = page(&world, VIEWER, "/definitions/d1").await;
    for text in [
        "keeps 95 of 100 sessions within their memory; seen 4 sessions; the largest used 0.88 GB.",
        "too large by",
        "as its newest observed session showed it",
        "Size against promise",
        "none short",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let explanation = link_after(&shown, "data-name=\"Recommended\" class=\"number\"");
    assert!(explanation.starts_with("/definitions/d1/advice?promise=0.95"), "{explanation}");
    let explained = page(&world, VIEWER, "/definitions/d1/advice?resource=memory_mb").await;
    for text in ["What the topology needs", "iosv", "spreads", "What the definition would state", "by snapshots"] {
        assert!(explained.contains(text), "{text}: {explained}");
    }
    let reading = link_after(&explained, "data-name=\"Reading\"");
    let event = page(&world, VIEWER, &reading).await;
    assert!(event.contains("lablet_session.resources_observed") && event.contains("900"), "{event}");

    // A greater promise is asked about by the form, and what was advised earlier by the slider.
    let other = page(&world, VIEWER, "/definitions/d1?promise=0.9").await;
    assert!(other.contains("keeps 90 of 100") && other.contains("the policy promises 95 of 100"), "{other}");
    let earlier = page(&world, VIEWER, "/definitions/d1/advice?resource=memory_mb&after=2").await;
    assert!(earlier.contains("after 2 of 4: 2026-") && earlier.contains("The mean of 2 sessions."), "{earlier}");
    look(&world, VIEWER, "/definitions/d1?promise=1").await.expect(400);
    look(&world, VIEWER, "/definitions/nothing/advice").await.expect(404);
}

#[tokio::test]
async fn a_definition_without_sessions_says_how_its_topology_is_stated_and_is_sized_by_it() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    world.settle().await;
    let shown = page(&world, VIEWER, "/definitions/d1").await;
    assert!(shown.contains("State its topology when it is revised"), "{shown}");
    assert!(shown.contains("so no size is recommended"), "{shown}");
    let mut stated = definition("d2");
    stated["topology"] = json!({"nodes": [{"node_definition": "iosv", "cpus": 1, "ram_mb": 768, "count": 3}]});
    world.post("/api/lablet-definitions", &stated).await.expect(201);
    world.settle().await;
    let shown = page(&world, VIEWER, "/definitions/d2").await;
    assert!(shown.contains("3 nodes, as the definition states it"), "{shown}");
    assert!(shown.contains("3 GB keeps 95 of 100 sessions within their memory; no session was seen."), "{shown}");
}

#[tokio::test]
async fn a_session_is_excluded_with_a_reason_that_stands_wherever_its_number_would_and_counts_again() {
    let world = World::start().await;
    for (session, memory) in [("s1", 700.0), ("s2", 1500.0)] {
        ended(&world, session, memory).await;
    }
    world.settle().await;
    let listed = page(&world, OPERATOR, "/definitions/d1/evidence").await;
    let mut form = fields(&listed, "/sessions/s2/evidence");
    assert_eq!(form["counts"], "false");
    let refused = submit(&world, OPERATOR, "/sessions/s2/evidence", &form).await.expect(400);
    assert!(html(&refused).contains("reason"), "{}", html(&refused));
    form.insert("reason".to_owned(), "stress <test>".to_owned());
    submit(&world, VIEWER, "/sessions/s2/evidence", &form).await.expect(403);
    let done = submit(&world, OPERATOR, "/sessions/s2/evidence", &form).await.expect(303);
    let listed = page(&world, VIEWER, done.header("location")).await;
    assert!(listed.contains("excluded by admin:oli: <span class=\"written\">stress &#60;test&#62;</span>"), "{listed}");
    assert!(listed.contains("This needs the role operator; you are signed in as viewer."), "{listed}");
    let shown = page(&world, VIEWER, "/definitions/d1").await;
    assert!(shown.contains("excluded by admin:oli: stress &#60;test&#62;"), "{shown}");
    assert!(shown.contains("seen 1 session; the largest used 0.68 GB"), "{shown}");
    let session = page(&world, OPERATOR, "/sessions/s2").await;
    let mut form = fields(&session, "/sessions/s2/evidence");
    assert_eq!(form["counts"], "true");
    form.insert("reason".to_owned(), "it was none".to_owned());
    let done = submit(&world, OPERATOR, "/sessions/s2/evidence", &form).await.expect(303);
    assert!(done.header("location").starts_with("/sessions/s2?position="), "{}", done.header("location"));
    world.settle().await;
    let shown = page(&world, VIEWER, "/definitions/d1").await;
    assert!(shown.contains("seen 2 sessions; the largest used 1.46 GB"), "{shown}");
    let told = world.send(world.request(Method::GET, "/sessions/nobody").bearer_auth(VIEWER)).await;
    told.expect(404);
}

/// Fills the form of a policy in, and answers its review.
async fn reviewed(world: &World, path: &str, typed: &[(&str, &str)]) -> String {
    let form = page(world, ADMIN, path).await;
    let mut sent = fields(&form, &format!("{path}/review"));
    sent.extend(typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    page(world, ADMIN, &with_query(&format!("{path}/review"), &sent)).await
}

#[tokio::test]
async fn a_policy_is_reviewed_set_with_a_reason_and_given_up_again() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let review = reviewed(&world, "/advice/policy", &[("promise", "97"), ("memory_floor", "2")]).await;
    assert!(review.contains("95 of 100 sessions") && review.contains("97 of 100 sessions"), "{review}");
    let mut confirmed = fields(&review, "/advice/policy");
    let refused = submit(&world, ADMIN, "/advice/policy", &confirmed).await.expect(400);
    assert!(html(&refused).contains("1 to 2000 characters"), "{}", html(&refused));
    confirmed.insert("reason".to_owned(), "exams <must> not be short".to_owned());
    let set = submit(&world, ADMIN, "/advice/policy", &confirmed).await.expect(303);
    let shown = page(&world, VIEWER, set.header("location")).await;
    for text in
        ["The policy is set.", "Set by admin:ada", "exams &#60;must&#62; not be short", "97 of 100 sessions", "2 GB"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    // A definition has the default until it has its own.
    let own = page(&world, VIEWER, "/definitions/d1/policy").await;
    assert!(own.contains("97 of 100 sessions") && own.contains("href=\"/advice/policy\">default"), "{own}");
    let review = reviewed(&world, "/definitions/d1/policy", &[("applier", "automatic")]).await;
    assert!(review.contains("Proposals apply by themselves"), "{review}");
    let mut confirmed = fields(&review, "/definitions/d1/policy");
    confirmed.insert("reason".to_owned(), "nobody looks at it".to_owned());
    let set = submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(303);
    let shown = page(&world, VIEWER, set.header("location")).await;
    assert!(shown.contains("itself, at once") && shown.contains("nobody looks at it"), "{shown}");
    let review = reviewed(&world, "/definitions/d1/policy", &[("given_up", "true")]).await;
    assert!(review.contains("afterwards the default"), "{review}");
    let mut confirmed = fields(&review, "/definitions/d1/policy");
    confirmed.insert("reason".to_owned(), "back".to_owned());
    let set = submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(303);
    let shown = page(&world, VIEWER, set.header("location")).await;
    assert!(shown.contains("Given up") && shown.contains(">default</a>"), "{shown}");
    let advice = page(&world, VIEWER, "/advice").await;
    assert!(advice.contains("exams &#60;must&#62; not be short"), "{advice}");
}

#[tokio::test]
async fn a_policy_that_contradicts_itself_is_refused_beside_its_field_and_one_that_was_changed_is_not_overwritten() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let crossed = [("version", "1"), ("memory_floor", "8"), ("memory_cap", "4"), ("promise", "95")];
    let crossed = with_query(
        "/definitions/d1/policy/review",
        &crossed.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    );
    let answer = look(&world, ADMIN, &crossed).await.expect(400);
    assert!(html(&answer).contains("is above its cap"), "{}", html(&answer));

    let review = reviewed(&world, "/definitions/d1/policy", &[("promise", "90")]).await;
    let mut confirmed = fields(&review, "/definitions/d1/policy");
    confirmed.insert("reason".to_owned(), "cheap".to_owned());
    submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(303);
    confirmed.insert("idempotency_key".to_owned(), "another".to_owned());
    confirmed.insert("promise".to_owned(), "80".to_owned());
    let stale = submit(&world, ADMIN, "/definitions/d1/policy", &confirmed).await.expect(412);
    assert!(html(&stale).contains("It was changed meanwhile"), "{}", html(&stale));

    let form = page(&world, OPERATOR, "/definitions/d1/policy").await;
    assert!(form.contains("This needs the role admin; you are signed in as operator."), "{form}");
    submit(&world, OPERATOR, "/definitions/d1/policy", &confirmed).await.expect(403);
    look(&world, VIEWER, "/definitions/nothing/policy").await.expect(404);
}

#[tokio::test]
async fn a_proposal_is_claimed_reviewed_and_applied_and_waits_for_the_sessions_that_verify_it() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let proposal = propose(&world, 3).await;
    world.settle().await;
    let shown = page(&world, ADMIN, "/definitions/d1").await;
    for text in ["5 sessions used less", "<span class=\"before\">8 GB</span>", "too large"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let overview = page(&world, VIEWER, "/").await;
    assert!(overview.contains("Memory 8 GB → 3 GB"), "{overview}");
    let path = format!("/proposals/{proposal}");
    let seen = page(&world, OPERATOR, &path).await;
    assert!(seen.contains("The policy lets only admins apply it; you are signed in as operator."), "{seen}");
    let form = fields(&seen, &format!("{path}/claim"));
    submit(&world, VIEWER, &format!("{path}/claim"), &form).await.expect(403);
    let claimed = submit(&world, OPERATOR, &format!("{path}/claim"), &form).await.expect(303);
    let seen = page(&world, ADMIN, claimed.header("location")).await;
    assert!(seen.contains("Claimed by admin:oli") && seen.contains("It failed"), "{seen}");
    // The form that was seen before is out of date.
    let mut old = fields(&seen, &format!("{path}/dismiss"));
    old.insert("version".to_owned(), "1".to_owned());
    old.insert("reason".to_owned(), "no".to_owned());
    submit(&world, ADMIN, &format!("{path}/dismiss"), &old).await.expect(412);
    let review = page(&world, ADMIN, &format!("{path}/apply")).await;
    for text in ["Review of the proposal for", "This size on past sessions", "Revise by hand instead"] {
        assert!(review.contains(text), "{text}: {review}");
    }
    let form = fields(&review, &format!("{path}/apply"));
    submit(&world, OPERATOR, &format!("{path}/apply"), &form).await.expect(403);
    let applied = submit(&world, ADMIN, &format!("{path}/apply"), &form).await.expect(303);
    world.settle().await;
    let shown = page(&world, ADMIN, applied.header("location").split('#').next().unwrap()).await;
    assert!(shown.contains("Revision 2 is recorded"), "{shown}");
    assert!(shown.contains("to be verified: 0 of 3 sessions"), "{shown}");
    let listed = page(&world, VIEWER, "/proposals?status=applied").await;
    assert!(listed.contains(&path), "{listed}");
    assert!(!page(&world, VIEWER, "/proposals?status=open").await.contains(&path));
    submit(&world, ADMIN, &format!("{path}/apply"), &form).await.expect(303);
}

#[tokio::test]
async fn a_proposal_is_dismissed_with_a_reason_and_not_without() {
    let world = World::start().await;
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    let path = format!("/proposals/{}", propose(&world, 3).await);
    world.settle().await;
    let seen = page(&world, OPERATOR, &path).await;
    let mut form = fields(&seen, &format!("{path}/dismiss"));
    submit(&world, OPERATOR, &format!("{path}/dismiss"), &form).await.expect(400);
    form.insert("idempotency_key".to_owned(), "again".to_owned());
    form.insert("reason".to_owned(), "an exam <soon>".to_owned());
    let done = submit(&world, OPERATOR, &format!("{path}/dismiss"), &form).await.expect(303);
    let seen = page(&world, VIEWER, done.header("location")).await;
    assert!(seen.contains("Dismissed by admin:oli") && seen.contains("an exam &#60;soon&#62;"), "{seen}");
    assert!(!seen.contains(">Claim</button>"), "{seen}");
    look(&world, VIEWER, "/proposals/nothing").await.expect(404);
}

#[tokio::test]
async fn a_size_is_tried_on_the_past_before_it_is_applied_and_two_promises_are_compared() {
    let world = World::start().await;
    for (number, memory) in [700.0, 1500.0, 800.0].into_iter().enumerate() {
        ended(&world, &format!("s{number}"), memory).await;
    }
    world.settle().await;
    let tried = page(&world, VIEWER, "/definitions/d1/back-test?memory_gb=1").await;
    for text in ["1 short", "needed 1.46 GB, 0.46 GB more", "class=\"short\""] {
        assert!(tried.contains(text), "{text}: {tried}");
    }
    let wrong = page(&world, VIEWER, "/definitions/d1/back-test?memory_gb=many").await;
    assert!(wrong.contains("memory_gb is &#34;many&#34;"), "{wrong}");
    let compared = page(&world, VIEWER, "/definitions/d1/back-test?promise=0.5&beside=0.99").await;
    assert!(compared.contains("50 of 100") && compared.contains("99 of 100"), "{compared}");
    let edit = page(&world, ADMIN, "/definitions/d1/edit?from=custom").await;
    assert!(edit.contains("hx-get=\"/definitions/d1/back-test\""), "{edit}");
    let mut typed = fields(&edit, "/definitions/d1/review");
    typed.insert("memory_gb".to_owned(), "1".to_owned());
    let review = page(&world, ADMIN, &with_query("/definitions/d1/review", &typed)).await;
    assert!(review.contains("This size on past sessions") && review.contains("1 short"), "{review}");
    let policy = reviewed(&world, "/definitions/d1/policy", &[("promise", "60")]).await;
    assert!(policy.contains("Both on the same past"), "{policy}");
    let advice = page(&world, VIEWER, "/advice").await;
    for text in ["Promised", "By how many sessions were known", "Sessions that needed more than was advised"] {
        assert!(advice.contains(text), "{text}: {advice}");
    }
}

#[tokio::test]
async fn what_is_told_of_the_evidence_leads_to_the_sessions_that_it_is_told_of() {
    let world = World::start().await;
    for (number, memory) in [700.0, 900.0, 800.0].into_iter().enumerate() {
        ended(&world, &format!("s{number}"), memory).await;
    }
    world.session("s9", "running").await;
    let trial = json!({"reason": "a trial"});
    world.post("/api/lablet-sessions/s1/evidence-exclusion", &trial).await.expect(200);
    world.settle().await;
    let shown = page(&world, VIEWER, "/definitions/d1").await;
    for (told, code, session) in [("excluded by somebody", "excluded", "s1"), ("still running", "still_running", "s9")]
    {
        let link = link_after(&shown, told);
        assert_eq!(link, format!("/definitions/d1/evidence?left_out={code}"));
        let listed = page(&world, VIEWER, &link).await;
        assert_eq!(listed.matches("<tr id=\"e-").count(), 1, "{listed}");
        assert!(listed.contains(&format!("<tr id=\"e-{session}\"")), "{listed}");
        assert!(listed.contains("All that ended"), "{listed}");
    }
    let sessions = async |query: &str| -> Vec<String> {
        let path = format!("/api/lablet-definitions/d1/evidence?{query}");
        let answer = world.get(&path).await.expect(200).body;
        let id = |row: &serde_json::Value| row["session_id"].as_str().unwrap().to_owned();
        answer["items"].as_array().unwrap().iter().map(id).collect()
    };
    assert_eq!(sessions("left_out=excluded").await, ["s1"]);
    assert_eq!(sessions("mixed=workers&value=w1").await, ["s2", "s0"], "those that count");
    assert_eq!(sessions("mixed=workers&value=w2").await, Vec::<String>::new());
    assert_eq!(sessions("mixed=cml_versions").await, ["s2", "s0"], "of which it is unknown");
    let first = world.get("/api/lablet-definitions/d1/evidence?mixed=workers&value=w1&limit=1").await.expect(200).body;
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(sessions(&format!("mixed=workers&value=w1&cursor={cursor}")).await, ["s0"]);
    for (query, field) in [
        ("left_out=excluded&mixed=workers", "mixed"),
        ("value=w1", "value"),
        ("mixed=revisions&value=first", "value"),
        ("left_out=forgotten", "left_out"),
    ] {
        let refused = world.get(&format!("/api/lablet-definitions/d1/evidence?{query}")).await;
        refused.problem(400, "invalid-input", Some(field));
    }
}

/// Copies the rows of a session in a table, under ids and positions of their own, each a little later than the one before.
async fn copy_sessions(world: &World, table: &str, key: &str, count: u32) {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, data_type::text FROM information_schema.columns
          WHERE table_schema || '.' || table_name = $1 AND is_generated = 'NEVER'",
    )
    .bind(table)
    .fetch_all(&world.owner())
    .await
    .unwrap();
    let value = |(name, data_type): &(String, String)| match name.as_str() {
        name if name == key => "'copy-' || n".to_owned(),
        "created_position" | "ended_position" | "position" => {
            let earlier = "'0000000000-' || lpad(n::text, 20, '0') || '-0000000000000000000'";
            format!("CASE WHEN s.{name} IS NOT NULL THEN {earlier} END")
        }
        "memory_mb" => "s.memory_mb + n % 500".to_owned(),
        _ if data_type.starts_with("timestamp") => format!("s.\"{name}\" + n * interval '1 second'"),
        _ => format!("s.\"{name}\""),
    };
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let values: Vec<String> = columns.iter().map(value).collect();
    let statement = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {table} s, generate_series(1, {count}) n WHERE s.{key} = 's1'",
        names.join(", "),
        values.join(", ")
    );
    let copied = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&world.owner()).await.unwrap();
    assert_eq!(copied.rows_affected(), u64::from(count), "{table}");
}

#[tokio::test]
async fn the_page_of_a_definition_of_10_000_sessions_stays_below_150_kb() {
    let world = World::start().await;
    for (number, memory) in [700.0, 900.0, 800.0, 850.0].into_iter().enumerate() {
        ended(&world, &format!("s{number}"), memory).await;
    }
    let trial = json!({"reason": "x".repeat(2_000)});
    world.post("/api/lablet-sessions/s0/evidence-exclusion", &trial).await.expect(200);
    world.settle().await;
    for (table, key) in [
        ("read_sessions.sessions", "id"),
        ("read_observations.observed_sessions", "session_id"),
        ("read_demands.sessions", "session_id"),
        ("read_advice.sessions", "session_id"),
    ] {
        copy_sessions(&world, table, key, 10_000).await;
    }
    for path in ["/definitions/d1", "/definitions/d1?sessions=200", "/definitions/d1/evidence"] {
        let bytes = page(&world, VIEWER, path).await.len();
        assert!(bytes < 150_000, "{path}: {bytes} bytes");
    }
}
