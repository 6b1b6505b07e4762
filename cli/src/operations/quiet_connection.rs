//! A connection whose statements are not logged: one of them holds a password.

use anyhow::Context as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::secret::Secret;

/// Connects. A statement that is slow would be logged, too.
pub(super) async fn connect(url: &Secret) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions =
        url.reveal().parse().map_err(|_| anyhow::anyhow!("the database's address is no URL"))?;
    options
        .application_name("lablet")
        .disable_statement_logging()
        .connect()
        .await
        .context("the database does not answer")
}
