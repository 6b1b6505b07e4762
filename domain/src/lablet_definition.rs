//! A lab's definition: what it is thought to need and which ports it exposes.
//!
//! Its numbers are guesses until the lab has run. A revision replaces them, with who, why and the evidence.

mod event;
mod proposal;
mod proposals;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::event::LabletDefinitionEvent;
pub use self::proposal::{
    Finding, NewProposal, NewVerification, Proposal, ProposalKind, ProposalStatus, ProposalStep, Verification,
};
pub use self::proposals::{AppliedProposal, CurrentProposal, FailedProposal, ProposalCommand, Proposals};
use crate::advice_policy::{Applier, NewPolicy, SetPolicy};
use crate::decision::{self, Decide, Decision};
use crate::ids::{DefinitionId, EventId, ProposalId};
use crate::invalid::Invalid;
use crate::lab_topology::{AlikeNodes, LabTopology};
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
    /// Which nodes its lab has; absent: what its sessions show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<LabTopology>,
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
    /// New topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<LabTopology>,
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
    /// Which nodes its lab has; absent: what its sessions show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<LabTopology>,
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
    /// Set the policy by which it is advised, or give it up.
    SetPolicy {
        /// The policy, and why.
        new: NewPolicy,
        /// Who sets it, e.g. `admin:ada`.
        set_by: String,
        /// The time.
        now: DateTime<Utc>,
    },
    /// Propose another size, or take a step in the life of a proposal.
    Proposal {
        /// Which.
        command: ProposalCommand,
        /// Who, e.g. `admin:ada`.
        by: String,
        /// The time.
        now: DateTime<Utc>,
    },
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
    /// It has no such proposal, or had it long ago.
    #[error("the definition has no proposal {id}")]
    UnknownProposal {
        /// The proposal that the command named.
        id: ProposalId,
    },
    /// The proposal has an outcome already.
    #[error("the proposal {id} was {status} already")]
    ProposalEnded {
        /// The proposal.
        id: ProposalId,
        /// Its outcome.
        status: ProposalStatus,
    },
    /// Somebody else takes care of the proposal.
    #[error("the proposal {id} was claimed by {by}")]
    ProposalClaimed {
        /// The proposal.
        id: ProposalId,
        /// Who claimed it.
        by: String,
    },
    /// Only a claimed proposal can fail.
    #[error("the proposal {id} is open; claim it first, or dismiss it")]
    ProposalNotClaimed {
        /// The proposal.
        id: ProposalId,
    },
    /// The proposal is in another version than the one that was seen.
    #[error("the expected version of the proposal is {expected}, the current one {actual}")]
    ProposalChanged {
        /// What the caller had seen.
        expected: u32,
        /// What it is.
        actual: u32,
    },
    /// The policy wants somebody else to apply proposals.
    #[error("by the policy of the definition, proposals are applied {}", match allowed {
        Applier::Admin => "by admins",
        Applier::Operator => "by operators and admins",
        Applier::Automatic => "by themselves, by operators and admins",
    })]
    NotApplier {
        /// Who may.
        allowed: Applier,
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
    Present(Box<PresentDefinition>),
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
    /// The policy by which it is advised; `None`: the default one.
    pub policy: Option<SetPolicy>,
    /// Its proposals.
    pub proposals: Proposals,
    /// The number of its events.
    pub sequence: i64,
    /// The sequence of the event by which it was created, or its content or policy was last changed. What becomes of its
    /// proposals does not count: whoever revises it does not rest on that.
    pub content_sequence: i64,
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
            topology: self.topology.clone(),
        }
    }
}

impl DefinitionRevision {
    fn changes_nothing(&self) -> bool {
        let Self { resource_requirements, port_template, description, topology, reason: _, evidence: _ } = self;
        resource_requirements.is_none() && port_template.is_none() && description.is_none() && topology.is_none()
    }
}

impl Decide for LabletDefinition {
    const SNAPSHOT_SHAPE: i32 = 3;

    fn version(&self, _sequence: i64) -> i64 {
        self.present().map_or(0, |present| present.content_sequence)
    }

    fn weight(&self) -> usize {
        /// A port with the longest names that are usual.
        const PORT: usize = size_of::<PortTemplateEntry>() + 96;
        /// Nodes that are alike, with the longest names that are usual.
        const NODES: usize = size_of::<AlikeNodes>() + 64;
        let Self::Present(definition) = self else { return size_of::<Self>() };
        let content = &definition.content;
        size_of::<Self>()
            + definition.name.len()
            + content.description.as_ref().map_or(0, String::len)
            + content.port_template.ports().len() * PORT
            + content.topology.as_ref().map_or(0, |topology| topology.nodes().len() * NODES)
            + definition.proposals.weight()
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
                    let problem = "is absent, and so are port_template, description and topology";
                    return Err(Invalid::new("resource_requirements", problem, "at least one of the four").into());
                }
                let after = DefinitionContent {
                    resource_requirements: revision
                        .resource_requirements
                        .unwrap_or(present.content.resource_requirements),
                    port_template: revision.port_template.unwrap_or_else(|| present.content.port_template.clone()),
                    description: revision.description.map(String::from).or_else(|| present.content.description.clone()),
                    topology: revision.topology.or_else(|| present.content.topology.clone()),
                };
                if after == present.content {
                    return Ok(Decision::AlreadyDone);
                }
                let states_another_size = after.resource_requirements != present.content.resource_requirements;
                let superseded = present.superseded_by_revision(now).filter(|_| states_another_size);
                let revised = LabletDefinitionEvent::Revised {
                    definition_id: present.id.clone(),
                    revision: present.revision + 1,
                    before: present.content.clone(),
                    after,
                    reason: revision.reason.into(),
                    evidence: revision.evidence.into(),
                    proposal_id: None,
                    revised_by,
                    revised_at: now,
                };
                Ok(Decision::Record(std::iter::once(revised).chain(superseded).collect()))
            }
            LabletDefinitionCommand::SetPolicy { new: NewPolicy { policy, reason }, set_by, now } => {
                let present = self.present().ok_or(LabletDefinitionError::Absent)?;
                let before = present.policy.as_ref().map(|set| set.policy);
                if before == policy {
                    return Ok(Decision::AlreadyDone);
                }
                Ok(Decision::one(LabletDefinitionEvent::PolicySet {
                    definition_id: present.id.clone(),
                    before,
                    policy,
                    reason: reason.into(),
                    set_by,
                    set_at: now,
                }))
            }
            LabletDefinitionCommand::Proposal { command, by, now } => {
                let present = self.present().ok_or(LabletDefinitionError::Absent)?;
                present.decide_on_proposal(command, by, now)
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
        if let LabletDefinitionEvent::Created { definition_id, name, version, content, node_count, created_at } = event
        {
            *self = Self::Present(Box::new(PresentDefinition {
                id: definition_id,
                name,
                version,
                revision: 1,
                content,
                node_count,
                created_at,
                updated_at: created_at,
                policy: None,
                proposals: Proposals::default(),
                sequence: 1,
                content_sequence: 1,
            }));
            return;
        }
        let Self::Present(present) = self else { return };
        present.sequence += 1;
        match event {
            LabletDefinitionEvent::Created { .. } => {}
            LabletDefinitionEvent::Revised { revision, before, after, proposal_id, revised_at, .. } => {
                if proposal_id.is_none() && before.resource_requirements != after.resource_requirements {
                    present.proposals.forget();
                }
                present.revision = revision;
                present.content = after;
                present.updated_at = revised_at;
                present.content_sequence = present.sequence;
            }
            LabletDefinitionEvent::PolicySet { policy, set_by, set_at, .. } => {
                present.policy = policy.map(|policy| SetPolicy { policy, set_by, set_at });
                present.content_sequence = present.sequence;
            }
            LabletDefinitionEvent::ProposalOpened { proposal, .. } => present.proposals.open(*proposal),
            LabletDefinitionEvent::ProposalClaimed { claimed_by, .. } => present.proposals.claim(claimed_by),
            LabletDefinitionEvent::ProposalApplied { proposal_id, revision, .. } => {
                present.proposals.apply(proposal_id, revision);
            }
            LabletDefinitionEvent::ProposalFailed { proposal_id, .. } => present.proposals.fail(proposal_id),
            LabletDefinitionEvent::ProposalDismissed { proposal_id, .. } => present.proposals.dismiss(proposal_id),
            LabletDefinitionEvent::ProposalSuperseded { proposal_id, .. } => present.proposals.supersede(proposal_id),
            LabletDefinitionEvent::ProposalVerified { verification, .. } => present.proposals.verify(&verification),
        }
    }
}

#[cfg(test)]
mod tests;
