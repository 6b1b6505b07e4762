//! The overview and the search over HTTP.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn everything_is_counted_and_found() {
    let world = World::start().await;
    world.session("s1", "running").await;
    world.get_in_time("/api/lablet-sessions/s1").await;
    let newest = world.get("/api/lablet-sessions/s1/events?order=newest&data=false&limit=1").await.expect(200);
    let position = newest.body["items"][0]["position"].as_str().unwrap();
    let overview = world.get(&format!("/api/overview?position={position}")).await.expect(200);
    let running = json!({"status": "running", "sessions": 1, "drifted": 0, "drift_acknowledged": 0, "drifted_since": null,
               "drift_unknown": 1});
    assert_eq!(overview.body["sessions"], json!([running]));
    let none = json!({"open": 0, "oldest_open_at": null, "failed_last_24_hours": 0});
    assert_eq!(overview.body["requests"], none);
    assert_eq!(overview.body["read_models"].as_array().unwrap().len(), 7);

    let found = world.get("/api/search?text=s1").await.expect(200);
    let exact = json!([{"kind": "session", "id": "s1", "title": "Routing basics", "detail": "running"}]);
    assert_eq!(found.body, json!({"exact": exact, "containing": [], "more": []}));
    let event = newest.body["items"][0]["event_id"].as_str().unwrap();
    let found = world.get(&format!("/api/search?text={event}")).await.expect(200);
    assert_eq!(found.body["exact"][0]["title"], "lablet_session.running.v1");
    for (query, field) in [("", "text"), ("text=%20", "text"), ("text=s1&limit=51", "limit")] {
        world.get(&format!("/api/search?{query}")).await.problem(400, "invalid-input", Some(field));
    }
}
