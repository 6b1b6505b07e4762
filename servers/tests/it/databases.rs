//! What every other test relies on.

use servers::testing;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection};

fn migrator() -> Migrator {
    let sql = "create table things (number bigint primary key);
               do $$ begin create role servers_test_reader; exception when duplicate_object or unique_violation then null; end $$;
               grant select on things to servers_test_reader;";
    Migrator::with_migrations(vec![Migration::new(
        1,
        "things".into(),
        MigrationType::Simple,
        sqlx::SqlStr::from_static(sql),
        false,
    )])
}

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let migrator = migrator();
    let (one, other) = tokio::join!(testing::database(&migrator), testing::database(&migrator));
    sqlx::query("insert into things values (1)").execute(&one.pool()).await.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from things").fetch_one(&other.pool()).await.unwrap();
    assert_eq!(count, 0);

    let mut reader = PgConnection::connect(&one.url_as("servers_test_reader")).await.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from things").fetch_one(&mut reader).await.unwrap();
    assert_eq!(count, 1);
    let refused = sqlx::query("delete from things").execute(&mut reader).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501", "{refused}");

    let url = one.url().to_owned();
    one.finish().await;
    let gone = PgConnection::connect(&url).await.unwrap_err();
    assert_eq!(gone.as_database_error().unwrap().code().unwrap(), "3D000");
}

/// Transactions are numbered and ordered over the whole cluster: that is why `settle` is there.
#[tokio::test]
async fn settling_waits_for_a_transaction_of_another_database() {
    let migrator = migrator();
    let (mine, other) = tokio::join!(testing::database(&migrator), testing::database(&migrator));
    #[expect(clippy::disallowed_methods, reason = "nobody drops it while it begins")]
    let mut open = other.pool().begin().await.unwrap();
    sqlx::query("insert into things values (1)").execute(&mut *open).await.unwrap();
    let settled = tokio::time::timeout(std::time::Duration::from_millis(200), mine.settle()).await;
    assert!(settled.is_err(), "the other transaction is still open");
    open.commit().await.unwrap();
    mine.settle().await;
}

#[tokio::test]
async fn each_test_has_a_nats_account_of_its_own() {
    let (one, other) = tokio::join!(testing::nats(), testing::nats());
    assert_ne!(one.url(), other.url());
    let here = one.connect().await;
    let there = other.connect().await;
    let stream = async_nats::jetstream::stream::Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["events.>".to_owned()],
        ..Default::default()
    };
    async_nats::jetstream::new(here).create_stream(stream).await.unwrap();
    let absent = async_nats::jetstream::new(there).get_stream("EVENTS").await;
    assert!(absent.is_err(), "the other account sees the stream");
}

#[tokio::test]
async fn a_private_nats_server_loses_everything_and_comes_back_at_the_same_address() {
    let mut nats = testing::private_nats().await;
    let url = nats.url().to_owned();
    let context = async_nats::jetstream::new(nats.connect().await);
    context
        .create_stream(async_nats::jetstream::stream::Config {
            name: "EVENTS".to_owned(),
            subjects: vec!["events.>".to_owned()],
            ..Default::default()
        })
        .await
        .unwrap();

    nats.kill_now().await;
    nats.start_again().await;
    let context = async_nats::jetstream::new(nats.connect().await);
    context.get_stream("EVENTS").await.unwrap();

    nats.lose_everything().await;
    assert_eq!(nats.url(), url);
    let context = async_nats::jetstream::new(nats.connect().await);
    assert!(context.get_stream("EVENTS").await.is_err());
}
