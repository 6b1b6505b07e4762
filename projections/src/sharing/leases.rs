//! Who is there and who does what, as Postgres has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use app::database::DedicatedConnection;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::postgres::PgPool;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Row as _};

use super::division::{Duty, Member, Task};
use crate::read_models::ReadModel;

/// Presence that is lost in a crash of Postgres is said again.
const SETTINGS: &str = "SET synchronous_commit = off; SET statement_timeout = '5s'; SET lock_timeout = '2s'";

/// The leases, and the process that takes and gives them.
#[derive(Debug)]
pub(super) struct Leases {
    holder: String,
    /// Its session is the process's: where Postgres ends it, the others take over at once.
    connection: DedicatedConnection,
}

/// Who is there, who does what, and what there is to do.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) members: Vec<Member>,
    pub(super) live_revisions: BTreeMap<ReadModel, i32>,
    /// The newest revision of each among those who are there and those who were a moment ago.
    pub(super) lately: BTreeMap<ReadModel, i32>,
    /// Holders that are present.
    holders: BTreeMap<Duty, String>,
}

impl Membership {
    /// What this process does.
    pub(super) fn held_by(&self, holder: &str) -> BTreeSet<Duty> {
        self.holders.iter().filter(|(_, held_by)| *held_by == holder).map(|(duty, _)| *duty).collect()
    }

    /// Whether nobody does it.
    pub(super) fn is_free(&self, duty: Duty) -> bool {
        !self.holders.contains_key(&duty)
    }
}

#[derive(Deserialize)]
struct MemberRow {
    holder: String,
    joined_at: DateTime<Utc>,
    revisions: BTreeMap<String, i32>,
}

#[derive(Deserialize)]
struct LeaseRow {
    read_model: String,
    task: String,
    holder: String,
}

impl LeaseRow {
    /// `None`: of a read model or a task that only another build knows.
    fn duty(&self) -> Option<Duty> {
        Some(Duty { model: self.read_model.parse().ok()?, task: Task::from_name(&self.task)? })
    }
}

impl Leases {
    /// The leases as this process takes and gives them.
    pub(super) fn new(pool: &PgPool, holder: String) -> Self {
        Self { holder, connection: DedicatedConnection::new(pool.connect_options().as_ref().clone(), SETTINGS) }
    }

    /// What this process is called.
    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// Says that this process is there for so long, and forgets those that have been gone for a while.
    pub(super) async fn say_present(&mut self, models: &[ReadModel], time: Duration) -> sqlx::Result<()> {
        let revisions: BTreeMap<&str, i32> = models.iter().map(|model| (model.name(), model.revision())).collect();
        let mut connection = self.connection.acquire().await?;
        sqlx::query!(
            "WITH gone AS (DELETE FROM projection_members
                            WHERE holder <> $1 AND present_until < clock_timestamp() - interval '1 minute')
             INSERT INTO projection_members (holder, session_pid, present_until, revisions)
             VALUES ($1, pg_backend_pid(), clock_timestamp() + make_interval(secs => $2), $3)
             ON CONFLICT (holder) DO UPDATE SET session_pid = excluded.session_pid,
                present_until = excluded.present_until, revisions = excluded.revisions",
            self.holder,
            time.as_secs_f64(),
            Json(revisions) as _
        )
        .execute(&mut *connection)
        .await?;
        connection.release();
        Ok(())
    }

    /// Reads who is there and who does what, at one moment.
    pub(super) async fn read(&mut self, models: &[ReadModel]) -> sqlx::Result<Membership> {
        let live: Vec<String> = models
            .iter()
            .map(|model| format!("SELECT '{model}' AS read_model, revision FROM {}.checkpoint", model.schema()))
            .collect();
        let statement = format!(
            "WITH members AS MATERIALIZED (SELECT * FROM present_projection_members)
             SELECT (SELECT coalesce(jsonb_agg(m), '[]') FROM members m) AS members,
                    (SELECT coalesce(jsonb_agg(l), '[]') FROM projection_leases l JOIN members USING (holder)) AS leases,
                    (SELECT coalesce(jsonb_object_agg(read_model, revision), '{{}}') FROM ({}) live) AS live,
                    (SELECT coalesce(jsonb_object_agg(key, revision), '{{}}')
                       FROM (SELECT key, max(value::integer) AS revision
                               FROM projection_members, jsonb_each_text(revisions) GROUP BY key) known) AS lately",
            live.join(" UNION ALL ")
        );
        let mut connection = self.connection.acquire().await?;
        let row = sqlx::query(AssertSqlSafe(statement)).fetch_one(&mut *connection).await?;
        connection.release();
        let Json(members): Json<Vec<MemberRow>> = row.try_get("members")?;
        let Json(leases): Json<Vec<LeaseRow>> = row.try_get("leases")?;
        let Json(live): Json<BTreeMap<String, i32>> = row.try_get("live")?;
        let Json(lately): Json<BTreeMap<String, i32>> = row.try_get("lately")?;
        // What only another build knows is that build's.
        let known = |revisions: BTreeMap<String, i32>| -> BTreeMap<ReadModel, i32> {
            revisions.into_iter().filter_map(|(name, revision)| Some((name.parse().ok()?, revision))).collect()
        };
        Ok(Membership {
            members: members
                .into_iter()
                .map(|MemberRow { holder, joined_at, revisions }| Member {
                    holder,
                    joined_at,
                    revisions: known(revisions),
                })
                .collect(),
            live_revisions: known(live),
            lately: known(lately),
            holders: leases.into_iter().filter_map(|lease| Some((lease.duty()?, lease.holder))).collect(),
        })
    }

    /// Takes those of these duties that are free still.
    pub(super) async fn take(&mut self, duties: &[Duty]) -> sqlx::Result<Vec<Duty>> {
        let (models, tasks) = columns(duties);
        let mut connection = self.connection.acquire().await?;
        let taken = sqlx::query!(
            "INSERT INTO projection_leases AS l (read_model, task, lease_epoch, holder)
             SELECT d.read_model, d.task, 1, $3
               FROM unnest($1::text[], $2::text[]) d (read_model, task)
              ORDER BY d.read_model, d.task
             ON CONFLICT (read_model, task) DO UPDATE
                SET lease_epoch = l.lease_epoch + 1, holder = excluded.holder, taken_at = clock_timestamp()
              WHERE l.holder IS NULL
                 OR NOT EXISTS (SELECT FROM present_projection_members m WHERE m.holder = l.holder)
             RETURNING read_model, task",
            &models as _,
            &tasks as _,
            self.holder
        )
        .fetch_all(&mut *connection)
        .await?;
        connection.release();
        let lease = |read_model, task| LeaseRow { read_model, task, holder: String::new() }.duty();
        Ok(taken.into_iter().filter_map(|row| lease(row.read_model, row.task)).collect())
    }

    /// Gives these duties back.
    pub(super) async fn give_back(&mut self, duties: &[Duty]) -> sqlx::Result<()> {
        let (models, tasks) = columns(duties);
        let mut connection = self.connection.acquire().await?;
        sqlx::query!(
            "UPDATE projection_leases l SET holder = NULL
               FROM unnest($1::text[], $2::text[]) d (read_model, task)
              WHERE l.read_model = d.read_model AND l.task = d.task AND l.holder = $3",
            &models as _,
            &tasks as _,
            self.holder
        )
        .execute(&mut *connection)
        .await?;
        connection.release();
        Ok(())
    }

    /// Gives everything back, and is there no more.
    pub(super) async fn leave(&mut self) -> sqlx::Result<()> {
        let mut connection = self.connection.acquire().await?;
        sqlx::query!(
            "WITH gone AS (DELETE FROM projection_members WHERE holder = $1)
             UPDATE projection_leases SET holder = NULL WHERE holder = $1",
            self.holder
        )
        .execute(&mut *connection)
        .await?;
        connection.release();
        Ok(())
    }
}

fn columns(duties: &[Duty]) -> (Vec<&'static str>, Vec<&'static str>) {
    duties.iter().map(|duty| (duty.model.name(), duty.task.name())).unzip()
}
