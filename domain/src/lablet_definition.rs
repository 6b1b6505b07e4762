//! A lab's definition: what it is thought to need and which ports it exposes.
//!
//! Its numbers are guesses until the lab has run. A revision replaces them, with who, why and the evidence.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::{self, Decide, Decision};
use crate::ids::{DefinitionId, EventId};
use crate::invalid::Invalid;
use crate::list::List;
use crate::number::Whole;
use crate::observation::NodeCount;
use crate::ports::{MOST_PORTS, PortName};
use crate::text::{Line, Prose, Rule};

/// The author's version.
const VERSION: Rule = Rule::line(1, LONGEST_VERSION);
const LONGEST_VERSION: usize = 64;
/// Most events that a revision rests on.
const MOST_EVIDENCE: usize = 1_000;

/// What a lab needs as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRequirements {
    /// Whole cores, at least 1.
    pub cpu_cores: Whole<u32, 1, 10_000>,
    /// Whole GB of memory, at least 1.
    pub memory_gb: Whole<u32, 1, 1_000_000>,
    /// Whole GB of storage, at least 1.
    pub storage_gb: Whole<u32, 1, 10_000_000>,
}

/// One port that a lab exposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortTemplateEntry {
    /// Compatible name, e.g. `PC_serial`.
    pub name: PortName,
    /// E.g. `serial`, `vnc`, `tcp`, `ssh`.
    pub protocol: Line<1, 32>,
}

/// The ports that a lab exposes. Names are unique.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "UncheckedPortTemplate")]
pub struct PortTemplate {
    /// The ports, in the author's order.
    #[serde(default)]
    ports: List<PortTemplateEntry, MOST_PORTS>,
}

#[derive(Deserialize)]
struct UncheckedPortTemplate {
    #[serde(default)]
    ports: List<PortTemplateEntry, MOST_PORTS>,
}

impl PortTemplate {
    /// The ports, in the author's order.
    pub fn ports(&self) -> &[PortTemplateEntry] {
        &self.ports
    }
}

impl TryFrom<UncheckedPortTemplate> for PortTemplate {
    type Error = Invalid;
    fn try_from(UncheckedPortTemplate { ports }: UncheckedPortTemplate) -> Result<Self, Invalid> {
        let mut names = BTreeSet::new();
        for (index, port) in ports.iter().enumerate() {
            if !names.insert(&port.name) {
                let problem = format!("repeats {:?}", port.name.as_str());
                return Err(Invalid::new(format!("ports[{index}].name"), problem, "each name once"));
            }
        }
        Ok(Self { ports })
    }
}

/// The version that a definition's author gives it, e.g. `1.2.0`. A number is taken as its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct DefinitionVersion(String);

impl DefinitionVersion {
    /// Parses a version.
    ///
    /// # Errors
    /// [`Invalid`] (with an empty field) when it is empty or blank, longer than 64 characters or holds control characters.
    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        VERSION.check(&text)?;
        Ok(Self(text))
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for DefinitionVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a version: a text such as \"1.0\" or a whole number")]
        enum TextOrNumber {
            Text(String),
            Number(u64),
        }
        let text = match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Text(text) => text,
            TextOrNumber::Number(number) => number.to_string(),
        };
        Self::parse(text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DefinitionVersion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DefinitionVersion".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        if generator.contract().is_serialize() {
            return VERSION.schema();
        }
        schemars::json_schema!({
            "type": ["string", "integer"], "minLength": 1, "maxLength": LONGEST_VERSION, "pattern": VERSION.pattern(),
            "minimum": 0, "maximum": u64::MAX
        })
    }
}

/// A new definition, as it arrives over HTTP or NATS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewDefinition {
    /// Minted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DefinitionId>,
    /// What people call it.
    pub name: Line<1, 128>,
    /// The author's version.
    pub version: DefinitionVersion,
    /// What it needs.
    pub resource_requirements: ResourceRequirements,
    /// Which ports it exposes.
    #[serde(default)]
    pub port_template: PortTemplate,
    /// Number of nodes, where the author states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_count: Option<NodeCount>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Prose<0, 4_000>>,
}

/// A revision, as it arrives over HTTP or NATS. What is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionRevision {
    /// New requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_requirements: Option<ResourceRequirements>,
    /// New port template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_template: Option<PortTemplate>,
    /// New description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Prose<0, 4_000>>,
    /// Why.
    pub reason: Prose<1, 2_000>,
    /// The events that it rests on.
    #[serde(default)]
    pub evidence: List<EventId, MOST_EVIDENCE>,
}

/// The part of a definition that a revision changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionContent {
    /// What it needs.
    pub resource_requirements: ResourceRequirements,
    /// Which ports it exposes.
    pub port_template: PortTemplate,
    /// What it is about.
    #[serde(default)]
    pub description: Option<String>,
}

/// A command to a definition.
#[derive(Debug, Clone, PartialEq)]
pub enum LabletDefinitionCommand {
    /// Begin to exist.
    Create {
        /// The definition's own id.
        id: DefinitionId,
        /// Its content; `new.id` is not looked at.
        new: NewDefinition,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Change its content.
    Revise {
        /// What changes, and why.
        revision: DefinitionRevision,
        /// Who revises, e.g. `admin:ada`.
        revised_by: String,
        /// The time.
        now: DateTime<Utc>,
    },
}

/// What happened to a definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum LabletDefinitionEvent {
    /// It began to exist, at revision 1.
    #[serde(rename = "lablet_definition.created.v1")]
    Created {
        /// The definition.
        definition_id: DefinitionId,
        /// Its name.
        name: String,
        /// The author's version.
        version: DefinitionVersion,
        /// Its content.
        #[serde(flatten)]
        content: DefinitionContent,
        /// Number of nodes, where the author states it.
        #[serde(default)]
        node_count: Option<u32>,
        /// When.
        created_at: DateTime<Utc>,
    },
    /// Its content changed.
    #[serde(rename = "lablet_definition.revised.v1")]
    Revised {
        /// The definition.
        definition_id: DefinitionId,
        /// The new revision, counted from 1.
        revision: u32,
        /// The content before.
        before: DefinitionContent,
        /// The content from now on.
        after: DefinitionContent,
        /// Why.
        reason: String,
        /// The events that it rests on.
        evidence: Vec<EventId>,
        /// Who.
        revised_by: String,
        /// When.
        revised_at: DateTime<Utc>,
    },
}

impl DomainEvent for LabletDefinitionEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created { .. } => "lablet_definition.created",
            Self::Revised { .. } => "lablet_definition.revised",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        match self {
            Self::Created { .. } | Self::Revised { .. } => "1",
        }
        .to_owned()
    }
}

/// Why a definition refused a command.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabletDefinitionError {
    /// The input is no valid content.
    #[error("{0}")]
    Invalid(Invalid),
    /// There is no such definition.
    #[error("the definition does not exist")]
    Absent,
    /// Another definition has this id.
    #[error("a definition with the id {id} exists already with other content")]
    Exists {
        /// The id.
        id: DefinitionId,
    },
}

impl From<Invalid> for LabletDefinitionError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// State of a definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum LabletDefinition {
    /// It does not exist.
    #[default]
    Absent,
    /// It exists.
    Present(PresentDefinition),
}

/// A definition that exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresentDefinition {
    /// Its id.
    pub id: DefinitionId,
    /// Its name.
    pub name: String,
    /// The author's version.
    pub version: DefinitionVersion,
    /// Counted from 1, raised by each revision.
    pub revision: u32,
    /// Its content now.
    pub content: DefinitionContent,
    /// Number of nodes, where the author states it.
    pub node_count: Option<u32>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last revised or created.
    pub updated_at: DateTime<Utc>,
}

impl LabletDefinition {
    /// The definition, where it exists.
    pub fn present(&self) -> Option<&PresentDefinition> {
        match self {
            Self::Absent => None,
            Self::Present(definition) => Some(definition),
        }
    }
}

impl NewDefinition {
    fn content(&self) -> DefinitionContent {
        DefinitionContent {
            resource_requirements: self.resource_requirements,
            port_template: self.port_template.clone(),
            description: self.description.clone().map(String::from),
        }
    }
}

impl DefinitionRevision {
    fn changes_nothing(&self) -> bool {
        self.resource_requirements.is_none() && self.port_template.is_none() && self.description.is_none()
    }
}

impl Decide for LabletDefinition {
    const SNAPSHOT_SHAPE: i32 = 1;

    fn weight(&self) -> usize {
        /// A port with the longest names that are usual.
        const PORT: usize = size_of::<PortTemplateEntry>() + 96;
        let Self::Present(definition) = self else { return size_of::<Self>() };
        let content = &definition.content;
        size_of::<Self>()
            + definition.name.len()
            + content.description.as_ref().map_or(0, String::len)
            + content.port_template.ports().len() * PORT
    }

    fn decide(
        &self,
        command: LabletDefinitionCommand,
    ) -> Result<Decision<LabletDefinitionEvent>, LabletDefinitionError> {
        match command {
            LabletDefinitionCommand::Create { id, new, now } => {
                let content = new.content();
                if let Self::Present(present) = self {
                    let same = present.revision == 1
                        && present.content == content
                        && present.name == new.name.as_str()
                        && present.version == new.version
                        && present.node_count == new.node_count.map(Whole::get);
                    return if same { Ok(Decision::AlreadyDone) } else { Err(LabletDefinitionError::Exists { id }) };
                }
                Ok(Decision::one(LabletDefinitionEvent::Created {
                    definition_id: id,
                    name: new.name.into(),
                    version: new.version,
                    content,
                    node_count: new.node_count.map(Whole::get),
                    created_at: now,
                }))
            }
            LabletDefinitionCommand::Revise { revision, revised_by, now } => {
                let present = self.present().ok_or(LabletDefinitionError::Absent)?;
                if revision.changes_nothing() {
                    let problem = "is absent, and so are port_template and description";
                    return Err(Invalid::new("resource_requirements", problem, "at least one of the three").into());
                }
                let after = DefinitionContent {
                    resource_requirements: revision
                        .resource_requirements
                        .unwrap_or(present.content.resource_requirements),
                    port_template: revision.port_template.unwrap_or_else(|| present.content.port_template.clone()),
                    description: revision.description.map(String::from).or_else(|| present.content.description.clone()),
                };
                if after == present.content {
                    return Ok(Decision::AlreadyDone);
                }
                Ok(Decision::one(LabletDefinitionEvent::Revised {
                    definition_id: present.id.clone(),
                    revision: present.revision + 1,
                    before: present.content.clone(),
                    after,
                    reason: revision.reason.into(),
                    evidence: revision.evidence.into(),
                    revised_by,
                    revised_at: now,
                }))
            }
        }
    }
}

impl Aggregate for LabletDefinition {
    const TYPE: &'static str = "lablet_definition";
    type Command = LabletDefinitionCommand;
    type Event = LabletDefinitionEvent;
    type Error = LabletDefinitionError;
    type Services = ();

    async fn handle(&mut self, command: Self::Command, (): &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        decision::handle(self, command, sink).await
    }

    fn apply(&mut self, event: LabletDefinitionEvent) {
        match event {
            LabletDefinitionEvent::Created { definition_id, name, version, content, node_count, created_at } => {
                *self = Self::Present(PresentDefinition {
                    id: definition_id,
                    name,
                    version,
                    revision: 1,
                    content,
                    node_count,
                    created_at,
                    updated_at: created_at,
                });
            }
            LabletDefinitionEvent::Revised { revision, after, revised_at, .. } => {
                if let Self::Present(present) = self {
                    present.revision = revision;
                    present.content = after;
                    present.updated_at = revised_at;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use serde_json::json;

    use super::*;

    type Given = TestFramework<LabletDefinition>;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_772_000_000, 0).unwrap()
    }

    fn id() -> DefinitionId {
        DefinitionId::parse("ospf-basics").unwrap()
    }

    fn new() -> NewDefinition {
        serde_json::from_value(json!({
            "name": "OSPF basics", "version": "1.0",
            "resource_requirements": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 20},
            "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]}
        }))
        .unwrap()
    }

    fn created() -> LabletDefinitionEvent {
        LabletDefinitionEvent::Created {
            definition_id: id(),
            name: "OSPF basics".into(),
            version: DefinitionVersion::parse("1.0").unwrap(),
            content: new().content(),
            node_count: None,
            created_at: now(),
        }
    }

    fn revise(value: serde_json::Value) -> LabletDefinitionCommand {
        LabletDefinitionCommand::Revise {
            revision: serde_json::from_value(value).unwrap(),
            revised_by: "admin:ada".into(),
            now: now(),
        }
    }

    #[test]
    fn a_new_definition_is_created_once() {
        let create = LabletDefinitionCommand::Create { id: id(), new: new(), now: now() };
        Given::with(()).given_no_previous_events().when(create.clone()).then_expect_events(vec![created()]);
        Given::with(()).given(vec![created()]).when(create).then_expect_events(vec![]);
        let mut other = new();
        other.name = Line::parse("Another").unwrap();
        Given::with(())
            .given(vec![created()])
            .when(LabletDefinitionCommand::Create { id: id(), new: other, now: now() })
            .then_expect_error(LabletDefinitionError::Exists { id: id() });
    }

    #[test]
    fn requirements_are_at_least_one() {
        for field in ["cpu_cores", "memory_gb", "storage_gb"] {
            let mut wire = serde_json::to_value(new()).unwrap();
            wire["resource_requirements"][field] = json!(0);
            let refused = serde_path_to_error::deserialize::<_, NewDefinition>(wire).unwrap_err();
            assert_eq!(refused.path().to_string(), format!("resource_requirements.{field}"));
        }
    }

    #[test]
    fn a_port_name_stands_once() {
        let port = json!({"name": "PC_serial", "protocol": "serial"});
        let refused = serde_json::from_value::<PortTemplate>(json!({"ports": [port, port]})).unwrap_err().to_string();
        assert_eq!(refused, "ports[1].name repeats \"PC_serial\"; expected each name once");
    }

    #[test]
    fn a_revision_keeps_before_after_reason_and_evidence() {
        let mut after = new().content();
        after.resource_requirements.memory_gb = Whole::new(12).unwrap();
        Given::with(())
            .given(vec![created()])
            .when(revise(json!({
                "resource_requirements": {"cpu_cores": 4, "memory_gb": 12, "storage_gb": 20},
                "reason": "three sessions used 11 GB", "evidence": ["019b2c1e-0000-7000-8000-000000000001"]
            })))
            .then_expect_events(vec![LabletDefinitionEvent::Revised {
                definition_id: id(),
                revision: 2,
                before: new().content(),
                after,
                reason: "three sessions used 11 GB".into(),
                evidence: vec![EventId::parse("019b2c1e-0000-7000-8000-000000000001").unwrap()],
                revised_by: "admin:ada".into(),
                revised_at: now(),
            }]);
    }

    #[test]
    fn a_revision_that_changes_nothing_is_already_done_and_an_empty_one_is_refused() {
        Given::with(())
            .given(vec![created()])
            .when(revise(
                json!({"resource_requirements": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 20}, "reason": "same"}),
            ))
            .then_expect_events(vec![]);
        let refused =
            Given::with(()).given(vec![created()]).when(revise(json!({"reason": "nothing"}))).inspect_result();
        assert!(matches!(refused, Err(LabletDefinitionError::Invalid(_))));
        Given::with(())
            .given_no_previous_events()
            .when(revise(json!({"description": "x", "reason": "y"})))
            .then_expect_error(LabletDefinitionError::Absent);
    }

    #[test]
    fn a_version_may_be_a_number() {
        assert_eq!(serde_json::from_str::<DefinitionVersion>("3").unwrap().as_str(), "3");
        assert!(serde_json::from_str::<DefinitionVersion>("\"\"").is_err());
        assert!(DefinitionVersion::parse("1\n2").is_err());
        assert!(serde_json::from_str::<DefinitionVersion>("[]").unwrap_err().to_string().contains("a version"));
    }
}
