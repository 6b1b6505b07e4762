//! What the pool's connections answer, whatever became of the question before.

use std::time::Duration;

use app::log::MIGRATOR;
use futures_util::StreamExt as _;

#[tokio::test]
async fn a_statement_that_was_dropped_halfway_answers_nobody_else() {
    let database = servers::testing::database(&MIGRATOR).await;
    let pool = app::log::pool(&database.url_as("lablet_app"), 1).unwrap();
    for asked in 0..20_i32 {
        match asked % 3 {
            // Given up while Postgres works on it.
            0 => {
                let slow = sqlx::query("SELECT pg_sleep(0.02), -1").execute(&pool);
                drop(tokio::time::timeout(Duration::from_millis(1), slow).await);
            }
            // Given up between its rows.
            1 => {
                let mut rows = sqlx::query_scalar::<_, i32>("SELECT -n FROM generate_series(1, 50000) n").fetch(&pool);
                assert_eq!(rows.next().await.unwrap().unwrap(), -1);
            }
            // Refused.
            _ => assert!(sqlx::query("SELECT 1 / 0").execute(&pool).await.is_err()),
        }
        let answer: i32 = sqlx::query_scalar("SELECT $1::integer").bind(asked).fetch_one(&pool).await.unwrap();
        assert_eq!(answer, asked);
    }
    pool.close().await;
}
