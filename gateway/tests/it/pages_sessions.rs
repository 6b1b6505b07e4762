//! The pages about sessions, as they come over HTTP.

use reqwest::Method;
use serde_json::json;

use crate::world::{Answer, OPERATOR, VIEWER, World, observation};

/// The most that a first view may weigh.
const LIGHT: usize = 100 * 1024;

fn html(answer: &Answer) -> &str {
    assert!(answer.header("content-type").starts_with("text/html"), "{:?}", answer.headers);
    answer.body.as_str().unwrap()
}

/// A page as a viewer sees it, with everything that was written before.
async fn page(world: &World, path: &str) -> Answer {
    world.settle().await;
    world.get(path).await.expect(200)
}

async fn form(world: &World, token: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = world.request(Method::POST, path).bearer_auth(token).body(body);
    let client = request.header("content-type", "application/x-www-form-urlencoded").build().unwrap();
    let none = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(none).build().unwrap();
    Answer::of(http.execute(client).await.unwrap()).await
}

#[tokio::test]
async fn pages_allow_nothing_inline_and_nothing_from_elsewhere() {
    let world = World::start().await;
    world.session("s1", "running").await;
    for path in ["/", "/sessions", "/sessions/s1"] {
        let answer = page(&world, path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        let html = html(&answer);
        for inline in ["<script>", " style=", " onclick=", "javascript:", "http://", "https://"] {
            let found = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(inline), "{path} holds {inline}");
        }
        assert!(html.contains("rel=\"alternate\" type=\"application/json\""), "{path} names no twin");
    }
}

#[tokio::test]
async fn everything_that_is_chosen_is_in_the_address() {
    let world = World::start().await;
    for id in ["s1", "s2", "s3"] {
        world.session(id, "pending").await;
    }
    let first = page(&world, "/sessions?status=pending&text=&drift=&limit=2&sort=oldest").await;
    let shown = html(&first);
    assert!(shown.contains(r#"href="/sessions/s1""#) && !shown.contains(r#"href="/sessions/s3""#));
    let (_, rest) = shown.split_once(r#"rel="next" href=""#).unwrap();
    let next = rest.split_once('"').unwrap().0.replace("&#38;", "&");
    assert!(next.contains("status=pending") && next.contains("sort=oldest") && next.contains("limit=2"), "{next}");
    let second = page(&world, &next).await;
    assert!(html(&second).contains(r#"href="/sessions/s3""#) && !html(&second).contains(r#"href="/sessions/s1""#));
    let nothing = page(&world, "/sessions?status=running").await;
    assert!(html(&nothing).contains("No session matches."));
    let wrong = world.get("/sessions?status=flying").await.expect(400);
    assert!(html(&wrong).contains("status") && html(&wrong).contains("flying"));
}

#[tokio::test]
async fn a_list_is_to_be_had_as_csv() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let answer = page(&world, "/sessions?format=csv").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    let text = answer.body.as_str().unwrap();
    assert!(text.starts_with("\u{feff}session_id,status,") && text.contains("\r\ns1,running,"), "{text}");
    let events = page(&world, "/sessions/s1?table=events&format=csv").await;
    assert!(events.body.as_str().unwrap().contains("lablet_session.running.v1"));
}

#[tokio::test]
async fn a_session_shows_allocated_beside_observed_ports_and_what_is_unknown() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let before = page(&world, "/sessions/s1").await;
    assert!(html(&before).contains("Nothing was observed yet"), "{}", html(&before));
    assert!(html(&before).contains("ports unknown"));
    let seen = observation(2, &json!({"PC_serial": 5041, "PC_vnc": 5099, "new_tcp": 2001}));
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    world.post(path, &seen).await.expect(200);
    let answer = page(&world, "/sessions/s1").await;
    let shown = html(&answer);
    for words in ["as planned", "changed", "added", "ports drifted", "Ports: allocated and observed", "controller-1"] {
        assert!(shown.contains(words), "{words} is missing");
    }
    // Storage was not told: that is no zero.
    assert!(shown.contains("unknown") && !shown.contains(">0 GB<"));
    let node = page(&world, "/sessions/s1/nodes/node-1").await;
    assert!(html(&node).contains("52:54:00:00:00:01") && html(&node).contains("serial:5041"));
    world.get("/sessions/s1/nodes/nobody").await.expect(404);
}

#[tokio::test]
async fn a_lab_is_called_by_its_title_with_the_short_id_to_copy_and_found_by_it() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let lab = page(&world, "/api/lablet-sessions/s1").await.body["cml_lab_id"].as_str().unwrap().to_owned();
    let unnamed = format!(r#"<span>Lab <span class="id">{lab}</span>"#);
    let before = page(&world, "/sessions/s1").await;
    assert!(html(&before).contains(&unnamed), "{}", html(&before));
    let mut seen = observation(1, &json!({}));
    seen["observed_resources"]["lab_title"] = "<b>OSPF</b> of Ada".into();
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    world.post(path, &seen).await.expect(200);
    let shown = page(&world, "/sessions/s1").await;
    let named = format!(r#"<span>Lab <span title="{lab}">&#60;b&#62;OSPF&#60;/b&#62; of Ada</span> <button"#);
    assert!(html(&shown).contains(&named), "{}", html(&shown));
    assert!(html(&shown).contains(&format!("of Ada (<span class=\"id\">{lab}</span>)")), "on paper: {}", html(&shown));
    let csv = page(&world, "/sessions?format=csv&text=OSPF%3C/B").await;
    assert!(csv.body.as_str().unwrap().contains(&format!(",{lab},<b>OSPF</b> of Ada,")), "{}", csv.body);
    let found = world.get("/api/search?text=of+ada").await.expect(200);
    assert_eq!(found.body["containing"][0]["lab_title"], "<b>OSPF</b> of Ada");
    let found = page(&world, "/search?text=of+ada").await;
    assert!(html(&found).contains("&#60;b&#62;OSPF&#60;/b&#62; of Ada</td>"), "{}", html(&found));
}

#[tokio::test]
async fn what_others_wrote_is_shown_as_text() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let mut seen = observation(1, &json!({}));
    seen["observed_resources"]["nodes"][0]["label"] = "<img src=x onerror=alert(1)>".into();
    seen["observed_resources"]["observer"] = "\"><script>alert(2)</script>".into();
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    world.post(path, &seen).await.expect(200);
    let answer = page(&world, "/sessions/s1").await;
    let shown = html(&answer);
    assert!(!shown.contains("<img src=x") && !shown.contains("<script>alert"), "{shown}");
    assert!(shown.contains("onerror=alert(1)"));
}

#[tokio::test]
async fn a_large_lab_makes_no_large_page() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let path = "/api/internal/lablet-sessions/s1/resource-observations";
    world.post(path, &observation(302, &json!({}))).await.expect(200);
    let answer = page(&world, "/sessions/s1").await;
    assert!(html(&answer).len() < LIGHT, "{}", html(&answer).len());
    assert!(html(&answer).contains("302 nodes in the newest observation"));
    let (_, rest) = html(&answer).split_once(r#"aria-label="More nodes"><a class="button" href=""#).unwrap();
    let next = rest.split_once('"').unwrap().0.replace("&#38;", "&");
    let second = page(&world, next.split_once('#').unwrap().0).await;
    assert!(html(&second).contains(">R25<"));
}

#[tokio::test]
async fn an_observation_is_asked_for_once_however_often_the_button_is_pressed() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let fields = [("csrf_token", ""), ("idempotency_key", "press-1"), ("form_page", "/sessions/s1")];
    let mut places = Vec::new();
    for _ in 0..2 {
        let answer = form(&world, OPERATOR, "/sessions/s1/observe", &fields).await.expect(303);
        places.push(answer.header("location").to_owned());
    }
    assert_eq!(places[0], places[1]);
    let shown = page(&world, places[0].split_once('#').unwrap().0).await;
    let shown = html(&shown);
    assert_eq!(shown.matches("waiting for a controller").count(), 1);
    assert!(shown.contains("yours") && shown.contains("admin:oli"), "{shown}");
}

#[tokio::test]
async fn who_may_not_observe_sees_why_and_is_refused() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let shown = page(&world, "/sessions/s1").await;
    assert!(html(&shown).contains("This needs the role operator; you are signed in as viewer."));
    assert!(html(&shown).contains("disabled aria-describedby=\"observe-why\""));
    let refused = form(&world, VIEWER, "/sessions/s1/observe", &[("idempotency_key", "k")]).await.expect(403);
    assert!(html(&refused).contains("the role operator"));
    world.session("s2", "collecting").await;
    world.settle().await;
    let over = world.send(world.request(Method::GET, "/sessions/s2").bearer_auth(OPERATOR)).await.expect(200);
    assert!(html(&over).contains("Only a running session can be observed; this one is collecting."));
}

#[tokio::test]
async fn what_is_not_there_is_a_page_with_a_search() {
    let world = World::start().await;
    let absent = world.get("/sessions/nobody").await.expect(404);
    assert!(html(&absent).contains("There is no session") && html(&absent).contains(r#"role="search""#));
}
