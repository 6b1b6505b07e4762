//! Beginning transactions safely.

use sqlx::postgres::PgPool;
use sqlx::{Postgres, Transaction};

/// Begins a transaction. Whoever drops this future leaves no open transaction behind.
///
/// sqlx's own `begin`, dropped while Postgres answers, gives the connection back to the pool with the transaction open
/// and unknown to sqlx. What the next user of the connection writes is then acknowledged and never committed. Here a
/// task of its own sees the beginning through; where nobody waits for it any more, the transaction is rolled back.
///
/// # Errors
/// The database does not answer.
pub async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "this is the one place that sees it through")]
    let beginning = tokio::spawn(async move { pool.begin().await });
    beginning.await.map_err(|_| sqlx::Error::WorkerCrashed)?
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::Poll;

    use sqlx::postgres::PgPoolOptions;

    use super::*;

    #[tokio::test]
    async fn what_follows_a_beginning_that_was_dropped_is_committed() {
        let database = servers::testing::database(&crate::log::MIGRATOR).await;
        let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
        sqlx::query("CREATE TABLE written (n integer)").execute(&pool).await.unwrap();
        for most in 1..12 {
            {
                let mut beginning = pin!(begin(&pool));
                let mut polls = 0;
                std::future::poll_fn(|context| {
                    polls += 1;
                    match beginning.as_mut().poll(context) {
                        Poll::Pending if polls < most => Poll::Pending,
                        Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
                    }
                })
                .await;
            }
            sqlx::query("INSERT INTO written VALUES (1)").execute(&pool).await.unwrap();
            let written: i64 =
                sqlx::query_scalar("SELECT count(*) FROM written").fetch_one(&database.pool()).await.unwrap();
            assert_eq!(written, most, "what was acknowledged is there for others");
        }
    }
}
