//! Notices read from the log: as a batch that fills a hole, and the data that was too large for one.

use serde_json::{Value, json};

use crate::world::{World, observation};

const BEYOND: &str = "0000000001-00000000000999999999-0000000000999999999";

/// All notices by pages of so many, each page following the link of the one before.
async fn all(world: &World, limit: usize) -> Vec<Value> {
    // Transactions of other tests hide events from readers for a moment.
    world.settle().await;
    let (mut found, mut query) = (Vec::new(), format!("?limit={limit}"));
    loop {
        let answer = world.get(&format!("/api/events{query}")).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/cloudevents-batch+json");
        let notices = answer.body.as_array().unwrap().clone();
        assert!(notices.len() <= limit);
        found.extend(notices);
        let Some(link) = answer.headers.get("link") else { return found };
        let link = link.to_str().unwrap().strip_prefix('<').unwrap();
        query = link.split_once('>').unwrap().0.to_owned();
    }
}

#[tokio::test]
async fn notices_come_in_the_order_of_the_log_by_pages_of_any_size_each_chained_to_the_one_before() {
    let world = World::start().await;
    assert_eq!(world.get("/api/events").await.expect(200).body, json!([]));
    world.session("s1", "running").await;
    let notices = all(&world, 200).await;
    assert_eq!(notices.len(), 7, "a definition, a worker, and five steps of a session");
    assert_eq!(notices[0]["type"], "io.lablet.lablet_definition.created.v1");
    for pair in notices.windows(2) {
        assert_eq!(pair[0]["position"], pair[1]["previousposition"]);
    }
    for limit in [1, 2, 7] {
        assert_eq!(all(&world, limit).await, notices, "by pages of {limit}");
    }
}

#[tokio::test]
async fn a_hole_is_what_lies_after_the_last_notice_and_before_the_next() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let notices = all(&world, 200).await;
    let (last, next) = (notices[1]["position"].as_str().unwrap(), notices[5]["position"].as_str().unwrap());
    let hole = world.get(&format!("/api/events?after={last}&before={next}")).await.expect(200);
    assert_eq!(hole.body.as_array().unwrap(), &notices[2..5]);
    assert!(!hole.headers.contains_key("link"), "that is all of it");
    let none = world.get(&format!("/api/events?after={last}&before={last}")).await.expect(200);
    assert_eq!(none.body, json!([]));
    let part = world.get(&format!("/api/events?after={last}&before={next}&limit=2")).await.expect(200);
    assert_eq!(part.body.as_array().unwrap(), &notices[2..4]);
    let middle = notices[3]["position"].as_str().unwrap();
    assert_eq!(part.header("link"), format!("<?after={middle}&before={next}&limit=2>; rel=\"next\""));
}

#[tokio::test]
async fn a_position_that_the_log_has_not_come_to_is_refused() {
    let world = World::start().await;
    world.session("s1", "pending").await;
    for field in ["after", "before"] {
        world.get(&format!("/api/events?{field}={BEYOND}")).await.problem(400, "invalid-input", Some(field));
        world.get(&format!("/api/events?{field}=7")).await.problem(400, "invalid-input", Some(field));
    }
    let notices = all(&world, 200).await;
    let (first, second) = (notices[0]["position"].as_str().unwrap(), notices[1]["position"].as_str().unwrap());
    let path = format!("/api/events?after={second}&before={first}");
    world.get(&path).await.problem(400, "invalid-input", Some("before"));
    world.get("/api/events?limit=0").await.problem(400, "invalid-input", Some("limit"));
}

#[tokio::test]
async fn what_a_large_notice_refers_to_is_the_data_that_it_leaves_out() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let seen = observation(600, &json!({"PC_serial": 5041, "PC_vnc": 5042}));
    world.post("/api/internal/lablet-sessions/s1/resource-observations", &seen).await.expect(200);
    let notices = all(&world, 200).await;
    let notice = notices.last().unwrap();
    assert_eq!(notice["type"], "io.lablet.lablet_session.resources_observed.v1");
    assert_eq!(notice.get("data"), None);
    let (_, path) = notice["dataref"].as_str().unwrap().split_once("/api/").unwrap();
    let data = world.get(&format!("/api/{path}")).await.expect(200);
    assert_eq!(data.header("content-type"), "application/json");
    assert_eq!(data.body["observed_resources"]["nodes"].as_array().unwrap().len(), 600);
    assert_eq!(data.body["observed_ports"], seen["observed_ports"]);

    for notice in &notices[..notices.len() - 1] {
        let path = format!("/api/events/{}/data", notice["id"].as_str().unwrap());
        assert_eq!(world.get(&path).await.expect(200).body, notice["data"], "the same, where it is in the notice too");
    }
    let absent = "/api/events/019b2c1e-5f7a-7c3e-9d4b-000000000000/data";
    world.get(absent).await.problem(404, "not-found", None);
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes() {
    let world = World::start().await;
    world.session("s1", "running").await;
    for hour in 0..24 {
        let mut seen = observation(60, &json!({"PC_serial": 5041, "PC_vnc": 5042}));
        seen["observed_resources"]["observed_at"] = format!("2026-03-01T{hour:02}:00:00Z").into();
        world.post("/api/internal/lablet-sessions/s1/resource-observations", &seen).await.expect(200);
    }
    world.settle().await;
    let first = world.get("/api/events?limit=200").await.expect(200);
    assert!(first.headers.contains_key("link"), "the batch ended before all were in it");
    assert!(first.body.to_string().len() < 512 * 1024);
    let notices = first.body.as_array().unwrap();
    assert!(notices.iter().all(|notice| notice["data"].is_object()), "each fits a message");
    assert_eq!(all(&world, 200).await.len(), 7 + 24);
}
