//! Nobody stops the others: positions that do not exist, waits, requests and streams.

use futures_util::future::join_all;
use gateway::{GatewayOptions, Room};
use reqwest::Method;
use tokio::time::Duration;

use crate::world::{ADMIN, KEY, OPERATOR, VIEWER, World, definition, until, worker};

/// A position that the log has not come to.
const NOWHERE: &str = "0000000001-09999999999999999999-0000000000000000001";

#[tokio::test]
async fn a_position_that_the_log_has_not_come_to_is_refused_wherever_it_is_named() {
    let world = World::start().await;
    world.session("s1", "running").await;
    for (path, field) in [
        ("/api/workers?position=", "position"),
        ("/api/lablet-sessions/s1?position=", "position"),
        ("/api/overview?position=", "position"),
        ("/api/stream?after=", "after"),
    ] {
        for position in [NOWHERE, "0000000009-00000000000000000001-0000000000000000001"] {
            world.get(&format!("{path}{position}")).await.problem(400, "invalid-input", Some(field));
        }
    }
    for (path, header) in [("/api/workers", "Lablet-Position"), ("/api/stream", "Last-Event-ID")] {
        let request = world.request(Method::GET, path).bearer_auth(VIEWER).header(header, NOWHERE);
        world.send(request).await.problem(400, "invalid-input", Some(header));
    }
    let page =
        world.send(world.request(Method::GET, &format!("/workers?position={NOWHERE}")).bearer_auth(VIEWER)).await;
    assert_eq!(page.status, 400);
}

#[tokio::test]
async fn the_position_of_an_own_write_is_good_whether_readers_see_it_or_not() {
    let world =
        World::start_with(GatewayOptions { longest_wait: Duration::from_millis(300), ..GatewayOptions::default() });
    let world = world.await;
    let mut stranger = app::log::begin(&world.owner()).await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()::text").execute(&mut *stranger).await.unwrap();
    let written = world.post("/api/workers", &worker("w1")).await.expect(201);
    let path = format!("/api/workers?position={}", written.body["position"].as_str().unwrap());
    world.get(&path).await.problem(503, "read-model-behind", None);
    stranger.rollback().await.unwrap();
    assert_eq!(world.get_in_time(&path).await.body["items"][0]["id"], "w1");
}

#[tokio::test]
async fn a_position_that_was_lost_with_a_restored_dump_is_neither_refused_nor_waited_for() {
    let world = World::start().await;
    world.post("/api/workers", &worker("w1")).await.expect(201);
    world.settle().await;
    app::log::begin_epoch(&world.owner(), None).await.unwrap();
    world.get(&format!("/api/workers?position={NOWHERE}")).await.expect(200);
    world.post("/api/workers", &worker("w2")).await.expect(201);
    world.settle().await;
    let following = world.get(&format!("/api/events?after={NOWHERE}")).await.expect(200).body;
    let followed: Vec<&str> =
        following.as_array().unwrap().iter().map(|event| event["subject"].as_str().unwrap()).collect();
    assert_eq!(followed, ["w2"], "whoever was told of it goes on with what came after");
}

#[tokio::test]
async fn who_waits_keeps_nobody_from_working() {
    let requests = Room { all: 8, person: 3, service: 4, reserved: 2 };
    let waits = Room { all: 16, person: 8, service: 8, reserved: 4 };
    let long = Duration::from_secs(60);
    let options =
        GatewayOptions { longest_wait: long, longest_request: 2 * long, requests, waits, ..GatewayOptions::default() };
    let mut world = World::start_with(options).await;
    world.settle().await;
    world.stand_still().await;
    let written = world.post("/api/workers", &worker("w1")).await.expect(201);
    let path = format!("/api/workers?position={}", written.body["position"].as_str().unwrap());
    // Many times as many as are worked on at once, all with one token.
    let waiting: Vec<_> =
        (0..140).map(|_| tokio::spawn(world.request(Method::GET, &path).bearer_auth(VIEWER).send())).collect();
    for number in 0..20 {
        world.post("/api/lablet-definitions", &definition(&format!("d{number}"))).await.expect(201);
        let other = world.request(Method::GET, "/api/overview").bearer_auth(ADMIN);
        world.send(other).await.expect(200);
    }
    // Those who wait are answered once the read models move; the others were told to come back.
    world.project();
    let mut statuses = Vec::new();
    for waited in join_all(waiting).await {
        statuses.push(waited.unwrap().unwrap().status().as_u16());
    }
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_principal_has_so_many_streams_and_leaves_the_others_theirs() {
    let streams = Room { all: 6, person: 2, service: 3, reserved: 2 };
    let world = World::start_with(GatewayOptions { streams, ..GatewayOptions::default() }).await;
    let open = async |token: &str| {
        let response = world.request(Method::GET, "/api/stream").bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response
    };
    let refused = async |token: &str| world.send(world.request(Method::GET, "/api/stream").bearer_auth(token)).await;
    let held = [open(VIEWER).await, open(VIEWER).await];
    let answer = refused(VIEWER).await.problem(429, "too-many-at-once", None);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.body["detail"], "admin:vic may have 2 open streams at once, and has them.");
    let others = [open(OPERATOR).await, open(OPERATOR).await];
    let answer = refused(ADMIN).await.problem(503, "unavailable", None);
    assert_eq!(answer.body["detail"], "There is room for 4 open streams of people at once, and they are taken.");
    let service = world.request(Method::GET, "/api/stream").header("x-api-key", KEY).send().await.unwrap();
    assert_eq!(service.status(), 200, "people leave room to services");
    // A stream that is closed makes room.
    drop(held);
    until("room for a stream", async || {
        let again = world.request(Method::GET, "/api/stream").bearer_auth(VIEWER).send().await.unwrap();
        if again.status() == 200 { Ok(()) } else { Err(again.status().to_string()) }
    })
    .await;
    drop((others, service));
}
