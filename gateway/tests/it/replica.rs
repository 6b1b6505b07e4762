//! Lists, searches and files are read from a streaming replica while it is there and near, and from the primary else.

use std::time::Duration;

use serde_json::json;
use servers::testing::{ReplicatedPostgres, replicated_postgres};
use sqlx::{Connection as _, PgConnection};

use crate::world::{Answer, Surroundings, World, definition, until};

/// A Postgres with its replica, and the replica's address.
struct Servers {
    postgres: ReplicatedPostgres,
    replica_url: String,
}

async fn start() -> (Servers, World) {
    let postgres = replicated_postgres().await;
    let url = postgres.url("postgres");
    let pool = app::log::pool(&url, 1).unwrap();
    app::log::MIGRATOR.run(&pool).await.unwrap();
    pool.close().await;
    let port = |port: u16| format!(":{port}/");
    let replica_url = url.replace(&port(postgres.primary_port()), &port(postgres.replica_port()));
    let replica = Some((replica_url.clone(), Duration::from_secs(5)));
    let world = World::start_over(&url, Surroundings { replica, ..Surroundings::default() }).await;
    (Servers { postgres, replica_url }, world)
}

impl Servers {
    /// Sends the replica a statement.
    async fn tell_replica(&self, statement: &'static str) {
        let mut connection = PgConnection::connect(&self.replica_url).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }

    async fn replay_is(&self, state: &str) {
        let mut connection = PgConnection::connect(&self.replica_url).await.unwrap();
        loop {
            let now: String =
                sqlx::query_scalar("SELECT pg_get_wal_replay_pause_state()").fetch_one(&mut connection).await.unwrap();
            if now == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The answer, once it is read from there.
async fn read_from(world: &World, path: &str, source: &str) -> Answer {
    until(path, async || {
        let answer = world.get(path).await.expect(200);
        let from = answer.header("lablet-read-from");
        if from.starts_with(source) { Ok(answer) } else { Err(format!("it is read from {from:?}")) }
    })
    .await
}

async fn create(world: &World, id: &str) -> String {
    let created = world.post("/api/lablet-definitions", &definition(id)).await.expect(201);
    created.header("lablet-position").to_owned()
}

#[tokio::test]
async fn lists_are_read_from_the_replica_while_it_is_near_and_a_write_is_seen_at_once_in_any_case() {
    let (servers, world) = start().await;
    create(&world, "ospf").await;
    for path in ["/api/lablet-definitions", "/api/search?text=ospf", "/api/lablet-sessions", "/api/proposals"] {
        read_from(&world, path, "replica; lag=").await;
    }
    let page = read_from(&world, "/definitions", "replica; lag=").await;
    assert!(page.body.to_string().contains("Read from the replica, "), "{}", page.body);
    read_from(&world, "/definitions?format=csv", "replica; lag=").await;
    let single = world.get_in_time("/api/lablet-definitions/ospf").await;
    assert_eq!(single.header("lablet-read-from"), "", "a single thing is the primary's");

    // It stands still: whoever names what was written is answered by the primary.
    servers.tell_replica("SELECT pg_wal_replay_pause()").await;
    servers.replay_is("paused").await;
    let position = create(&world, "bgp").await;
    let answer = world.get_in_time(&format!("/api/lablet-definitions?position={position}")).await;
    assert_eq!(answer.header("lablet-read-from"), "primary");
    assert!(answer.body.to_string().contains("\"bgp\""), "{}", answer.body);
    // Once it is too far behind nobody reads it, and that is said.
    read_from(&world, "/api/lablet-definitions", "primary").await;
    let state = world.get("/api/operations").await.expect(200).body["replica"].clone();
    assert_eq!(state["is_read"], json!(false));
    assert!(state["not_read_because"].as_str().unwrap().ends_with("s behind, at most 5"), "{state}");
    assert!(world.get("/operations").await.expect(200).body.to_string().contains("not read: it is "));

    servers.tell_replica("SELECT pg_wal_replay_resume()").await;
    let path = format!("/api/lablet-definitions?position={position}");
    let caught_up = read_from(&world, &path, "replica; lag=").await;
    assert!(caught_up.body.to_string().contains("\"bgp\""), "{}", caught_up.body);
}

#[tokio::test]
async fn a_replica_that_was_promoted_is_not_read_and_costs_no_answer() {
    let (servers, world) = start().await;
    create(&world, "ospf").await;
    read_from(&world, "/api/lablet-definitions", "replica; lag=").await;
    servers.postgres.cut_replication().await;
    servers.tell_replica("SELECT pg_promote(true, 60)").await;
    read_from(&world, "/api/lablet-definitions", "primary").await;
    until("its reason", async || {
        let state = world.get("/api/operations").await.expect(200).body["replica"].clone();
        let promoted = state["not_read_because"] == "it replays nothing: it is a primary itself";
        if promoted { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
}
