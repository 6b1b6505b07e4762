//! The fleet as it was at an earlier position: the sessions that had ended there, in the order of the log.

use std::collections::{BTreeMap, HashMap};

use advice::evidence::{KindRuns, SessionEvidence};
use advice::fleet::{Exclusion, Fleet, SessionSteps};
use advice::topology::Topology;
use app::log::Position;
use chrono::{DateTime, Utc};
use domain::demand::ByResource;
use domain::phases::Phases;
use domain::{DefinitionId, Invalid, SessionId};
use serde::Deserialize;
use sqlx::QueryBuilder;
use sqlx::postgres::PgConnection;

use super::session::DEMAND_COLUMNS;
use crate::page;
use crate::{Projections, ReadError};

/// Most sessions that are gone through again.
const MOST_SESSIONS: i64 = 200_000;
/// Sessions that are read at a time.
const PAGE: i64 = 500;

/// Refuses to go through more sessions again than a request may take.
fn check_replayed(sessions: i64) -> Result<(), Invalid> {
    if sessions <= MOST_SESSIONS {
        return Ok(());
    }
    let expected = format!("a position with at most {MOST_SESSIONS} sessions before it, or none for the newest");
    Err(Invalid::new("as_of", "lies behind too many sessions", expected))
}

/// What the rows are called in an alarm.
const SESSIONS: &str = "session evidence";

/// A session that had ended.
#[derive(Deserialize)]
struct Ended {
    session_id: SessionId,
    definition_id: DefinitionId,
    ended_at: DateTime<Utc>,
    topology: Topology,
    kinds: Vec<KindRuns>,
    cpu_cores: Option<f64>,
    memory_mb: Option<f64>,
    storage_mb: Option<f64>,
    /// What was said of its evidence up to the position, in order.
    changes: Vec<(Position, bool)>,
    ended_position: Position,
}

/// A session whose evidence was excluded, or included again, at some time.
struct Changed {
    evidence: SessionEvidence,
    steps: SessionSteps,
    exclusion: Option<Exclusion>,
}

/// The fleet while sessions are gone through again.
#[derive(Default)]
struct Replay {
    fleet: Fleet,
    changed: HashMap<SessionId, Changed>,
    /// What is to happen to sessions that ended: whether they are excluded from a position on.
    pending: BTreeMap<Position, (SessionId, bool)>,
}

impl Replay {
    /// Excludes and includes what was excluded and included up to a position.
    fn go_to(&mut self, position: Position) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= position) {
            let (session_id, excluded) = entry.remove();
            let Some(session) = self.changed.get_mut(&session_id) else { continue };
            match (excluded, session.exclusion.take()) {
                (true, None) => session.exclusion = Some(self.fleet.exclude(&session.evidence, &session.steps)),
                (false, Some(exclusion)) => self.fleet.restore(&session.evidence, &session.steps, &exclusion),
                (_, as_it_is) => session.exclusion = as_it_is,
            }
        }
    }

    fn end(&mut self, ended: Ended) {
        self.go_to(ended.ended_position);
        let evidence = SessionEvidence {
            session_id: ended.session_id,
            definition_id: ended.definition_id,
            ended_at: ended.ended_at,
            topology: ended.topology,
            demand: ByResource { cpu_cores: ended.cpu_cores, memory_mb: ended.memory_mb, storage_mb: ended.storage_mb },
            nodes: ended.kinds,
        };
        let steps = self.fleet.advance(&evidence);
        if ended.changes.is_empty() {
            return;
        }
        let before = ended.changes.iter().rev().find(|(position, _)| *position < ended.ended_position);
        let exclusion = before.filter(|(_, excluded)| *excluded).map(|_| self.fleet.exclude(&evidence, &steps));
        for (position, excluded) in ended.changes.iter().filter(|(position, _)| *position > ended.ended_position) {
            self.pending.insert(*position, (evidence.session_id.clone(), *excluded));
        }
        self.changed.insert(evidence.session_id.clone(), Changed { evidence, steps, exclusion });
    }
}

impl Projections {
    /// The fleet of these phases as it was at a position.
    pub(super) async fn fleet_at(
        &self,
        connection: &mut PgConnection,
        as_of: Position,
        phases: Phases,
    ) -> Result<Fleet, ReadError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT 1 FROM read_advice.sessions WHERE ended_position <= $1 LIMIT $2) s",
        )
        .bind(as_of.to_string())
        .bind(MOST_SESSIONS + 1)
        .fetch_one(&mut *connection)
        .await?;
        check_replayed(count).map_err(ReadError::Invalid)?;
        let ByResource { cpu_cores, memory_mb, storage_mb } = phases.part(&DEMAND_COLUMNS);
        let kinds = if phases.include_boot() { "coalesce(s.kinds_with_boot, s.kinds)" } else { "s.kinds" };
        let mut replay = Replay::default();
        let mut after = Position::START;
        loop {
            let mut query = QueryBuilder::new(page::select("session_id", "ended_position"));
            query.push(format!(
                "SELECT s.session_id, s.definition_id, s.ended_at, s.topology, {kinds} AS kinds, s.{cpu_cores} AS cpu_cores,
                        s.{memory_mb} AS memory_mb, s.{storage_mb} AS storage_mb, s.ended_position,
                        coalesce((SELECT json_agg(json_build_array(x.position, x.excluded) ORDER BY x.position)
                                    FROM read_advice.exclusions x
                                   WHERE x.session_id = s.session_id AND x.position <= $1), '[]') AS changes
                   FROM read_advice.sessions s WHERE s.ended_position <= "
            ));
            query.push_bind(as_of.to_string()).push(" AND s.ended_position > ").push_bind(after.to_string());
            query.push(" ORDER BY s.ended_position LIMIT ").push_bind(PAGE).push(") r");
            let rows = super::recommendation::all(self.rows_over(&mut *connection, SESSIONS, query).await?)?;
            let Some(last) = rows.last().map(|row: &Ended| row.ended_position) else { break };
            rows.into_iter().for_each(|ended| replay.end(ended));
            after = last;
        }
        replay.go_to(as_of);
        Ok(replay.fleet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_thousand_sessions_are_gone_through_again_and_one_more_is_refused() {
        assert_eq!(check_replayed(200_000), Ok(()));
        let refused = check_replayed(200_001).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "as_of lies behind too many sessions; expected a position with at most 200000 sessions before it, or none for \
             the newest"
        );
    }
}
