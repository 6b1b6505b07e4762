//! The list of sessions: which, in which order, page by page.

use std::str::FromStr;

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::lablet_session::SessionStatus;
use domain::{DefinitionId, Invalid, WorkerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};

use super::{LIST, SessionRow, columns};
use crate::page::{self, Page, PageRequest};
use crate::{Projections, ReadError};

/// Which sessions are asked for, and in which order; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionFilter {
    /// In one of these states; empty: in any.
    #[serde(default)]
    pub status: Vec<SessionStatus>,
    /// Of this definition.
    #[serde(default)]
    pub definition_id: Option<DefinitionId>,
    /// On this worker.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
    /// Whose ports stand so.
    #[serde(default)]
    pub drift: Option<DriftFilter>,
    /// Whose id, definition, owner, worker or lab contains this, in whatever case.
    #[serde(default)]
    pub text: Option<String>,
    /// Whose timeslot ended before this.
    #[serde(default)]
    pub timeslot_ended_before: Option<DateTime<Utc>>,
    /// In this order.
    #[serde(default)]
    pub sort: SessionSort,
}

/// How the ports of the sessions stand that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftFilter {
    /// They drifted.
    True,
    /// They are known not to have drifted.
    False,
    /// They drifted, and nobody has said that it may stay so.
    Open,
    /// They drifted, and somebody knows of it.
    Acknowledged,
    /// No observation could read the tags yet.
    Unknown,
}

impl DriftFilter {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::True, Self::False, Self::Open, Self::Acknowledged, Self::Unknown];

    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Unknown => "unknown",
        }
    }

    /// Restricts a statement over sessions.
    fn push(self, now: DateTime<Utc>, query: &mut QueryBuilder<Postgres>) {
        match self {
            Self::True => query.push(" AND port_drift_detected"),
            Self::False => query.push(" AND NOT port_drift_detected"),
            Self::Unknown => query.push(" AND port_drift_detected IS NULL"),
            Self::Open => {
                let query =
                    query.push(" AND port_drift_detected AND (acknowledged_until IS NULL OR acknowledged_until <= ");
                query.push_bind(now).push(")")
            }
            Self::Acknowledged => query.push(" AND port_drift_detected AND acknowledged_until > ").push_bind(now),
        };
    }
}

impl FromStr for DriftFilter {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|drift| drift.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            let known: Vec<&str> = Self::ALL.iter().map(|drift| drift.as_str()).collect();
            Invalid::new("", format!("is {shown:?}"), format!("one of {}", known.join(", ")))
        })
    }
}

/// The order of a list of sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionSort {
    /// The one created last comes first.
    #[default]
    Newest,
    /// The one created first comes first.
    Oldest,
    /// The one whose last event is newest comes first.
    Changed,
    /// By definition; of one definition the one created last comes first.
    Definition,
    /// The one whose timeslot ends first comes first; those without a timeslot come last.
    TimeslotEnd,
    /// The most recently observed one comes first; those never observed come last.
    Observed,
}

impl SessionSort {
    /// All of them, the default first.
    pub const ALL: [Self; 6] =
        [Self::Newest, Self::Oldest, Self::Changed, Self::Definition, Self::TimeslotEnd, Self::Observed];

    /// In its wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Changed => "changed",
            Self::Definition => "definition",
            Self::TimeslotEnd => "timeslot_end",
            Self::Observed => "observed",
        }
    }

    /// The order, along an index whose last column is unique.
    fn order(self) -> &'static str {
        match self {
            Self::Newest => "created_position DESC",
            Self::Oldest => "created_position",
            Self::Changed => "position DESC",
            Self::Definition => "definition_id, created_position DESC",
            Self::TimeslotEnd => "coalesce(timeslot_end, 'infinity'::timestamptz), id",
            Self::Observed => "coalesce(observed_at, '-infinity'::timestamptz) DESC, id DESC",
        }
    }

    /// Where the page after a row begins, in SQL: of columns as Postgres writes them, as a row that cannot be read has a
    /// place in the list too. The default order has kept the cursor that it had before there were others.
    fn cursor(self) -> &'static str {
        match self {
            Self::Newest => "created_position",
            Self::Oldest => "'oldest::' || created_position",
            Self::Changed => "'changed::' || position",
            Self::Definition => "'definition:' || definition_id || ':' || created_position",
            Self::TimeslotEnd => "'timeslot_end:' || id || ':' || coalesce(timeslot_end::text, '')",
            Self::Observed => "'observed:' || id || ':' || coalesce(observed_at::text, '')",
        }
    }

    /// The two parts of a cursor of this order. The first may hold a colon where the row is one that cannot be read.
    fn parts(self, cursor: &str) -> Option<(&str, &str)> {
        if self == Self::Newest {
            return Some(("", cursor));
        }
        let rest = cursor.strip_prefix(self.as_str())?.strip_prefix(':')?;
        match self {
            Self::Newest | Self::Oldest | Self::Changed | Self::Definition => rest.rsplit_once(':'),
            Self::TimeslotEnd | Self::Observed => {
                let mut parts = rest.match_indices(':').map(|(colon, _)| (&rest[..colon], &rest[colon + 1..]));
                parts.find(|(_, key)| key.is_empty() || (key.contains(['-', 'i']) && moment(key).is_ok()))
            }
        }
    }

    /// Restricts to what comes after a cursor of this order.
    fn push_after(self, cursor: &str, query: &mut QueryBuilder<Postgres>) -> Result<(), Invalid> {
        let (tie, key) = self.parts(cursor).ok_or_else(page::bad_cursor)?;
        let position = || key.parse::<Position>().map(|_| key.to_owned()).map_err(|_| page::bad_cursor());
        let id = || page::id_in_cursor(tie);
        match self {
            Self::Newest => query.push(" AND created_position < ").push_bind(position()?),
            Self::Oldest => query.push(" AND created_position > ").push_bind(position()?),
            Self::Changed => query.push(" AND position < ").push_bind(position()?),
            Self::Definition => {
                // The range of the index begins with the definition; of that one, what was shown is passed over.
                query.push(" AND definition_id >= ").push_bind(id()?);
                query.push(" AND (definition_id > ").push_bind(id()?);
                query.push(" OR created_position < ").push_bind(position()?).push(")")
            }
            Self::TimeslotEnd => {
                query.push(" AND (coalesce(timeslot_end, 'infinity'::timestamptz), id) > (coalesce(");
                query.push_bind(moment(key)?).push("::timestamptz, 'infinity'::timestamptz), ");
                query.push_bind(id()?).push(")")
            }
            Self::Observed => {
                query.push(" AND (coalesce(observed_at, '-infinity'::timestamptz), id) < (coalesce(");
                query.push_bind(moment(key)?).push("::timestamptz, '-infinity'::timestamptz), ");
                query.push_bind(id()?).push(")")
            }
        };
        Ok(())
    }
}

impl FromStr for SessionSort {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            let known: Vec<&str> = Self::ALL.iter().map(|sort| sort.as_str()).collect();
            Invalid::new("", format!("is {shown:?}"), format!("one of {}", known.join(", ")))
        })
    }
}

/// A time of a cursor as Postgres wrote it, which may be one that only Postgres knows; empty where the row had none.
fn moment(key: &str) -> Result<Option<String>, Invalid> {
    let of_a_time = |letter: char| letter.is_ascii_digit() || " +-.:BCTZ".contains(letter);
    match key {
        "" => Ok(None),
        "infinity" | "-infinity" => Ok(Some(key.to_owned())),
        _ if key.len() <= 40 && key.chars().all(of_a_time) => Ok(Some(key.to_owned())),
        _ => Err(page::bad_cursor()),
    }
}

/// What is no time although it looks like one, Postgres refuses: nothing else of the statement is parsed as one.
fn refused_time(error: ReadError) -> ReadError {
    let code = match &error {
        ReadError::Database(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
        _ => None,
    };
    match code.as_deref() {
        Some("22007" | "22008" | "22009") => ReadError::Invalid(page::bad_cursor()),
        _ => error,
    }
}

impl Projections {
    /// Sessions in the order that the filter names, newest first unless it says otherwise.
    ///
    /// # Errors
    /// The cursor is none of this list's in this order, or the database does not answer.
    pub async fn sessions(&self, filter: &SessionFilter, request: &PageRequest) -> Result<Page<SessionRow>, ReadError> {
        let found = self.page_of(LIST, list_query("", filter, request, self.log.clock().now())?, request).await;
        found.map_err(refused_time)
    }
}

/// The statement of the list, after `prefix`, which is empty or asks for its plan.
fn list_query(
    prefix: &str,
    filter: &SessionFilter,
    request: &PageRequest,
    now: DateTime<Utc>,
) -> Result<QueryBuilder<Postgres>, ReadError> {
    let mut query = QueryBuilder::new(format!(
        "{prefix}{}SELECT {} AS cursor, {} FROM read_sessions.sessions WHERE true",
        super::select("cursor"),
        filter.sort.cursor(),
        columns()
    ));
    match filter.status.as_slice() {
        [] => {}
        [only] => {
            query.push(" AND status = ").push_bind(only.as_str());
        }
        several => {
            let names: Vec<&str> = several.iter().map(|status| status.as_str()).collect();
            query.push(" AND status = ANY(").push_bind(names).push(")");
        }
    }
    if let Some(definition) = &filter.definition_id {
        query.push(" AND definition_id = ").push_bind(definition.as_str().to_owned());
    }
    if let Some(worker) = &filter.worker_id {
        query.push(" AND worker_id = ").push_bind(worker.as_str().to_owned());
    }
    if let Some(drift) = filter.drift {
        drift.push(now, &mut query);
    }
    if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
        query.push(" AND search LIKE ").push_bind(page::like(text));
    }
    if let Some(end) = filter.timeslot_ended_before {
        query.push(" AND timeslot_end < ").push_bind(end);
    }
    if let Some(cursor) = &request.cursor {
        filter.sort.push_after(cursor, &mut query).map_err(ReadError::Invalid)?;
    }
    query.push(" ORDER BY ").push(filter.sort.order()).push(" LIMIT ").push_bind(request.fetch()).push(") r");
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_of_ten_thousand_sessions_is_a_range_of_an_index() {
        let database = servers::testing::database(&app::log::MIGRATOR).await;
        let fill =
            "INSERT INTO read_sessions.sessions (id, definition_id, definition_version, definition_revision, status,
                status_since, worker_id, created_at, updated_at, created_position, position, sequence,
                port_drift_detected)
            SELECT 's-' || n, 'd-' || n % 50, '1', 1, CASE WHEN n % 100 = 0 THEN 'running' ELSE 'archived' END, now(),
                'w-' || n % 20, now(), now(), lpad(n::text, 51, '0'), lpad(n::text, 51, '0'), 1, n % 90 = 0
              FROM generate_series(1, 10000) n";
        sqlx::query(fill).execute(&database.pool()).await.unwrap();
        sqlx::query("ANALYZE read_sessions.sessions").execute(&database.pool()).await.unwrap();
        let cursor = Position::START.to_string().replace("0-", "9-");
        for filter in [
            SessionFilter::default(),
            SessionFilter { status: vec![SessionStatus::Running], ..SessionFilter::default() },
            SessionFilter { definition_id: Some(DefinitionId::parse("d-7").unwrap()), ..SessionFilter::default() },
            SessionFilter { worker_id: Some(WorkerId::parse("w-7").unwrap()), ..SessionFilter::default() },
            SessionFilter { drift: Some(DriftFilter::True), ..SessionFilter::default() },
            SessionFilter { drift: Some(DriftFilter::Open), ..SessionFilter::default() },
            SessionFilter { drift: Some(DriftFilter::Acknowledged), ..SessionFilter::default() },
        ] {
            let request = PageRequest { limit: 50, cursor: Some(cursor.clone()) };
            let mut query = list_query("EXPLAIN ", &filter, &request, DateTime::UNIX_EPOCH).unwrap();
            let plan: Vec<String> = query.build_query_scalar().fetch_all(&database.pool()).await.unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains("Index Scan"), "{filter:?}:\n{plan}");
            assert!(!plan.contains("Sort"), "{filter:?}:\n{plan}");
        }
        let spread = "UPDATE read_sessions.sessions SET timeslot_end = now() + length(id) * interval '1 minute',
            observed_at = now() - length(id) * interval '1 minute' WHERE id LIKE '%1%'";
        sqlx::query(spread).execute(&database.pool()).await.unwrap();
        sqlx::query("ANALYZE read_sessions.sessions").execute(&database.pool()).await.unwrap();
        let (early, late) = ("2026-03-01T10:00:00.000001+00:00", "2199-03-01T10:00:00.000001+00:00");
        let position = Position::START;
        for (sort, cursor) in [
            (SessionSort::Oldest, format!("oldest::{position}")),
            (SessionSort::Changed, format!("changed::{}", cursor)),
            (SessionSort::Definition, format!("definition:d-4:{cursor}")),
            (SessionSort::TimeslotEnd, format!("timeslot_end:s-1:{early}")),
            (SessionSort::Observed, format!("observed:s-1:{late}")),
        ] {
            for cursor in [None, Some(cursor)] {
                let filter = SessionFilter { sort, ..SessionFilter::default() };
                let mut query =
                    list_query("EXPLAIN ", &filter, &PageRequest { limit: 50, cursor }, DateTime::UNIX_EPOCH).unwrap();
                let plan: Vec<String> = query.build_query_scalar().fetch_all(&database.pool()).await.unwrap();
                let plan = plan.join("\n");
                assert!(plan.contains("Index Scan"), "{sort:?}:\n{plan}");
                assert!(!plan.contains("Sort"), "{sort:?}:\n{plan}");
            }
        }
    }

    #[test]
    fn a_cursor_is_of_one_order_only() {
        let position = Position::START.to_string();
        let time = "2026-03-01T10:00:00+00:00";
        let cursors = [
            (SessionSort::Newest, position.clone()),
            (SessionSort::Oldest, format!("oldest::{position}")),
            (SessionSort::Changed, format!("changed::{position}")),
            (SessionSort::Definition, format!("definition:d-4:{position}")),
            (SessionSort::TimeslotEnd, format!("timeslot_end:s-1:{time}")),
            (SessionSort::Observed, "observed:s-1:".to_owned()),
        ];
        for (sort, _) in &cursors {
            for (of, cursor) in &cursors {
                let taken = sort.push_after(cursor, &mut QueryBuilder::new("")).is_ok();
                assert_eq!(taken, sort == of, "{sort:?} {cursor}");
            }
            for foreign in ["", "x", ":::", &format!("{}:d\04:x", sort.as_str()), &format!("{}::x", sort.as_str())] {
                assert!(sort.push_after(foreign, &mut QueryBuilder::new("")).is_err(), "{sort:?} {foreign}");
            }
        }
    }
}
