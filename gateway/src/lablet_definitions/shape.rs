//! What the answer to a write says about a definition.

use app::log::Position;
use chrono::{DateTime, Utc};
use domain::DefinitionId;
use domain::lablet_definition::{DefinitionContent, DefinitionVersion, PresentDefinition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::version::etag;

/// A definition as it is after a write.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WrittenDefinition {
    /// The definition.
    pub(crate) id: DefinitionId,
    /// Its name.
    pub(crate) name: String,
    /// The author's version.
    pub(crate) version: DefinitionVersion,
    /// Counted from 1, raised by each revision.
    pub(crate) revision: u32,
    /// Requirements, port template and description.
    #[serde(flatten)]
    pub(crate) content: DefinitionContent,
    /// Number of nodes, where the author states it.
    pub(crate) node_count: Option<u32>,
    /// When it was created.
    pub(crate) created_at: DateTime<Utc>,
    /// When it was last revised or created.
    pub(crate) updated_at: DateTime<Utc>,
    /// Where in the log the write is. A read that names it waits until the read models are there.
    pub(crate) position: Position,
    /// The definition's version, for `If-Match`.
    pub(crate) etag: String,
}

impl WrittenDefinition {
    /// The definition in this version, at `position`.
    pub(crate) fn new(definition: &PresentDefinition, version: i64, position: Position) -> Self {
        Self {
            id: definition.id.clone(),
            name: definition.name.clone(),
            version: definition.version.clone(),
            revision: definition.revision,
            content: definition.content.clone(),
            node_count: definition.node_count,
            created_at: definition.created_at,
            updated_at: definition.updated_at,
            position,
            etag: etag(version),
        }
    }
}
