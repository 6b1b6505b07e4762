//! `hold-servers FOLDER`: runs a private Postgres and nats-server in a folder until its standard input closes,
//! and says in one line of JSON where they are: to look at a data folder by hand, and for the tests that kill
//! the parent of a pair.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use servers::{NatsAccounts, NatsOptions, NatsServer, PostgresOptions, PostgresServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        bail!("usage: hold-servers FOLDER");
    };
    let postgres = PostgresServer::start(PostgresOptions {
        data_dir: folder.join("postgres"),
        port: None,
        fsync: true,
        settings: Vec::new(),
    })
    .await?;
    let nats =
        NatsServer::start(NatsOptions { data_dir: folder.join("nats"), port: None, accounts: NatsAccounts::One })
            .await?;
    let line = serde_json::json!({
        "database_url": postgres.url("postgres"),
        "postgres_pid": postgres.id(),
        "nats_url": nats.url(),
        "nats_pid": nats.id(),
    });
    let mut output = std::io::stdout();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("say where the servers are")?;
    // Nothing else runs in this process meanwhile.
    let mut ignored = Vec::new();
    std::io::stdin().read_to_end(&mut ignored).context("wait for the end of the standard input")?;
    nats.stop().await?;
    postgres.stop().await?;
    Ok(())
}
