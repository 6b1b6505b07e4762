//! What people hold when they search and what is no id of a page: a port, a node's label, an owner, a request, a piece of
//! an error. One statement a kind, each over a bounded part of its table.

use domain::lablet_session::SessionStatus;
use domain::{SessionId, WorkerId};
use serde::Deserialize;
use sqlx::{Postgres, QueryBuilder};

use super::{SearchDepth, SearchHit, SearchKind, SearchResults};
use crate::page::{self, Listed};
use crate::{Projections, ReadError, stored_ports};

/// Sessions that hold ports whose nodes are looked through, the newest.
const NODES_OF_SESSIONS: i64 = 1_000;
/// Failed requests, and waiting letters, whose reasons are looked through, the newest.
const REASONS: i64 = 5_000;
/// Events that are looked through for a correlation or a cause, the newest. There is no index over either, as every append
/// would pay for it.
pub const EVENTS_LOOKED_THROUGH: i64 = 20_000;
/// Shortest text that is looked for as a correlation: ids of messages are longer than what is typed by hand.
const SHORTEST_CORRELATION: usize = 8;

/// What was found, as Postgres tells it.
#[derive(Deserialize)]
struct Found {
    id: String,
    title: String,
    detail: Option<String>,
    session_id: Option<SessionId>,
    worker_id: Option<WorkerId>,
    /// Whether it is exactly what was searched for.
    exact: bool,
}

impl Projections {
    /// Adds what holds the text, of each kind at most `limit`.
    pub(super) async fn search_what_is_held(
        &self,
        text: &str,
        limit: u32,
        depth: SearchDepth,
        results: &mut SearchResults,
    ) -> Result<(), ReadError> {
        self.add_found(SearchKind::Port, ports(text, limit), limit, results).await?;
        self.add_found(SearchKind::Node, nodes(text, limit), limit, results).await?;
        self.add_found(SearchKind::Owner, owners(text, limit), limit, results).await?;
        if depth.history {
            self.add_found(SearchKind::Request, requests(text, limit), limit, results).await?;
        }
        if depth.dead_letters {
            self.add_found(SearchKind::DeadLetter, letters(text, limit), limit, results).await?;
        }
        if depth.history && text.len() >= SHORTEST_CORRELATION && !text.contains(char::is_whitespace) {
            let named = self.log.newest_naming(text, EVENTS_LOOKED_THROUGH, i64::from(limit) + 1).await?;
            let more = named.len() > limit as usize;
            let hits = named.into_iter().take(limit as usize).map(SearchHit::from);
            // An event that was found by its own id is there already.
            let known: Vec<String> = results.exact.iter().map(|hit| hit.id.clone()).collect();
            results.exact.extend(hits.filter(|hit| !known.contains(&hit.id)));
            if more {
                results.more.push(SearchKind::Event);
            }
        }
        Ok(())
    }

    async fn add_found(
        &self,
        kind: SearchKind,
        query: QueryBuilder<Postgres>,
        limit: u32,
        results: &mut SearchResults,
    ) -> Result<(), ReadError> {
        let found: Listed<Found> = self.list_of("search", query).await?;
        for row in found.unreadable {
            results.add_unreadable(row);
        }
        if found.items.len() > limit as usize {
            results.more.push(kind);
        }
        for Found { id, title, detail, session_id, worker_id, exact } in found.items.into_iter().take(limit as usize) {
            let hit = SearchHit { session_id, worker_id, ..SearchHit::new(kind, id, title, detail) };
            if exact { results.exact.push(hit) } else { results.containing.push(hit) }
        }
        Ok(())
    }
}

/// Ports of sessions that hold them now: with this number, or with a name that contains the text.
fn ports(text: &str, limit: u32) -> QueryBuilder<Postgres> {
    let number = text.parse::<i64>().ok().filter(|number| (1..=65_535).contains(number));
    let holding = SessionStatus::HOLDING_PORTS.map(SessionStatus::as_str);
    let mut query = QueryBuilder::new(page::select("session_id", "session_id"));
    query.push(
        "
                 SELECT h.number::text AS id, h.name AS title,
                        CASE WHEN h.allocated AND h.observed THEN 'allocated and observed'
                             WHEN h.allocated THEN 'allocated' ELSE 'observed' END
                            || coalesce(' on ' || h.worker_id, '') || ', ' || h.status AS detail,
                        h.session_id, h.worker_id, h.exact
                   FROM (
                    SELECT s.id AS session_id, s.worker_id, s.status, s.created_position, p.name, p.number,
                           bool_or(p.allocated) AS allocated, bool_or(NOT p.allocated) AS observed,
                           p.number IS NOT DISTINCT FROM ",
    );
    query.push_bind(number).push(" OR p.name = ").push_bind(text.to_owned());
    query.push(
        " AS exact
                      FROM read_sessions.sessions s
                     CROSS JOIN LATERAL (",
    );
    let of = |column: &str, allocated: bool| {
        let (number, members) = (stored_ports::number("m.value #>> '{}'"), stored_ports::members(column, "m"));
        format!("SELECT m.key AS name, {number} AS number, {allocated} AS allocated FROM {members}")
    };
    query.push(of("s.allocated_ports", true)).push(" UNION ALL ").push(of("s.observed_ports", false));
    query.push(
        ") p
                     WHERE p.number IS NOT NULL AND s.status = ANY(",
    );
    query.push_bind(holding).push(") AND (p.number = ").push_bind(number);
    query.push(" OR lower(p.name) LIKE ").push_bind(page::like(text));
    query.push(
        ")
                     GROUP BY s.id, s.worker_id, s.status, s.created_position, p.name, p.number) h
                  ORDER BY h.exact DESC, h.created_position DESC, h.name LIMIT ",
    );
    query.push_bind(i64::from(limit) + 1).push(") r");
    query
}

/// Nodes, by their labels, of the newest observation of sessions that hold ports now.
fn nodes(text: &str, limit: u32) -> QueryBuilder<Postgres> {
    let holding = SessionStatus::HOLDING_PORTS.map(SessionStatus::as_str);
    let mut query = QueryBuilder::new(page::select("session_id", "session_id"));
    query.push(
        "
                 SELECT n.node_id AS id, n.label AS title, concat_ws(', ', n.node_definition, lower(n.state)) AS detail,
                        s.id AS session_id, s.worker_id, n.label = ",
    );
    query.push_bind(text.to_owned());
    query.push(
        " AS exact
                   FROM (SELECT id, worker_id, observed_event_id, created_position FROM read_sessions.sessions
                          WHERE observed_event_id IS NOT NULL AND status = ANY(",
    );
    query.push_bind(holding).push(") ORDER BY created_position DESC LIMIT ").push_bind(NODES_OF_SESSIONS);
    query.push(
        ") s
                   JOIN read_observations.observation_nodes n ON n.event_id = s.observed_event_id
                  WHERE lower(n.label) LIKE ",
    );
    query.push_bind(page::like(text));
    query.push(" ORDER BY exact DESC, s.created_position DESC, n.ordinal LIMIT ");
    query.push_bind(i64::from(limit) + 1).push(") r");
    query
}

/// Owners, each with how many sessions are theirs.
fn owners(text: &str, limit: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(page::select("id", "id"));
    query.push(
        "
                 SELECT owner_id AS id, 'sessions: ' || count(*) AS title, NULL AS detail, NULL AS session_id,
                        NULL AS worker_id, owner_id = ",
    );
    query.push_bind(text.to_owned()).push(" AS exact FROM read_sessions.sessions WHERE search LIKE ");
    query.push_bind(page::like(text)).push(" AND lower(owner_id) LIKE ").push_bind(page::like(text));
    query.push(" GROUP BY owner_id ORDER BY exact DESC, count(*) DESC, owner_id LIMIT ");
    query.push_bind(i64::from(limit) + 1).push(") r");
    query
}

/// Requests for observations with this id, and failed ones whose reason contains the text.
fn requests(text: &str, limit: u32) -> QueryBuilder<Postgres> {
    let columns =
        "request_id AS id, outcome || coalesce(': ' || reason, '') AS title, requested_by AS detail, session_id,
                        worker_id, created_position";
    let mut query = QueryBuilder::new(page::select("id", "id"));
    query.push(format!(
        "
                 SELECT id, title, detail, session_id, worker_id, exact FROM (
                  SELECT {columns}, true AS exact FROM read_observation_requests.observation_requests
                   WHERE request_id = "
    ));
    query.push_bind(text.to_owned());
    query.push(format!(
        "
                   UNION ALL
                  (SELECT {columns}, false FROM (
                      SELECT * FROM read_observation_requests.observation_requests WHERE outcome = 'failed'
                       ORDER BY created_position DESC LIMIT "
    ));
    query.push_bind(REASONS).push(") failed WHERE lower(reason) LIKE ").push_bind(page::like(text));
    query.push(" ORDER BY created_position DESC LIMIT ").push_bind(i64::from(limit) + 1);
    query.push(")) found ORDER BY exact DESC, created_position DESC LIMIT ");
    query.push_bind(i64::from(limit) + 1).push(") r");
    query
}

/// Dead letters that wait, whose reason contains the text.
fn letters(text: &str, limit: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(page::select("id", "id"));
    query.push(
        "
                 SELECT id::text AS id, reason AS title, kind || ', ' || source AS detail, NULL AS session_id,
                        NULL AS worker_id, id::text = ",
    );
    query.push_bind(text.to_lowercase());
    query.push(
        " AS exact FROM (SELECT id, reason, kind, source, last_seen_at FROM public.dead_letters WHERE status = 'waiting'
                          ORDER BY last_seen_at DESC LIMIT ",
    );
    query.push_bind(REASONS).push(") waiting WHERE lower(reason) LIKE ").push_bind(page::like(text));
    query.push(" OR id::text = ").push_bind(text.to_lowercase());
    query.push(" ORDER BY exact DESC, last_seen_at DESC LIMIT ").push_bind(i64::from(limit) + 1).push(") r");
    query
}
