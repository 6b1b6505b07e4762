//! `lablet analyst`: logins that read the schema `analytics_v1`, with limits and a password that is kept. As the owner of
//! the database.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use sqlx::{AssertSqlSafe, Connection as _};
use url::Url;

use super::cell_views::{self, JoinCellsArguments};
use super::quiet_connection::connect;
use crate::configuration::{DatabaseArguments, secrets};
use crate::secret::Secret;
use crate::terminal::say;

/// The role of all analysts, which may be a login itself.
pub(crate) const ANALYST: &str = "lablet_analyst";

#[derive(Debug, Subcommand)]
pub(crate) enum AnalystCommand {
    /// Make a login. Its address, with the password, is printed to standard output, once.
    Create(LoginArguments),
    /// Give a login a new password. Its address is printed to standard output, once.
    Password(LoginArguments),
    /// Make views over the analytics_v1 of all cells, in a database of the console's own.
    JoinCells(JoinCellsArguments),
    /// List the logins: how many connections each may have, and whether its password is kept.
    List {
        #[command(flatten)]
        database: DatabaseArguments,
    },
}

/// Which login.
#[derive(Debug, Args)]
pub(crate) struct LoginArguments {
    /// Its name: lower-case letters, digits and underscores.
    #[arg(value_parser = login)]
    name: String,
    #[command(flatten)]
    database: DatabaseArguments,
}

fn login(text: &str) -> Result<String, String> {
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    if begins && text.len() <= 63 && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
        return Ok(text.to_owned());
    }
    Err("it has to be a lower-case letter and up to 62 lower-case letters, digits and underscores".to_owned())
}

/// Carries the command out.
pub(super) async fn run(command: AnalystCommand) -> anyhow::Result<()> {
    match command {
        AnalystCommand::Create(LoginArguments { name, database }) => {
            let url = database.url()?;
            let mut owner = connect(&url).await?;
            let statement = format!("CREATE ROLE {name} NOLOGIN IN ROLE {ANALYST}");
            let made = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut owner).await;
            made.with_context(|| format!("the role {name} cannot be made; that needs the owner of the database"))?;
            owner.close().await?;
            give_a_new_password(&url, &name).await
        }
        AnalystCommand::Password(LoginArguments { name, database }) => {
            give_a_new_password(&database.url()?, &name).await
        }
        AnalystCommand::JoinCells(arguments) => cell_views::run(arguments, ANALYST).await,
        AnalystCommand::List { database } => {
            let mut owner = connect(&database.url()?).await?;
            let logins = sqlx::query!(
                r#"SELECT rolname::text AS "name!", rolconnlimit AS "connections!",
                          EXISTS (SELECT FROM analyst_passwords WHERE role_name = rolname) AS "is_kept!"
                   FROM pg_roles WHERE rolcanlogin AND is_analyst(oid) ORDER BY rolname"#
            )
            .fetch_all(&mut owner)
            .await
            .context("the logins cannot be listed; that needs the owner of the database")?;
            for login in logins {
                let name = login.name;
                let connections =
                    u32::try_from(login.connections).map_or("any number of".to_owned(), |most| most.to_string());
                let password = if login.is_kept { "its password is kept" } else { "its password is its own" };
                say(&format!("{name}: {connections} connections, {password}"))?;
            }
            owner.close().await?;
            Ok(())
        }
    }
}

async fn give_a_new_password(url: &Secret, name: &str) -> anyhow::Result<()> {
    let password = Secret::generate("")?;
    give_password(url, name, &password).await?;
    say(address(url, name, &password)?.reveal())
}

/// The address of the database for this login.
pub(crate) fn address(url: &Secret, login: &str, password: &Secret) -> anyhow::Result<Secret> {
    let mut url = Url::parse(url.reveal()).map_err(|_| anyhow::anyhow!("the database's address is no URL"))?;
    let unchangeable = |()| anyhow::anyhow!("the database's address has no place for a user");
    // The scheme that every library knows; some know the short one no more.
    url.set_scheme("postgresql").map_err(unchangeable)?;
    url.set_username(login).map_err(unchangeable)?;
    url.set_password(Some(password.reveal())).map_err(unchangeable)?;
    url.as_str().parse().map_err(anyhow::Error::msg)
}

/// Lets a role of analysts sign in with this password, gives it its limits, and keeps the password from being changed by
/// those who know it.
pub(crate) async fn give_password(url: &Secret, login: &str, password: &Secret) -> anyhow::Result<()> {
    let mut owner = connect(url).await?;
    let is_analyst =
        sqlx::query_scalar!(r#"SELECT is_analyst(oid) AS "is_analyst!" FROM pg_roles WHERE rolname = $1::text"#, login)
            .fetch_optional(&mut owner)
            .await
            .context("the role cannot be looked up; that needs the owner of the database")?;
    if is_analyst != Some(true) {
        bail!("there is no role {login} that is a member of {ANALYST}, and neither a superuser nor Lablet's own");
    }
    let statement = sqlx::query_scalar!(
        r#"SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text) AS "statement!""#,
        login,
        password.reveal()
    )
    .fetch_one(&mut owner)
    .await?;
    let altered = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut owner).await;
    altered.with_context(|| format!("the role {login} cannot be given a password"))?;
    owner.close().await?;
    hold_to_limits(url, login).await
}

/// Gives analysts' logins their limits, and keeps the password that this one has now.
pub(crate) async fn hold_to_limits(url: &Secret, login: &str) -> anyhow::Result<()> {
    apply_limits(url).await?;
    let pool = app::log::pool(url.reveal(), 1)?;
    if !app::watcher::keep_analyst_password(&pool, login).await? {
        tracing::warn!(
            user = login,
            "analysts can change the password of their login: only a superuser sees that and can put it back"
        );
    }
    pool.close().await;
    Ok(())
}

/// Takes from analysts what they should not have, and gives their logins their limits.
pub(crate) async fn apply_limits(url: &Secret) -> anyhow::Result<()> {
    let pool = app::log::pool(url.reveal(), 1)?;
    let deviations = app::watcher::confine_analysts(&pool, true).await?;
    for problem in app::watcher::problem_lines(&deviations) {
        tracing::warn!(problem = ?problem, "analysts are not confined as they should be");
    }
    pool.close().await;
    Ok(())
}

/// The password that the login lablet_analyst shall have, where a deployment states one. There is no argument for it: those
/// are shown to everybody on the machine.
pub(crate) fn password_of_environment() -> anyhow::Result<Option<Secret>> {
    let password = secrets::of_environment("LABLET_ANALYST_PASSWORD", |name| std::env::var(name).ok())?;
    password.map(|password| password.parse().map_err(anyhow::Error::msg)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_quoting_are_refused() {
        assert_eq!(login("grafana_2").unwrap(), "grafana_2");
        for bad in ["", "1st", "a b", "a;drop", "\"a\"", "Ab", &"a".repeat(64)] {
            login(bad).unwrap_err();
        }
    }

    #[test]
    fn an_address_has_its_login_and_the_same_database() {
        let owner: Secret = "postgres://owner:secret@db.example.org:5433/lablet".parse().unwrap();
        let address = address(&owner, "grafana", &"p".parse().unwrap()).unwrap();
        assert_eq!(address.reveal(), "postgresql://grafana:p@db.example.org:5433/lablet");
    }
}
