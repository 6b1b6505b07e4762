//! A connection that one user has to itself.

use std::ops::{Deref, DerefMut};

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

/// A connection for whoever sends one statement after another, whatever others do with theirs. A pool asks a connection
/// whether it lives before each use and after, which are two round trips; here the use that meets a dead one fails, and
/// the next opens another.
#[derive(Debug)]
pub struct DedicatedConnection {
    options: PgConnectOptions,
    settings: &'static str,
    idle: Option<PgConnection>,
}

impl DedicatedConnection {
    /// A connection that is opened when it is first used, and begins with these `SET` statements.
    pub fn new(options: PgConnectOptions, settings: &'static str) -> Self {
        Self { options, settings, idle: None }
    }

    /// The connection, for one use.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn acquire(&mut self) -> sqlx::Result<ConnectionGuard<'_>> {
        let (connection, is_new) = match self.idle.take() {
            Some(idle) => (idle, false),
            None => {
                let mut opened = self.options.connect().await?;
                sqlx::raw_sql(self.settings).execute(&mut opened).await?;
                (opened, true)
            }
        };
        Ok(ConnectionGuard { idle: &mut self.idle, connection, is_new })
    }
}

/// A connection in use. It is closed when the guard is dropped, unless it is [released](Self::release): one that failed,
/// or whose statement was given up half-way, would answer its next user with what belongs to this one.
#[derive(Debug)]
pub struct ConnectionGuard<'a> {
    idle: &'a mut Option<PgConnection>,
    connection: PgConnection,
    is_new: bool,
}

impl ConnectionGuard<'_> {
    /// Whether it was opened for this use: it may lead to another server than the one before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Keeps the connection for the next use. To be called where every statement was answered.
    pub fn release(self) {
        *self.idle = Some(self.connection);
    }
}

impl Deref for ConnectionGuard<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for ConnectionGuard<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPool;

    use super::*;

    async fn backend(connection: &mut PgConnection) -> i32 {
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_is_used_again_where_it_was_released_and_never_where_it_was_dropped() {
        let database = servers::testing::database(&crate::log::MIGRATOR).await;
        let pool = PgPool::connect(database.url()).await.unwrap();
        let options = pool.connect_options().as_ref().clone();
        let mut dedicated = DedicatedConnection::new(options, "SET lock_timeout = '7s'; SET enable_seqscan = off");

        let mut first = dedicated.acquire().await.unwrap();
        let pid = backend(&mut first).await;
        first.release();
        let mut second = dedicated.acquire().await.unwrap();
        assert_eq!(backend(&mut second).await, pid);
        drop(second);
        let mut third = dedicated.acquire().await.unwrap();
        assert_ne!(backend(&mut third).await, pid);
        let settings: (String, String) =
            sqlx::query_as("SELECT current_setting('lock_timeout'), current_setting('enable_seqscan')")
                .fetch_one(&mut *third)
                .await
                .unwrap();
        assert_eq!(settings, ("7s".to_owned(), "off".to_owned()));
    }
}
