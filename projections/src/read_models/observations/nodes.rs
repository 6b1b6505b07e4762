//! The nodes of an observation, page by page, and one of them in full.
//!
//! An observation of 300 nodes weighs half a megabyte. Its rows hold what a table shows; interfaces and tags stay in the
//! event, from which one node at a time is taken.

use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::observation::NodeObservation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use uuid::Uuid;

use crate::page::{self, Page, PageRequest};
use crate::{Projections, ReadError};

/// Which nodes are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Of this observation; none: of the session's newest.
    pub observation: Option<Uuid>,
    /// Whose id, label, definition, image or state contains this, in whatever case.
    pub text: Option<String>,
}

/// Nodes of one observation of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionNodes {
    /// The observation; null: there is none.
    pub observation: Option<NodesSource>,
    /// How many of its listed nodes are asked for, on all pages together.
    pub matching: u64,
    /// The nodes of this page, in the order of the observation.
    #[serde(flatten)]
    pub page: Page<NodeRow>,
}

/// The observation whose nodes are listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodesSource {
    /// Its event.
    pub event_id: Uuid,
    /// When the lab was read.
    pub observed_at: DateTime<Utc>,
    /// Number of nodes of the lab; null: unknown. May be more than are listed.
    pub node_count: Option<u64>,
    /// Whether it saw everything; null: its sender did not say.
    pub complete: Option<bool>,
}

/// One node as a table shows it. Null is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRow {
    /// Its place in the observation, from 0.
    pub ordinal: u32,
    /// CML's id.
    pub node_id: String,
    /// Its label, which may be blank.
    pub label: String,
    /// E.g. `iosv`.
    pub node_definition: String,
    /// Image in use.
    pub image_definition: Option<String>,
    /// E.g. `BOOTED`.
    pub state: Option<String>,
    /// Number of virtual CPUs.
    pub cpus: Option<u64>,
    /// Percentage of each virtual CPU.
    pub cpu_limit_percent: Option<u64>,
    /// Nominal cores.
    pub nominal_cpu_cores: Option<f64>,
    /// Nominal MB of memory.
    pub nominal_memory_mb: Option<f64>,
    /// CPU in use as CML states it: a percentage that may exceed 100.
    pub used_cpu_percent: Option<f64>,
    /// Cores in use.
    pub used_cpu_cores: Option<f64>,
    /// MB of memory in use.
    pub used_memory_mb: Option<f64>,
    /// MB on disk.
    pub used_storage_mb: Option<f64>,
    /// Bytes read from the first disk since the node started.
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to the first disk since the node started.
    pub disk_written_bytes: Option<u64>,
    /// Seconds since the node had booted.
    pub booted_seconds: Option<u64>,
}

/// One node in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDetail {
    /// The event of the observation.
    pub event_id: Uuid,
    /// When the lab was read.
    pub observed_at: DateTime<Utc>,
    /// Its place in the observation, from 0.
    pub ordinal: u32,
    /// The node with its interfaces and tags.
    pub node: NodeObservation,
}

const COLUMNS: &str = "ordinal, node_id, label, node_definition, image_definition, state, cpus, cpu_limit_percent,
    nominal_cpu_cores, nominal_memory_mb, used_cpu_percent, used_cpu_cores, used_memory_mb, used_storage_mb,
    disk_read_bytes, disk_written_bytes, booted_seconds";

/// Where in an observation a node is found.
#[derive(Deserialize)]
struct NodePlace {
    event_id: Uuid,
    ordinal: u32,
}

impl Projections {
    /// Nodes of a session's newest observation, or of the one that the filter names. Pages after the first stay with
    /// the observation of the first, however many were made meanwhile.
    ///
    /// # Errors
    /// The cursor is none of this list's, or the database does not answer.
    pub async fn session_nodes(
        &self,
        id: &SessionId,
        filter: &NodeFilter,
        request: &PageRequest,
    ) -> Result<SessionNodes, ReadError> {
        let after = match &request.cursor {
            None => None,
            Some(cursor) => {
                let parts = cursor.split_once(':').and_then(|(event_id, ordinal)| {
                    Some((event_id.parse::<Uuid>().ok()?, ordinal.parse::<i32>().ok()?))
                });
                Some(parts.ok_or_else(|| ReadError::Invalid(page::bad_cursor()))?)
            }
        };
        let observation = after.map(|(event_id, _)| event_id).or(filter.observation);
        let source = match self.nodes_source(id, observation).await {
            Err(ReadError::Unreadable { row, .. }) => {
                let page = Page { unreadable: vec![row], ..Page::empty() };
                return Ok(SessionNodes { observation: None, matching: 0, page });
            }
            source => source?,
        };
        let Some(source) = source else {
            return Ok(SessionNodes { observation: None, matching: 0, page: Page::empty() });
        };
        let restrict = |query: &mut QueryBuilder<_>| {
            query.push(" FROM read_observations.observation_nodes WHERE event_id = ").push_bind(source.event_id);
            if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
                query
                    .push(" AND lower(concat_ws(' ', node_id, label, node_definition, image_definition, state)) LIKE ");
                query.push_bind(page::like(text));
            }
        };
        let mut counting = QueryBuilder::new("SELECT count(*)");
        restrict(&mut counting);
        let matching: i64 = counting.build_query_scalar().fetch_one(&self.reads).await?;
        let mut query = QueryBuilder::new(page::select("node_id", "cursor"));
        query.push(format!("SELECT event_id || ':' || ordinal AS cursor, {COLUMNS}"));
        restrict(&mut query);
        if let Some((_, ordinal)) = after {
            query.push(" AND ordinal > ").push_bind(ordinal);
        }
        query.push(" ORDER BY ordinal LIMIT ").push_bind(request.fetch()).push(") r");
        let page = self.page_of("observation_nodes", query, request).await?;
        Ok(SessionNodes { matching: matching.unsigned_abs(), page, observation: Some(source) })
    }

    /// One node in full, of a session's newest observation or of the one named.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn session_node(
        &self,
        id: &SessionId,
        observation: Option<Uuid>,
        node_id: &str,
    ) -> Result<Option<NodeDetail>, ReadError> {
        let Some(source) = self.nodes_source(id, observation).await? else { return Ok(None) };
        let mut query = QueryBuilder::new(page::select("event_id", "ordinal"));
        query.push(
            "SELECT event_id, ordinal
               FROM read_observations.observation_nodes WHERE event_id = ",
        );
        query.push_bind(source.event_id).push(" AND node_id = ").push_bind(node_id.to_owned());
        query.push(" ORDER BY ordinal LIMIT 1) r");
        let place = self.row_of("observation_nodes", query).await?;
        let Some(NodePlace { event_id, ordinal }) = place else { return Ok(None) };
        let Some(node) = self.observed_part(event_id, &["nodes", &ordinal.to_string()]).await? else { return Ok(None) };
        Ok(Some(NodeDetail { event_id, observed_at: source.observed_at, ordinal, node }))
    }

    /// The session's newest observation, or the one named if it is the session's.
    async fn nodes_source(&self, id: &SessionId, event_id: Option<Uuid>) -> Result<Option<NodesSource>, ReadError> {
        let mut query = QueryBuilder::new(page::select("event_id", "event_id"));
        query.push(
            "SELECT o.event_id, o.observed_at, o.node_count, o.complete
               FROM read_observations.observations o WHERE o.session_id = ",
        );
        query.push_bind(id.as_str().to_owned()).push(" AND o.event_id = ");
        match event_id {
            Some(event_id) => query.push_bind(event_id),
            None => query
                .push("(SELECT s.observed_event_id FROM read_observations.observed_sessions s WHERE s.session_id = ")
                .push_bind(id.as_str().to_owned())
                .push(")"),
        };
        query.push(") r");
        self.row_of("observations", query).await
    }
}
