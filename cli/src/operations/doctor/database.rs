//! The log and what hangs on it, as the database has it.

use std::path::Path;

use app::dead_letters::DeadLetterKind;
use app::log::RestoreState;
use app::watcher::WatchedSession;
use bus::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use gateway::judgement::{self, HEARD_WITHIN, RelayTrouble, TOLERATED_LAG, VerificationTrouble};
use indicatif::BinaryBytes;
use projections::freshness::MOST_COUNTED;
use projections::page::PageRequest;
use projections::read_models::observation_requests::{RequestFilter, RequestOutcome};

use super::check::{Check, Severity};
use super::room::{Room, fullness};
use super::{clock, rights, webhooks, within};
use crate::roles::Store;

/// A transaction may have an id for this long before it is named.
const TOLERATED_TRANSACTION: f64 = 5.0;
/// For so long it is news that events were lost.
const LOSS_IS_NEWS: TimeDelta = TimeDelta::days(7);
/// Most that are named of one kind.
const MOST_NAMED: usize = 5;

/// What was found, and how many workers there are, where that is known.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) checks: Vec<Check>,
    pub(super) workers: Option<usize>,
}

/// Looks at the database; `folder` is where its files are, where that is known to be on this machine.
pub(super) async fn look(store: &Store, folder: Option<&Path>) -> Looked {
    let mut checks = within("database", server(store)).await;
    // Whatever else it is asked, it does not answer.
    if checks.iter().any(|check| check.severity == Severity::Unknown) {
        for check in checks.iter_mut().filter(|check| check.severity == Severity::Unknown) {
            check.severity = Severity::Error;
            check.mend = Some("start Postgres, or set LABLET_DATABASE_URL".to_owned());
        }
        return Looked { checks, workers: None };
    }
    let schema = within("schema", schema(store)).await;
    let is_as_wanted = schema.iter().all(|check| matches!(check.severity, Severity::Ok | Severity::Warning));
    checks.extend(schema);
    if !is_as_wanted {
        return Looked { checks, workers: None };
    }
    let (rights, settings, log, transactions, slots, room) = tokio::join!(
        within("rights", rights::look(store)),
        within("settings", settings(store)),
        within("log", log(store)),
        within("transactions", transactions(store)),
        within("replication slots", slots(store)),
        within("disk", disk(store, folder)),
    );
    let (relay, read_models, dead_letters, webhooks, verify, workers, watcher) = tokio::join!(
        within("relay", relay(store)),
        within("read models", read_models(store)),
        within("dead letters", dead_letters(store)),
        within("webhooks", webhooks::look(store)),
        within("last verify", last_verify(store)),
        workers(store),
        within("watcher", watcher(store)),
    );
    let (of_workers, workers) = workers;
    for found in [
        rights,
        settings,
        log,
        transactions,
        slots,
        room,
        relay,
        read_models,
        dead_letters,
        webhooks,
        verify,
        of_workers,
        watcher,
    ] {
        checks.extend(found);
    }
    Looked { checks, workers }
}

async fn server(store: &Store) -> anyhow::Result<Vec<Check>> {
    let before = Clock::system().now();
    let row = sqlx::query!(
        r#"SELECT current_setting('server_version') AS "version!", current_setting('server_version_num')::integer AS "number!",
                  clock_timestamp() AS "now!", pg_is_in_recovery() AS "is_standby!",
                  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS "connections!",
                  current_setting('max_connections')::bigint AS "most_connections!""#
    )
    .fetch_one(store.log().pool())
    .await?;
    let middle = before + (Clock::system().now() - before) / 2;
    let found = format!("Postgres {}, {} of {} connections", row.version, row.connections, row.most_connections);
    let check = if row.number < 150_000 {
        Check::error("database", format!("{found}; 15 or later is needed"), "upgrade Postgres")
    } else if row.is_standby {
        Check::error(
            "database",
            format!("{found}; it is a standby, and takes no event"),
            "set LABLET_DATABASE_URL to the primary",
        )
    } else if row.connections * 10 > row.most_connections * 9 {
        Check::warning("database", found, "ALTER SYSTEM SET max_connections, and restart Postgres")
    } else {
        Check::ok("database", found)
    };
    Ok(vec![check, clock("clock", "Postgres' clock", row.now - middle)])
}

async fn schema(store: &Store) -> anyhow::Result<Vec<Check>> {
    let applied = sqlx::query_scalar!("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(store.log().pool())
        .await;
    let applied = match applied {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Vec::new(),
        applied => applied?,
    };
    let wanted: Vec<i64> = app::log::MIGRATOR.iter().map(|migration| migration.version).collect();
    Ok(vec![compare_schemas(&applied, &wanted)])
}

fn compare_schemas(applied: &[i64], wanted: &[i64]) -> Check {
    let (has, needs) = (applied.last().copied().unwrap_or_default(), wanted.last().copied().unwrap_or_default());
    let missing = wanted.iter().filter(|version| !applied.contains(version)).count();
    if missing > 0 {
        let found = format!("it is at {has}, and this version needs {needs}: {missing} migrations are missing");
        return Check::error("schema", found, "lablet migrate");
    }
    if has > needs {
        let found = format!("it is at {has}, of a later version than this one, which knows {needs}");
        return Check::warning("schema", found, "finish the upgrade of this machine");
    }
    Check::ok("schema", format!("{has}, as this version needs it"))
}

/// Settings of Postgres that weaken what Lablet promises.
async fn settings(store: &Store) -> anyhow::Result<Vec<Check>> {
    let rows = sqlx::query!(
        r#"SELECT name AS "name!", setting AS "setting!" FROM pg_settings
            WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum', 'max_prepared_transactions')
            ORDER BY name"#
    )
    .fetch_all(store.log().pool())
    .await?;
    let mut checks: Vec<Check> = rows.iter().filter_map(|row| weakness(&row.name, &row.setting)).collect();
    if checks.is_empty() {
        checks.push(Check::ok("settings", format!("{} looked at, none weakens the log", rows.len())));
    }
    Ok(checks)
}

fn weakness(name: &str, setting: &str) -> Option<Check> {
    let error = |found: &str, value: &str| {
        Some(Check::error(
            "settings",
            format!("{name} is {setting}: {found}"),
            format!("psql -c \"ALTER SYSTEM SET {name} = {value}\" -c \"SELECT pg_reload_conf()\""),
        ))
    };
    match (name, setting) {
        ("fsync" | "full_page_writes", "off") => error("a crash of the machine can destroy the log", "on"),
        ("synchronous_commit", "off") => error("a crash can lose a command that was acknowledged", "on"),
        ("autovacuum", "off") => Some(Check::warning(
            "settings",
            "autovacuum is off: tables grow, and transaction ids run out",
            "psql -c \"ALTER SYSTEM SET autovacuum = on\" -c \"SELECT pg_reload_conf()\"",
        )),
        ("max_prepared_transactions", number) if number != "0" => Some(Check::warning(
            "settings",
            format!(
                "max_prepared_transactions is {number}: a prepared transaction that nobody finishes holds up the log's \
                 readers, and the watcher cannot end it"
            ),
            "psql -c \"ALTER SYSTEM SET max_prepared_transactions = 0\", and restart Postgres",
        )),
        _ => None,
    }
}

async fn log(store: &Store) -> anyhow::Result<Vec<Check>> {
    const RESTORED: &str = "restored log";
    let log = store.log();
    let mut checks = Vec::new();
    let epoch = sqlx::query!(
        r#"SELECT e.epoch, e.timeline, log_timeline() AS "timeline_now!",
                  b.began_at, b.backup_made_at, b.promoted AS "promoted?", b.lost_events
             FROM log_epoch e LEFT JOIN log_epochs b USING (epoch)"#
    )
    .fetch_one(log.pool())
    .await?;
    checks.push(match RestoreState::read(log.pool()).await? {
        RestoreState::EpochDue => Check::error(
            RESTORED,
            "it was restored from a backup, and no new epoch has begun: nothing can be written, and readers may not see all of it",
            "lablet migrate --restored, as the owner of the database",
        ),
        RestoreState::Unfinished => Check::error(
            RESTORED,
            "a restore is under way, or was interrupted: nothing can be written",
            "make the database anew, and repeat lablet restore",
        ),
        RestoreState::None if epoch.timeline.is_some_and(|timeline| timeline != epoch.timeline_now) => Check::warning(
            RESTORED,
            format!(
                "the server's timeline is {}, and was {} when epoch {} began: it was promoted or recovered, and the next epoch has \
                 not begun yet",
                epoch.timeline_now,
                epoch.timeline.unwrap_or_default(),
                epoch.epoch
            ),
            "lablet relay, or lablet serve: the first of them begins the epoch",
        ),
        RestoreState::None if epoch.promoted == Some(true) && epoch.lost_events != Some(0) => {
            let lost = match epoch.lost_events {
                Some(lost) => format!("{lost} events that the bus had told of were lost by it, and consumers may have applied them"),
                None => "nobody has looked yet for events that the bus had told of and that were lost by it".to_owned(),
            };
            let found = format!("epoch {} since {}, as a standby was promoted: {lost}", epoch.epoch, moment(epoch.began_at));
            let mend = "lablet republish --remove-unknown, with lablet relay running; docs/restore.md tells what consumers do";
            let is_recent = epoch.began_at.is_none_or(|began| log.clock().now() - began < LOSS_IS_NEWS);
            if is_recent { Check::warning(RESTORED, found, mend) } else { Check::ok(RESTORED, found) }
        }
        RestoreState::None => {
            let of_backup = epoch.backup_made_at.map_or_else(String::new, |at| {
                format!(", restored from a backup of {}", at.format("%Y-%m-%dT%H:%M:%SZ"))
            });
            Check::ok(RESTORED, format!("epoch {} since {}{of_backup}", epoch.epoch, moment(epoch.began_at)))
        }
    });
    let visibility = log.visibility().await?;
    let newest = log.newest().await?;
    if visibility.is_late() {
        let holders = app::watcher::transactions_with_id(log.pool()).await?;
        checks.push(Check::error(
            "log",
            format!(
                "at {newest}; readers do not see {} of the committed events, for {} s already, because of an open transaction: {}",
                visibility.held_back_events,
                visibility.lag.unwrap_or_default().as_secs(),
                holders.iter().map(holder).collect::<Vec<_>>().join("; ")
            ),
            holders.first().map_or_else(|| "wait for it to end".to_owned(), ending),
        ));
    } else {
        checks.push(Check::ok("log", format!("at {newest}; readers see everything")));
    }
    Ok(checks)
}

fn moment(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "an unknown time".to_owned(), |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A transaction that readers wait for.
fn holder(session: &WatchedSession) -> String {
    let pid = session.pid.map_or_else(|| session.kind.clone(), |pid| format!("pid {pid}"));
    let age = session.transaction_seconds.map_or_else(String::new, |seconds| format!(", open for {seconds:.0} s"));
    let WatchedSession { role_name, database_name, application_name, .. } = session;
    format!("{pid}, role {role_name:?} in {database_name:?}, application {application_name:?}{age}")
}

/// The command that ends it.
fn ending(session: &WatchedSession) -> String {
    match session.pid {
        Some(pid) => format!("psql -c \"SELECT pg_terminate_backend({pid})\""),
        None => format!(
            "psql -d {} -c \"ROLLBACK PREPARED '{}'\"",
            session.database_name,
            session.application_name.replace('\'', "''")
        ),
    }
}

/// Transactions that have an id for long: nothing that is committed meanwhile is shown.
async fn transactions(store: &Store) -> anyhow::Result<Vec<Check>> {
    let sessions = app::watcher::transactions_with_id(store.log().pool()).await?;
    // Of whose age nothing is known, it may be any.
    let long = sessions
        .iter()
        .filter(|session| session.transaction_seconds.is_none_or(|seconds| seconds > TOLERATED_TRANSACTION));
    let mut checks: Vec<Check> = long
        .take(MOST_NAMED)
        .map(|session| {
            let whose = if session.is_own { "Lablet's own" } else { "another's" };
            Check::warning("transactions", format!("{whose}: {}", holder(session)), ending(session))
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok(
            "transactions",
            format!("{} with an id, none for more than {TOLERATED_TRANSACTION:.0} s, none prepared", sessions.len()),
        ));
    }
    Ok(checks)
}

async fn slots(store: &Store) -> anyhow::Result<Vec<Check>> {
    let slots = sqlx::query!(
        r#"SELECT slot_name::text AS "name!", coalesce(active, false) AS "is_active!", wal_status,
                  CASE WHEN pg_is_in_recovery() THEN NULL
                       ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END AS kept
             FROM pg_replication_slots ORDER BY slot_name"#
    )
    .fetch_all(store.log().pool())
    .await?;
    let mut checks = Vec::new();
    for slot in &slots {
        let is_kept = matches!(slot.wal_status.as_deref(), None | Some("reserved" | "extended"));
        if !slot.is_active || !is_kept {
            let kept = slot
                .kept
                .map_or_else(|| "an unknown amount".to_owned(), |kept| BinaryBytes(kept.unsigned_abs()).to_string());
            let state = if slot.is_active { "is lost or nearly so" } else { "is not used" };
            checks.push(Check::warning(
                "replication slots",
                format!("{:?} {state}, and keeps {kept} of WAL", slot.name),
                format!(
                    "start its standby, or psql -c \"SELECT pg_drop_replication_slot('{}')\"",
                    slot.name.replace('\'', "''")
                ),
            ));
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok("replication slots", format!("{}, none of them idle", slots.len())));
    }
    Ok(checks)
}

async fn disk(store: &Store, folder: Option<&Path>) -> anyhow::Result<Vec<Check>> {
    let size = sqlx::query_scalar!(r#"SELECT pg_database_size(current_database()) AS "size!""#)
        .fetch_one(store.log().pool())
        .await?;
    let size = BinaryBytes(size.unsigned_abs());
    let Some(folder) = folder.filter(|folder| folder.exists()) else {
        return Ok(vec![Check::ok(
            "disk",
            format!("the database has {size}; how much room is left, only its machine knows"),
        )]);
    };
    let room = Room::below(folder).await?;
    let what = format!("the database has {size}; its disk");
    let mend = "make room, or move the data folder to a larger disk";
    Ok(vec![fullness("disk", &what, room.total - room.free, room.total, mend)])
}

async fn relay(store: &Store) -> anyhow::Result<Vec<Check>> {
    let log = store.log();
    let relay = app::relay::progress(log.pool()).await?;
    let behind = log.count_after(relay.position, MOST_COUNTED).await?;
    let age = log.age_after(relay.position).await?.unwrap_or_default();
    let leads = relay.leased_until.is_some_and(|until| until > log.clock().now());
    let holder = if leads { relay.holder.as_deref().unwrap_or("somebody") } else { "nobody" };
    let found =
        format!("{behind} events behind the log, for {} s; held by {holder}; {} losses", age.as_secs(), relay.losses);
    let trouble = judgement::relay(relay.hindrance.is_some(), relay.leased_until, age, log.clock().now());
    Ok(vec![match trouble {
        Some(RelayTrouble::Hindered) => {
            let since = moment(relay.hindered_since);
            let hindrance = relay.hindrance.unwrap_or_default();
            Check::error(
                "relay",
                format!("nothing can be published since {since}: {hindrance}; {found}"),
                "make room on the bus: nats stream report",
            )
        }
        Some(RelayTrouble::Absent) => {
            Check::error("relay", format!("no relay runs; {found}"), "lablet relay (or lablet up)")
        }
        Some(RelayTrouble::Late) => {
            Check::warning("relay", found, "see its log: journalctl -u lablet-relay, or docker compose logs relay")
        }
        None => Check::ok("relay", found),
    }])
}

/// Whether every read model shows what the log holds.
async fn read_models(store: &Store) -> anyhow::Result<Vec<Check>> {
    let projections = store.projections();
    let freshness = projections.freshness().await?;
    let mut checks = Vec::new();
    for model in &freshness.items {
        let (name, count) = (model.read_model, model.parked_aggregates);
        if count > 0 {
            let parked = projections.parked_of(name, MOST_NAMED as u32).await?;
            let mut named: Vec<String> = parked
                .items
                .iter()
                .map(|parked| format!("{} at event {}", parked.aggregate_id, parked.event_id))
                .collect();
            named.extend(parked.unreadable.into_iter().map(|row| row.id));
            if count > MOST_NAMED as u64 {
                named.push("…".to_owned());
            }
            checks.push(Check::error(
                "read models",
                format!("what the log holds is not all shown: parked in {name}, {count} in all: {}", named.join(", ")),
                "lablet dead-letters list, then retry or discard",
            ));
        }
        let age = store.log().age_after(model.position).await?.unwrap_or_default();
        if model.events_behind > 0 && age > TOLERATED_LAG {
            let found = format!("{name} is {} events behind the log, for {} s", model.events_behind, age.as_secs());
            checks.push(Check::warning("read models", found, "lablet project (or lablet up)"));
        }
    }
    for row in &freshness.unreadable {
        let found = format!("how far {} is cannot be read: {}", row.id, row.reason);
        checks.push(Check::error("read models", found, format!("lablet rebuild {}", row.id)));
    }
    if checks.is_empty() {
        let rebuilding = freshness.items.iter().filter(|model| model.rebuilding.is_some()).count();
        let behind = freshness.items.iter().map(|model| model.events_behind).max().unwrap_or_default();
        checks.push(Check::ok(
            "read models",
            format!(
                "{}, at most {behind} events behind, {rebuilding} being rebuilt, nothing is parked",
                freshness.items.len()
            ),
        ));
    }
    Ok(checks)
}

async fn dead_letters(store: &Store) -> anyhow::Result<Vec<Check>> {
    let commands = store.dead_letters().waiting(DeadLetterKind::Command).await?;
    let webhooks = store.dead_letters().waiting(DeadLetterKind::Webhook).await?;
    let found = format!("{commands} commands and {webhooks} webhooks wait for a decision");
    Ok(vec![if commands + webhooks == 0 {
        Check::ok("dead letters", found)
    } else {
        Check::warning("dead letters", found, "lablet dead-letters list, then retry or discard")
    }])
}

async fn last_verify(store: &Store) -> anyhow::Result<Vec<Check>> {
    const NAME: &str = "last verify";
    let now = store.log().clock().now();
    let first = store.log().age_after(app::log::Position::START).await?.unwrap_or_default();
    let last = store.projections().last_verification().await?;
    let found = last.as_ref().map(|last| {
        let verdict = if last.held { "held" } else { "something differed" };
        format!("{} by {}: {verdict}", moment(Some(last.verified_at)), last.verified_by)
    });
    Ok(vec![match (judgement::verification(last.as_ref(), first, now), found) {
        (Some(VerificationTrouble::Differs), found) => {
            Check::error(NAME, found.unwrap_or_default(), "lablet verify, and what it names")
        }
        (Some(VerificationTrouble::Old), found) => Check::warning(NAME, found.unwrap_or_default(), "lablet verify"),
        (Some(VerificationTrouble::Never), _) => {
            Check::warning(NAME, format!("never, in {} days", first.as_secs() / 86_400), "lablet verify")
        }
        (None, Some(found)) => Check::ok(NAME, found),
        (None, None) => Check::ok(NAME, "never; the log is younger than a week"),
    }])
}

/// What is known of the workers, and how many there are.
async fn workers(store: &Store) -> (Vec<Check>, Option<usize>) {
    let mut known = None;
    let checks = within("workers", async {
        let page = store.projections().workers(&PageRequest::first(200)).await?;
        known = Some(page.items.len());
        let now = store.log().clock().now();
        let silent: Vec<&str> = page
            .items
            .iter()
            .filter(|worker| worker.pressure.as_ref().is_none_or(|told| now - told.observed_at > HEARD_WITHIN))
            .map(|worker| worker.id.as_str())
            .collect();
        let mut checks = Vec::new();
        if !silent.is_empty() {
            let named = silent.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = if silent.len() > MOST_NAMED { ", …" } else { "" };
            checks.push(Check::warning(
                "workers",
                format!(
                    "of {} of {} nothing was heard for {} min: {named}{more}",
                    silent.len(),
                    page.items.len(),
                    HEARD_WITHIN.num_minutes()
                ),
                "lablet doctor where their controller runs: address, credentials and LABLET_CML_HOSTS",
            ));
        }
        let failed = RequestFilter { outcome: Some(RequestOutcome::Failed), ..RequestFilter::default() };
        let failed = store.projections().observation_requests(&failed, &PageRequest::first(50)).await?;
        let lately: Vec<_> = failed
            .items
            .iter()
            .filter(|request| request.finished_at.is_some_and(|at| now - at < TimeDelta::days(1)))
            .collect();
        if let Some(newest) = lately.first() {
            checks.push(Check::warning(
                "workers",
                format!(
                    "{}{} observations failed within a day; the newest on {}: {}",
                    lately.len(),
                    if lately.len() == 50 { " or more" } else { "" },
                    newest.worker_id.as_str(),
                    newest.reason.as_deref().unwrap_or("no reason is known")
                ),
                "see what the reason names; then ask for the observation again",
            ));
        }
        if checks.is_empty() {
            let count = page.items.len();
            checks.push(Check::ok(
                "workers",
                format!("{count}, each heard of within {} min", HEARD_WITHIN.num_minutes()),
            ));
        }
        Ok(checks)
    })
    .await;
    (checks, known)
}

/// What the watcher of the log's readers could not mend, and what others can do to the log.
async fn watcher(store: &Store) -> anyhow::Result<Vec<Check>> {
    const MEND: &str = "give the owner of the database the right that it names";
    let log = store.log();
    let mut problems = app::watcher::problem_lines(&app::watcher::confine_analysts(log.pool(), false).await?);
    let watcher = app::watcher::state(log).await?;
    problems.extend(watcher.problems.into_iter().filter(|problem| !problems.contains(problem)).collect::<Vec<_>>());
    let mut checks: Vec<Check> = problems.into_iter().map(|problem| Check::warning("watcher", problem, MEND)).collect();
    if !watcher.watching {
        let found =
            format!("none has looked since {}: nobody ends what holds up the log's readers", moment(watcher.looked_at));
        checks.push(Check::warning("watcher", found, "lablet relay, or lablet project (or lablet up)"));
    }
    if checks.is_empty() {
        checks
            .push(Check::ok("watcher", format!("it looks, and has ended {} sessions so far", watcher.ended_sessions)));
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_is_older_is_an_error_and_one_that_is_newer_a_warning() {
        let compared = |applied: &[i64]| compare_schemas(applied, &[1, 2, 3]);
        assert_eq!(compared(&[1, 2, 3]).severity, Severity::Ok);
        let older = compared(&[1, 2]);
        assert_eq!((older.severity, older.mend.as_deref()), (Severity::Error, Some("lablet migrate")));
        assert_eq!(compared(&[]).severity, Severity::Error);
        assert_eq!(compared(&[1, 2, 3, 4]).severity, Severity::Warning);
        assert_eq!(compared(&[1, 3, 4]).severity, Severity::Error, "one in between is missing");
    }

    #[test]
    fn settings_that_weaken_the_log_are_named_with_the_command_that_mends_them() {
        let severity = |name: &str, setting: &str| weakness(name, setting).map(|check| check.severity);
        assert_eq!(severity("fsync", "on"), None);
        assert_eq!(severity("fsync", "off"), Some(Severity::Error));
        assert_eq!(severity("synchronous_commit", "off"), Some(Severity::Error));
        assert_eq!(severity("synchronous_commit", "local"), None);
        assert_eq!(severity("max_prepared_transactions", "0"), None);
        assert_eq!(severity("max_prepared_transactions", "10"), Some(Severity::Warning));
        assert!(weakness("fsync", "off").unwrap().mend.unwrap().contains("ALTER SYSTEM SET fsync = on"));
    }

    #[test]
    fn what_ends_a_transaction_is_named_for_sessions_and_prepared_ones() {
        let session = WatchedSession {
            pid: Some(4711),
            backend_start: None,
            transaction_id: Some("900".to_owned()),
            role_name: "ann".to_owned(),
            database_name: "lablet".to_owned(),
            application_name: "psql".to_owned(),
            kind: "client backend".to_owned(),
            is_own: false,
            transaction_seconds: Some(60.0),
            beyond_limit: None,
            beyond_seconds: None,
        };
        assert_eq!(ending(&session), "psql -c \"SELECT pg_terminate_backend(4711)\"");
        let prepared = WatchedSession { pid: None, application_name: "it's".to_owned(), ..session };
        assert_eq!(ending(&prepared), "psql -d lablet -c \"ROLLBACK PREPARED 'it''s'\"");
    }
}
