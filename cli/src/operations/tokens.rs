//! `lablet token`: who may use the gateway without an OpenID provider. Works on the database itself, so it needs nobody's
//! leave but the database's.

use std::time::Duration;

use anyhow::{Context as _, bail};
use app::notice::PublicUrl;
use bus::clock::{Clock, IdGenerator};
use chrono::TimeDelta;
use clap::{Args, Subcommand};
use gateway::authentication::Role;
use gateway::sign_in::{AdminName, SignInLinks, Tokens};
use uuid::Uuid;

use crate::client::output::{Column, OutputFormat, column};
use crate::configuration::DatabaseArguments;
use crate::terminal::say;

/// How long a link is valid unless stated.
pub(crate) const LINK_VALID_FOR: TimeDelta = TimeDelta::hours(24);
/// Longest time for which a token or a link can be made.
const LONGEST: TimeDelta = TimeDelta::days(3_660);

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a bearer token. It is printed to standard output, once, and kept nowhere.
    Create {
        #[command(flatten)]
        holder: HolderArguments,
        /// For how long it is valid, e.g. 12h, 30d; until it is revoked unless stated.
        #[arg(long, value_parser = valid_for)]
        expires_in: Option<TimeDelta>,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// List tokens, the newest first, revoked and expired ones too.
    List {
        #[command(flatten)]
        database: DatabaseArguments,
        /// How to print them.
        #[arg(long, short, value_enum, default_value_t = OutputFormat::Table)]
        output: OutputFormat,
    },
    /// Revoke a token. It is refused from now on, and browsers that signed in with it are signed out.
    Revoke {
        /// As `lablet token list` shows it.
        id: Uuid,
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Make a link that signs a browser in, once.
    Link {
        #[command(flatten)]
        holder: HolderArguments,
        /// For how long it is valid, e.g. 15m, 24h.
        #[arg(long, value_parser = valid_for, default_value = "24h")]
        expires_in: TimeDelta,
        /// How the gateway is reached; that of the `lablet up` in this folder unless stated.
        #[arg(long, env = "LABLET_PUBLIC_URL")]
        public_url: Option<String>,
        #[command(flatten)]
        database: DatabaseArguments,
    },
}

/// For whom.
#[derive(Debug, Args)]
pub(crate) struct HolderArguments {
    /// The person's name, as it appears as `admin:<name>` in events.
    #[arg(long, value_parser = name)]
    name: AdminName,
    /// viewer, operator or admin.
    #[arg(long, value_parser = role)]
    role: Role,
}

const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("ROLE", "/role"),
    column("CREATED AT", "/created_at"),
    column("EXPIRES AT", "/expires_at"),
    column("REVOKED AT", "/revoked_at"),
    column("LAST USED AT", "/last_used_at"),
];

/// How long the database may take in all.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    tokio::time::timeout(ANSWER_WITHIN, carry_out(command)).await.context("the database does not answer")?
}

async fn carry_out(command: TokenCommand) -> anyhow::Result<()> {
    let tokens = |database: &DatabaseArguments| {
        anyhow::Ok(Tokens::new(app::log::pool(database.url()?.reveal(), 1)?, Clock::system()))
    };
    match command {
        TokenCommand::Create { holder, expires_in, database } => {
            let tokens = tokens(&database)?;
            let (token, secret) = tokens.create(&IdGenerator::random(), &holder.name, holder.role, expires_in).await?;
            say(&secret)?;
            mention(&format!("token {} of {}, role {}; it is not shown again", token.id, token.name, token.role))
        }
        TokenCommand::List { database, output } => {
            let tokens = tokens(&database)?.list().await?;
            let rows = tokens.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
            output.rows(COLUMNS, &rows)
        }
        TokenCommand::Revoke { id, database } => match tokens(&database)?.revoke(id).await? {
            Some(token) => say(&format!("token {} of {} is revoked", token.id, token.name)),
            None => bail!("there is no token {id}; `lablet token list` shows all"),
        },
        TokenCommand::Link { holder, expires_in, public_url, database } => {
            let links = SignInLinks::new(app::log::pool(database.url()?.reveal(), 1)?, Clock::system());
            let site = match public_url {
                Some(url) => url,
                None => database.ready()?.map(|ready| ready.site().to_owned()).context(
                    "it is not known how the gateway is reached: set LABLET_PUBLIC_URL, or run `lablet up` in this folder",
                )?,
            };
            let site = PublicUrl::parse(&site).map_err(|invalid| anyhow::anyhow!("LABLET_PUBLIC_URL {invalid}"))?;
            say(&links.create(&site, &holder.name, holder.role, expires_in).await?)
        }
    }
}

/// A line on standard error, beside the answer.
fn mention(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stderr().lock(), "{line}").context("standard error cannot be written")
}

fn name(text: &str) -> Result<AdminName, String> {
    AdminName::parse(text).map_err(|invalid| invalid.to_string())
}

fn role(text: &str) -> Result<Role, String> {
    Role::named(text).ok_or_else(|| "expected viewer, operator or admin".to_owned())
}

/// A number of minutes, hours or days.
fn valid_for(text: &str) -> anyhow::Result<TimeDelta> {
    let (number, unit) = text.split_at(text.len().saturating_sub(text.chars().last().map_or(0, char::len_utf8)));
    let number: i64 = number.parse().ok().filter(|number| *number > 0).context("expected e.g. 15m, 24h or 30d")?;
    let duration = match unit {
        "m" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        _ => bail!("expected a number of minutes, hours or days, e.g. 15m, 24h or 30d"),
    };
    let in_bounds = duration.filter(|duration| *duration <= LONGEST);
    in_bounds.with_context(|| format!("expected at most {} days", LONGEST.num_days()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(valid_for("15m").unwrap(), TimeDelta::minutes(15));
        assert_eq!(valid_for("24h").unwrap(), LINK_VALID_FOR);
        assert_eq!(valid_for("30d").unwrap(), TimeDelta::days(30));
        for bad in ["", "30", "d", "0d", "-1d", "1.5h", "30w", "30 d", "99999d", "9223372036854775807d", "3ü"] {
            assert!(valid_for(bad).is_err(), "{bad}");
        }
    }
}
