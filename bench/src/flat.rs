//! The reads of [`crate::reads`] over a long log, beside the same reads over a short one: of as many sessions, whose
//! observations go on and on.
//!
//! The long log is grown in the database: each session that was observed is observed again and again, in the log and in the
//! rows of the read models. It is what projections would have made, of labs whose nodes nobody listed.

use anyhow::Context as _;
use harness::Crowd;
use sqlx::{AssertSqlSafe, PgPool};

use crate::effort::Effort;
use crate::http_client::{address, request};
use crate::pages;
use crate::reads::{CONNECTIONS, READS, Read, SESSIONS, WARMING_UP, load};
use crate::surroundings::{Database, Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

/// Share of the short log's rate that is left.
const TARGET: f64 = 0.8;

/// Measures and prints. `events`: of the long log.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort, events: u64) -> anyhow::Result<()> {
    let short = surroundings.database("short").await?;
    let lablet = surroundings.all_roles(&short).await?;
    let crowd = Crowd { sessions: effort.size(SESSIONS).max(100), definitions: 20, workers: 5, ..Crowd::default() };
    crowd.settle(&lablet).await?;
    settled(&lablet).await?;
    // Known to every gateway of this database, and of its copies.
    let token = format!("Bearer {}", lablet.token("Bench", "admin").await?);
    let link = lablet.sign_in_link("Bench", "admin").await?;
    let (_, link) = link.split_once("?token=").context("the link holds no token")?;
    lablet.stop().await?;
    let (short, long) = surroundings.copied(short, "long").await?;
    grow(&long.pool, events).await.context("the log cannot be grown")?;
    for database in [&short, &long] {
        sqlx::raw_sql("VACUUM ANALYZE").execute(&database.pool).await?;
    }
    let (short_gateway, short_url) = surroundings.gateway_alone(&short).await?;
    let (long_gateway, long_url) = surroundings.gateway_alone(&long).await?;
    let (short_server, long_server) = (address(&short_url)?, address(&long_url)?);
    table::group(
        &format!("Reads at {CONNECTIONS} connections over {} events", length(&long).await?),
        &format!("the same over {} events", length(&short).await?),
    )?;
    let short_cookie = pages::sign_in_at(&format!("{short_url}/sign-in/link"), link).await?;
    let long_cookie = pages::sign_in_at(&format!("{long_url}/sign-in/link"), link).await?;
    for Read { what, path, page, .. } in READS {
        let request = |cookie: &str| {
            let header = if page { ("cookie", cookie) } else { ("authorization", token.as_str()) };
            request("GET", path, &[header], b"")
        };
        let (to_short, to_long) = (request(&short_cookie), request(&long_cookie));
        load(short_server, &to_short, WARMING_UP).await?;
        load(long_server, &to_long, WARMING_UP).await?;
        let mut rate = Comparison::new(what, Unit::PerSecond, Target::RatioAtLeast(TARGET));
        for _ in 0..effort.rounds {
            let over_short = load(short_server, &to_short, effort.round).await?;
            let over_long = load(long_server, &to_long, effort.round).await?;
            rate.add(over_long.per_second, over_short.per_second);
        }
        table::print(&rate)?;
    }
    short_gateway.stop().await?;
    long_gateway.stop().await
}

async fn length(database: &Database) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&database.pool).await?)
}

/// How a position is written.
const POSITION: &str = "lpad(e.epoch::text, 10, '0') || '-' || lpad(e.written_by::text, 20, '0') || '-' ||
                        lpad(e.position::text, 19, '0')";

/// Observes each session that was observed once more and once more, until the log has so many events.
async fn grow(pool: &PgPool, events: u64) -> anyhow::Result<()> {
    let mut transaction = app::log::begin(pool).await?;
    sqlx::raw_sql("SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = off")
        .execute(&mut *transaction)
        .await?;
    sqlx::raw_sql(
        "CREATE TEMPORARY TABLE observed ON COMMIT DROP AS
         SELECT o.*, s.sequence AS last FROM read_sessions.sessions s JOIN read_observations.observed_sessions n ON n.session_id = s.id
           JOIN read_observations.observations o ON o.event_id = n.observed_event_id",
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         SELECT e.aggregate_type, e.aggregate_id, o.last + n, e.event_type, e.event_version, e.payload, e.metadata
           FROM generate_series(1, ($1 - (SELECT count(*) FROM events)) / (SELECT count(*) FROM observed)) n
          CROSS JOIN observed o JOIN events e ON e.event_id = o.event_id",
    )
    .bind(i64::try_from(events)?)
    .execute(&mut *transaction)
    .await?;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT column_name::text FROM information_schema.columns
          WHERE table_schema = 'read_observations' AND table_name = 'observations' ORDER BY ordinal_position",
    )
    .fetch_all(&mut *transaction)
    .await?;
    let values = columns.iter().map(|column| match column.as_str() {
        "event_id" | "sequence" | "recorded_at" => format!("e.{column}"),
        "observed_at" => "e.recorded_at".to_owned(),
        "position" => POSITION.to_owned(),
        _ => format!("o.{column}"),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let copied = format!(
        "INSERT INTO read_observations.observations ({}) SELECT {values}
           FROM observed o JOIN events e
             ON e.aggregate_type = 'lablet_session' AND e.aggregate_id = o.session_id AND e.sequence > o.last",
        columns.join(", ")
    );
    sqlx::query(AssertSqlSafe(copied)).execute(&mut *transaction).await?;
    sqlx::raw_sql(
        "CREATE TEMPORARY TABLE newest ON COMMIT DROP AS
         SELECT DISTINCT ON (o.session_id) o.* FROM read_observations.observations o ORDER BY o.session_id, o.sequence DESC;
         UPDATE read_observations.observed_sessions s
            SET observed_event_id = n.event_id, observed_at = n.observed_at, position = n.position,
                observation_count = (SELECT count(*) FROM read_observations.observations o WHERE o.session_id = s.session_id)
           FROM newest n WHERE n.session_id = s.session_id;
         UPDATE read_sessions.sessions s
            SET sequence = n.sequence, position = n.position, observed_at = n.observed_at, observed_event_id = n.event_id
           FROM newest n WHERE n.session_id = s.id;
         UPDATE read_definitions.indicators i
            SET observation_count =
                (SELECT count(*) FROM read_observations.observations o WHERE o.definition_id = i.definition_id)",
    )
    .execute(&mut *transaction)
    .await?;
    let newest =
        format!("SELECT {POSITION} FROM events e ORDER BY e.epoch DESC, e.written_by DESC, e.position DESC LIMIT 1");
    let newest: String = sqlx::query_scalar(AssertSqlSafe(newest)).fetch_one(&mut *transaction).await?;
    for model in projections::ReadModel::ALL {
        let moved = format!("UPDATE read_{}.checkpoint SET position = $1", model.name());
        sqlx::query(AssertSqlSafe(moved)).bind(&newest).execute(&mut *transaction).await?;
    }
    sqlx::query("UPDATE relays SET position = $1").bind(&newest).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}
