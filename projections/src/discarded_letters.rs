//! What was done without, by whom, when and why: commands and events of webhooks as long as they are kept, and events of read
//! models for good, as a rebuild goes by them.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::Invalid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::{Projections, ReadError};

/// What got stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterKind {
    /// A command that arrived by NATS.
    Command,
    /// An event that the target of a webhook did not take.
    Webhook,
    /// An event that a read model could not apply.
    Event,
}

impl LetterKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Command, Self::Webhook, Self::Event];

    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Webhook => "webhook",
            Self::Event => "event",
        }
    }
}

/// A letter that was done without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiscardedLetter {
    /// Its id: `command:<id>`, `webhook:<id>` or `<read model>:<event id>`.
    pub id: String,
    /// What it is.
    pub kind: LetterKind,
    /// The command's subject, the webhook's target, or the read model.
    pub source: String,
    /// Why it could not be handled; null: unknown, as an event's was not always kept.
    pub reason: Option<String>,
    /// E.g. `lablet_session`, where it is known.
    pub aggregate_type: Option<String>,
    /// The aggregate's id, where it is known.
    pub aggregate_id: Option<String>,
    /// The event, where it is one.
    pub event_id: Option<Uuid>,
    /// Its type, e.g. `lablet_session.created.v1`, where it is one.
    pub event_type: Option<String>,
    /// The event's position, where it is one.
    pub position: Option<Position>,
    /// How often it was tried; null: it is an event of a read model, of which that is not kept.
    pub attempts: Option<i64>,
    /// Since when it lay there; null as `attempts`.
    pub since: Option<DateTime<Utc>>,
    /// Who discarded it, e.g. `admin:ada`; `lablet`: nobody decided in its time.
    pub discarded_by: Option<String>,
    /// When.
    pub discarded_at: DateTime<Utc>,
    /// Why.
    pub discarded_because: Option<String>,
}

/// Which of them; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscardedFilter {
    /// Of this kind.
    pub kind: Option<LetterKind>,
    /// Of this subject, target or read model.
    pub source: Option<String>,
    /// Discarded by this one.
    pub discarded_by: Option<String>,
    /// Discarded then or later.
    pub from: Option<DateTime<Utc>>,
    /// Discarded before.
    pub before: Option<DateTime<Utc>>,
}

/// What the rows are called in an alarm.
const LIST: &str = "discarded_letters";

/// Commands, and events of webhooks.
const MESSAGES: &str = r#"SELECT kind || ':' || id AS id, kind, source, reason, aggregate_type, aggregate_id, event_id,
       attempts, first_seen_at AS since, settled_by AS discarded_by, settled_at AS discarded_at,
       settled_reason AS discarded_because
  FROM public.dead_letters WHERE status = 'discarded' AND kind <> 'projection' AND settled_at IS NOT NULL"#;

/// Events of read models.
const EVENTS: &str = r#"SELECT projection || ':' || event_id AS id, 'event' AS kind, projection AS source, refused_because AS reason,
       aggregate_type, aggregate_id, event_id, NULL::bigint AS attempts, NULL::timestamptz AS since, discarded_by,
       discarded_at, reason AS discarded_because
  FROM public.projection_discards WHERE true"#;

/// Where a row is in the list, whichever table it is from.
const CURSOR: &str = r#"to_char(discarded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || id"#;

/// Where a page begins: when, and after which id.
fn after(cursor: &str) -> Result<(DateTime<Utc>, String), Invalid> {
    let (at, id) = cursor.split_once(' ').ok_or_else(page::bad_cursor)?;
    let at = DateTime::parse_from_rfc3339(at).map_err(|_| page::bad_cursor())?;
    Ok((at.to_utc(), page::id_in_cursor(id)?))
}

/// The newest of one table: its own columns of who, when, where from, and the id by which rows of one moment are told apart.
struct Part {
    select: &'static str,
    id: &'static str,
    source: &'static str,
    by: &'static str,
    at: &'static str,
}

const MESSAGE_PART: Part =
    Part { select: MESSAGES, id: "kind || ':' || id", source: "source", by: "settled_by", at: "settled_at" };
const EVENT_PART: Part = Part {
    select: EVENTS,
    id: "projection || ':' || event_id",
    source: "projection",
    by: "discarded_by",
    at: "discarded_at",
};

impl Part {
    /// Adds the page's rows of this table, which is a range of its index over the times.
    fn push(
        &self,
        query: &mut QueryBuilder<Postgres>,
        filter: &DiscardedFilter,
        after: Option<&(DateTime<Utc>, String)>,
        limit: i64,
    ) {
        let Self { select, id, source, by, at } = self;
        query.push("(").push(*select);
        if let Some(kind) = filter.kind.filter(|kind| *kind != LetterKind::Event) {
            query.push(" AND kind = ").push_bind(kind.as_str());
        }
        for (column, wanted) in [(source, &filter.source), (by, &filter.discarded_by)] {
            if let Some(wanted) = wanted {
                query.push(format!(" AND {column} = ")).push_bind(wanted.clone());
            }
        }
        if let Some(from) = filter.from {
            query.push(format!(" AND {at} >= ")).push_bind(from);
        }
        if let Some(before) = filter.before {
            query.push(format!(" AND {at} < ")).push_bind(before);
        }
        if let Some((moment, tie)) = after {
            query.push(format!(" AND {at} <= ")).push_bind(*moment);
            query.push(format!(" AND ({at}, ({id}) COLLATE \"C\") < (")).push_bind(*moment);
            query.push(", ").push_bind(tie.clone()).push(")");
        }
        query.push(format!(" ORDER BY {at} DESC, ({id}) COLLATE \"C\" DESC LIMIT ")).push_bind(limit).push(")");
    }
}

/// The statement of the list, after `prefix`, which is empty or asks for its plan.
fn list_query(
    prefix: &str,
    filter: &DiscardedFilter,
    request: &PageRequest,
) -> Result<QueryBuilder<Postgres>, ReadError> {
    let after = request.cursor.as_deref().map(after).transpose().map_err(ReadError::Invalid)?;
    let mut query = QueryBuilder::new(format!(
        "{prefix}{}SELECT f.*, e.event_type || '.v' || e.event_version AS event_type,
               lpad(e.epoch::text, 10, '0') || '-' || lpad(e.written_by::text, 20, '0') || '-' ||
               lpad(e.position::text, 19, '0') AS position, {CURSOR} AS cursor
          FROM (SELECT * FROM (",
        page::select("id", "cursor")
    ));
    let parts = match filter.kind {
        None => &[MESSAGE_PART, EVENT_PART][..],
        Some(LetterKind::Command | LetterKind::Webhook) => &[MESSAGE_PART],
        Some(LetterKind::Event) => &[EVENT_PART],
    };
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            query.push(" UNION ALL ");
        }
        part.push(&mut query, filter, after.as_ref(), request.fetch());
    }
    query.push(") both_kinds ORDER BY discarded_at DESC, id COLLATE \"C\" DESC LIMIT ").push_bind(request.fetch());
    query.push(
        ") f LEFT JOIN public.events e ON e.event_id = f.event_id ORDER BY discarded_at DESC, id COLLATE \"C\" DESC) r",
    );
    Ok(query)
}

impl Projections {
    /// What was done without, that which was discarded last first.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn discarded_letters(
        &self,
        filter: &DiscardedFilter,
        request: &PageRequest,
    ) -> Result<Page<DiscardedLetter>, ReadError> {
        self.page_of(LIST, list_query("", filter, request)?, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_among_many_is_a_range_of_the_indexes_over_their_times() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let pool = database.pool();
        for fill in [
            "INSERT INTO dead_letters (id, kind, source, reason, fingerprint, payload, first_seen_at, last_seen_at, status,
                                       settled_by, settled_at, settled_reason)
             SELECT gen_random_uuid(), 'command', 'lablet.commands.t.c', 'r', int4send(n), '', now(), now(),
                    CASE WHEN n % 2 = 0 THEN 'discarded' ELSE 'retried' END, 'admin:ada', now() - n * interval '1 s', 'why'
               FROM generate_series(1, 5000) n",
            "INSERT INTO projection_discards (projection, event_id, aggregate_type, aggregate_id, discarded_by, reason, discarded_at)
             SELECT 'sessions', gen_random_uuid(), 'lablet_session', 's-' || n, 'admin:ada', 'why', now() - n * interval '1 s'
               FROM generate_series(1, 5000) n",
            "ANALYZE dead_letters",
            "ANALYZE projection_discards",
        ] {
            sqlx::query(fill).execute(&pool).await.unwrap();
        }
        for cursor in [None, Some("2026-01-01T00:00:00.000000Z command:x".to_owned())] {
            let request = PageRequest { limit: 20, cursor };
            let mut query = list_query("EXPLAIN ", &DiscardedFilter::default(), &request).unwrap();
            let plan: Vec<String> = query.build_query_scalar().fetch_all(&pool).await.unwrap();
            let plan = plan.join("\n");
            for index in ["dead_letters_settled", "projection_discards_discarded_at"] {
                assert!(plan.contains(index), "{index}: {plan}");
            }
        }
    }

    #[test]
    fn a_cursor_is_a_time_and_an_id() {
        assert!(after("2026-03-01T10:00:00.000001Z sessions:7").is_ok());
        for wrong in ["", "2026-03-01T10:00:00Z", "yesterday command:7"] {
            assert!(after(wrong).is_err(), "{wrong}");
        }
    }
}
