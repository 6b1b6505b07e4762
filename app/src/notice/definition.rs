//! Notices about definitions.

use chrono::{DateTime, Utc};
use domain::lablet_definition::{DefinitionContent, DefinitionVersion, LabletDefinitionEvent, ResourceRequirements};
use domain::{DefinitionId, EventId};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Draft, Notice, NoticeError, NoticeSchema};

/// A definition began to exist, at revision 1.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DefinitionCreated {
    /// The definition.
    pub definition_id: DefinitionId,
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// What it needs.
    pub resource_requirements: ResourceRequirements,
    /// Ports and description; absent where they are too large for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<DefinitionContent>,
    /// Number of nodes; null where the author does not state it.
    pub node_count: Option<u32>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A definition's content changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DefinitionRevised {
    /// The definition.
    pub definition_id: DefinitionId,
    /// The new revision, counted from 1.
    pub revision: u32,
    /// What it needs from now on.
    pub resource_requirements: ResourceRequirements,
    /// The content before; absent where it is too large for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<DefinitionContent>,
    /// The content from now on; absent where it is too large for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<DefinitionContent>,
    /// Why.
    pub reason: String,
    /// The events that it rests on; absent where they are too many for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<EventId>>,
    /// Who.
    pub revised_by: String,
    /// When.
    pub revised_at: DateTime<Utc>,
}

/// What is left of a notice whose data does not fit even as a summary.
#[derive(Serialize)]
struct DefinitionIds {
    definition_id: DefinitionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
}

pub(super) fn announce(event: LabletDefinitionEvent, draft: &Draft<'_>) -> Result<Notice, NoticeError> {
    match event {
        LabletDefinitionEvent::Created { definition_id, name, version, content, node_count, created_at } => {
            let created = DefinitionCreated {
                definition_id,
                name,
                version,
                resource_requirements: content.resource_requirements,
                content: Some(content),
                node_count,
                created_at,
            };
            let ids =
                |created: DefinitionCreated| DefinitionIds { definition_id: created.definition_id, revision: None };
            draft.largest_that_fits(created_at, created, |created| created.content = None, ids)
        }
        LabletDefinitionEvent::Revised {
            definition_id,
            revision,
            before,
            after,
            reason,
            evidence,
            revised_by,
            revised_at,
        } => {
            let revised = DefinitionRevised {
                definition_id,
                revision,
                resource_requirements: after.resource_requirements,
                before: Some(before),
                after: Some(after),
                reason,
                evidence: Some(evidence),
                revised_by,
                revised_at,
            };
            let shorten = |revised: &mut DefinitionRevised| {
                (revised.before, revised.after, revised.evidence) = (None, None, None);
            };
            let ids = |revised: DefinitionRevised| DefinitionIds {
                definition_id: revised.definition_id,
                revision: Some(revised.revision),
            };
            draft.largest_that_fits(revised_at, revised, shorten, ids)
        }
    }
}

pub(super) fn schemas() -> Vec<NoticeSchema> {
    fn schema<T: JsonSchema>(event_type: &'static str, says: &'static str) -> NoticeSchema {
        NoticeSchema { event_type, event_version: "1", says, schema: |generator| generator.root_schema_for::<T>() }
    }
    vec![
        schema::<DefinitionCreated>("lablet_definition.created", "A definition began to exist, at revision 1."),
        schema::<DefinitionRevised>("lablet_definition.revised", "A definition's content changed."),
    ]
}
