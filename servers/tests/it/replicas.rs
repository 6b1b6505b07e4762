//! What several servers keep when one of them is lost.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use servers::testing::{nats_cluster, replicated_postgres};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// How long a state of the servers is waited for.
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_stream_with_three_copies_goes_on_without_its_leader() {
    let mut cluster = nats_cluster().await;
    let context = jetstream::new(cluster.connect().await);
    let config =
        Config { name: "KEPT".to_owned(), subjects: vec!["kept".to_owned()], num_replicas: 3, ..Config::default() };
    context.create_stream(config).await.unwrap();
    context.publish("kept", "first".into()).await.unwrap().await.unwrap();
    let leader = cluster.leader("KEPT").await.unwrap();
    cluster.kill(&leader).await;

    let next = tokio::time::timeout(WITHIN, async {
        loop {
            if let Some(next) = cluster.leader("KEPT").await.filter(|next| *next != leader) {
                return next;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_ne!(next.await.unwrap(), leader);
    let context = jetstream::new(cluster.connect().await);
    let acknowledged = context.publish("kept", "second".into()).await.unwrap().await.unwrap();
    assert_eq!(acknowledged.sequence, 2, "the first is there");
    cluster.start_again(&leader).await;
}

async fn write(url: &str, number: i32) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute("create table if not exists kept (number int)").await.unwrap();
    sqlx::query("insert into kept values ($1)").bind(number).execute(&mut connection).await.unwrap();
}

async fn read(url: &str) -> Vec<i32> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select number from kept order by number").fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_replica_has_what_was_committed_synchronously_and_lacks_what_did_not_reach_it() {
    let mut servers = replicated_postgres().await;
    let url = servers.url("postgres");
    servers.set_synchronous(true).await;
    write(&url, 1).await;
    servers.set_synchronous(false).await;
    servers.cut_replication().await;
    write(&url, 2).await;
    assert_eq!(read(&url).await, [1, 2]);
    servers.fail_over().await;
    let after = servers.url("postgres");
    assert_eq!(read(&after).await, [1]);
    write(&after, 3).await;
    assert_eq!(read(&after).await, [1, 3]);
}
