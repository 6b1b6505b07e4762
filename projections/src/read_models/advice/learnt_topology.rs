//! The topologies that the sessions of a definition showed, one after the other.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::{DefinitionId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::page;
use crate::{Projections, ReadError};

/// Since when the sessions of a definition show the topology that they do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LearntTopologyChange {
    /// The session that showed it first.
    pub session_id: SessionId,
    /// The event of the observation.
    pub event_id: Uuid,
    /// When that was made.
    pub observed_at: DateTime<Utc>,
    /// The position from which on it was known.
    pub position: Position,
}

/// What the rows are called in an alarm.
const LIST: &str = "learnt topologies";

impl Projections {
    /// Since when the newest observed sessions of a definition show another topology than those before. `None`: they always
    /// showed the same, or none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn learnt_topology_change(&self, id: &DefinitionId) -> Result<Option<LearntTopologyChange>, ReadError> {
        let mut query = QueryBuilder::new(page::select("definition_id", "position"));
        query.push(
            "SELECT l.definition_id, l.session_id, l.event_id, l.observed_at, l.position
               FROM read_advice.learnt_topologies l
              WHERE EXISTS (SELECT 1 FROM read_advice.learnt_topologies e
                             WHERE e.definition_id = l.definition_id AND e.position < l.position)
                AND l.definition_id = ",
        );
        query.push_bind(id.to_string()).push(" ORDER BY l.position DESC LIMIT 1) r");
        self.row_of(LIST, query).await
    }
}
