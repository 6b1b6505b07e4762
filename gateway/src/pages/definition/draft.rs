//! What somebody fills in to revise a definition, from the edit form to the confirmed review: all of it is in the
//! address, so that going back, signing in again or sending the review to a colleague loses nothing. What is too long for
//! an address is kept on the server, for its author, and the address names it.

use advice::recommendation::Recommendation;
use advice::scope::SessionScope;
use domain::lablet_definition::{
    DefinitionContent, DefinitionRevision, LabletDefinition, LabletDefinitionCommand, LabletDefinitionError,
    PresentDefinition, Proposals, ResourceRequirements,
};
use domain::text::Prose;
use domain::{Decide as _, Decision, DefinitionId, EventId, Invalid, Whole};
use projections::read_models::definitions::{DefinitionRow, RevisionRow};
use projections::read_models::observations::DefinitionObservations;
use serde::{Deserialize, Serialize};

use super::change::content_of;
use super::suggestion::{Source, Suggestions};
use crate::authentication::Principal;
use crate::pages::query::address;
use crate::pages::visit::Visit;
use crate::problem::Problem;
use crate::sign_in::SignIn;
use crate::sign_in::saved_forms::SavedForm;

/// Longest address that holds a draft: proxies refuse longer ones.
const LONGEST_ADDRESS: usize = 2_000;

/// Events of an earlier revision that the way back to it names.
const MOST_EVIDENCE: usize = 20;

/// Fields as they were typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// Where the numbers came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Source>,
    /// Which sessions count; older addresses say how many of the newest as `sessions`.
    #[serde(alias = "sessions", skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<SessionScope>,
    /// The version of the definition that it rests on. Absent: nothing was filled in yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    /// The revision of that version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<u32>,
    /// The revision whose content is to be back, ports and topology included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) return_to: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_cores: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_gb: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_gb: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Ids of the events that were reviewed with it, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<String>,
    /// Names the texts of this draft where they are kept on the server, as they are too long for an address.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(crate) saved_form: Option<String>,
}

/// What a draft says once it is understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParsedDraft {
    /// The numbers.
    pub(crate) resource_requirements: ResourceRequirements,
    /// The description; empty: none.
    pub(crate) description: String,
    /// The content that is to be back, of which ports and topology are taken; `None`: those stay as they are.
    pub(crate) restored: Option<DefinitionContent>,
}

impl ParsedDraft {
    /// The definition's content as it would be.
    pub(crate) fn after(&self, now: &DefinitionRow) -> DefinitionContent {
        let description = if self.description.is_empty() && now.description.is_none() {
            None
        } else {
            Some(self.description.clone())
        };
        DefinitionContent {
            resource_requirements: self.resource_requirements,
            description,
            port_template: self.restored.as_ref().unwrap_or(&content_of(now)).port_template.clone(),
            // A topology that is stated cannot be taken back, only replaced.
            topology: self
                .restored
                .as_ref()
                .and_then(|content| content.topology.clone())
                .or_else(|| now.topology.clone()),
        }
    }

    /// The revision that makes it so.
    ///
    /// # Errors
    /// [`Invalid`] naming `description` or `reason`.
    pub(crate) fn revision(
        &self,
        now: &DefinitionRow,
        reason: &str,
        evidence: Vec<EventId>,
    ) -> Result<DefinitionRevision, Invalid> {
        let after = self.after(now);
        let description = after.description.map(Prose::parse).transpose();
        Ok(DefinitionRevision {
            resource_requirements: Some(after.resource_requirements),
            port_template: self.restored.as_ref().map(|content| content.port_template.clone()),
            topology: self.restored.as_ref().and_then(|content| content.topology.clone()),
            description: description.map_err(|invalid| invalid.within("description"))?,
            reason: Prose::parse(reason).map_err(|invalid| invalid.within("reason"))?,
            evidence: evidence.try_into().map_err(|invalid: Invalid| invalid.within("evidence"))?,
        })
    }

    /// Whether the definition would change, as the domain decides it, for whatever reason.
    ///
    /// # Errors
    /// What the domain would refuse.
    pub(crate) fn would_change(&self, now: &DefinitionRow) -> Result<bool, Invalid> {
        would_change(now, self.revision(now, "…", Vec::new())?)
    }
}

impl Draft {
    /// A form for this source, with nothing filled in.
    pub(crate) fn new(from: Source, scope: SessionScope) -> Self {
        Self { from: Some(from), scope: Some(scope), ..Self::default() }
    }

    /// A review of the size that would do, which fills itself in.
    pub(crate) fn of_recommended_size() -> Self {
        Self { from: Some(Source::Recommended), ..Self::default() }
    }

    /// The same, filled in with what is suggested, and with a reason that says why.
    #[must_use]
    pub(crate) fn filled_in(&self, now: &DefinitionRow, suggested: &Suggestions) -> Self {
        let stated = &now.resource_requirements;
        let changed = [
            ("CPU", stated.cpu_cores.get(), &suggested.cpu_cores, "cores"),
            ("memory", stated.memory_gb.get(), &suggested.memory_gb, "GB"),
            ("storage", stated.storage_gb.get(), &suggested.storage_gb, "GB"),
        ]
        .into_iter()
        .filter(|(_, stated, suggestion, _)| *stated != suggestion.value);
        let reasons: Vec<String> = changed
            .map(|(name, stated, suggestion, unit)| {
                format!("{name} {stated} → {} {unit}, as {}", suggestion.value, suggestion.words)
            })
            .collect();
        Self {
            cpu_cores: Some(suggested.cpu_cores.value.to_string()),
            memory_gb: Some(suggested.memory_gb.value.to_string()),
            storage_gb: Some(suggested.storage_gb.value.to_string()),
            description: now.description.clone(),
            reason: Some(reasons.join("; ")).filter(|reason| !reason.is_empty()),
            ..self.on(now)
        }
    }

    /// Whether it fills itself in: all that it needs is known.
    pub(crate) fn fills_itself_in(&self) -> bool {
        !self.is_filled() && (self.source() == Source::Recommended || self.return_to.is_some())
    }

    /// The same, filled in with the content of an earlier revision, and with a reason that says so.
    #[must_use]
    pub(crate) fn back_to(&self, now: &DefinitionRow, revision: &RevisionRow) -> Self {
        let size = &revision.after.resource_requirements;
        let evidence = std::iter::once(revision.event_id.to_string()).chain(revision.evidence.iter().cloned());
        let evidence: Vec<String> = evidence.take(MOST_EVIDENCE).collect();
        Self {
            cpu_cores: Some(size.cpu_cores.to_string()),
            memory_gb: Some(size.memory_gb.to_string()),
            storage_gb: Some(size.storage_gb.to_string()),
            description: revision.after.description.clone(),
            reason: Some(format!("Back to revision {}, from revision {}", revision.revision, now.revision)),
            ..Self { evidence: Some(evidence.join(",")), ..self.on(now) }
        }
    }

    /// Whether somebody filled it in. A form always names the version that it rests on.
    pub(crate) fn is_filled(&self) -> bool {
        self.etag.is_some()
    }

    /// Where the numbers came from.
    pub(crate) fn source(&self) -> Source {
        self.from.unwrap_or_default()
    }

    /// Which sessions count.
    pub(crate) fn scope(&self) -> SessionScope {
        self.scope.unwrap_or_default()
    }

    /// The same, resting on the definition as it is now, with everything else kept.
    #[must_use]
    pub(crate) fn on(&self, now: &DefinitionRow) -> Self {
        Self { etag: Some(now.etag.clone()), revision: Some(now.revision), evidence: None, ..self.clone() }
    }

    /// The address of the edit form with all of it. The evidence is found anew at the review.
    pub(crate) fn edit_address(&self, id: &DefinitionId) -> String {
        Self { evidence: None, ..self.clone() }.address_at(&format!("/definitions/{id}/edit"))
    }

    /// The address of the review of it.
    pub(crate) fn review_address(&self, id: &DefinitionId) -> String {
        self.address_at(&format!("/definitions/{id}/review"))
    }

    /// The address of a page with all of it, the texts by their name where they are kept.
    fn address_at(&self, path: &str) -> String {
        match self.saved_form {
            Some(_) => address(path, &Self { description: None, reason: None, evidence: None, ..self.clone() }),
            None => address(path, self),
        }
    }

    /// The same, as it came with this saved form.
    #[must_use]
    pub(crate) fn came_with(self, saved: Option<&SavedForm>) -> Self {
        Self { saved_form: saved.map(|saved| saved.id.clone()), ..self }
    }

    /// The same, with its texts kept on the server where they are too long for an address.
    ///
    /// # Errors
    /// 503 where they cannot be kept.
    pub(crate) async fn fit_for_addresses(
        self,
        sign_in: &SignIn,
        visit: &Visit,
        id: &DefinitionId,
    ) -> Result<Self, Problem> {
        let Principal::Admin { name, .. } = &visit.principal else { return Ok(self) };
        if self.review_address(id).len() <= LONGEST_ADDRESS {
            return Ok(self);
        }
        let fields = self.hidden(&[]);
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let saved_form = Some(sign_in.saved_forms.save(name, fields).await?);
        Ok(Self { saved_form, ..self })
    }

    /// Its fields but for these, for a form to carry along.
    pub(crate) fn hidden(&self, shown: &[&str]) -> Vec<(String, String)> {
        let query = address("/", &Self { saved_form: None, ..self.clone() });
        let query = query.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let fields = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        fields.filter(|(name, _)| !shown.contains(&name.as_str())).collect()
    }

    /// Whether it rests on the definition as it is now.
    pub(crate) fn rests_on(&self, now: &DefinitionRow) -> bool {
        self.etag.as_ref() == Some(&now.etag)
    }

    /// The sequence of the version that it rests on.
    ///
    /// # Errors
    /// [`Invalid`] when it names none.
    pub(crate) fn expected(&self) -> Result<i64, Invalid> {
        let text = self.etag.as_deref().unwrap_or_default();
        let sequence = text.trim_matches('"').parse().ok().filter(|sequence: &i64| *sequence > 0);
        sequence.ok_or_else(|| Invalid::new("etag", "names no version", "the form as the page made it"))
    }

    /// What it says.
    ///
    /// # Errors
    /// Every field that is wrong, with what would be right.
    pub(crate) fn parse(&self, now: &DefinitionRow) -> Result<ParsedDraft, Vec<Invalid>> {
        let resource_requirements = match (
            whole("cpu_cores", self.cpu_cores.as_deref()),
            whole("memory_gb", self.memory_gb.as_deref()),
            whole("storage_gb", self.storage_gb.as_deref()),
        ) {
            (Ok(cpu_cores), Ok(memory_gb), Ok(storage_gb)) => ResourceRequirements { cpu_cores, memory_gb, storage_gb },
            (cpu_cores, memory_gb, storage_gb) => {
                return Err([cpu_cores.err(), memory_gb.err(), storage_gb.err()].into_iter().flatten().collect());
            }
        };
        // A browser sends line ends of its own.
        let description = self.description.as_deref().unwrap_or_default().replace("\r\n", "\n");
        let parsed = ParsedDraft { resource_requirements, description, restored: None };
        // What the definition itself would refuse, except for the reason, which is asked for later.
        parsed.would_change(now).map_err(|invalid| vec![invalid])?;
        Ok(parsed)
    }

    /// The reason without surrounding white space.
    pub(crate) fn reason(&self) -> String {
        self.reason.as_deref().unwrap_or_default().replace("\r\n", "\n").trim().to_owned()
    }

    /// The events that the revision will name: those that were reviewed, else those that the suggested numbers come from,
    /// else (numbers were typed) the newest observation of each session that was shown.
    ///
    /// # Errors
    /// [`Invalid`] when the draft names something that is no event's id.
    pub(crate) fn evidence(
        &self,
        now: &DefinitionRow,
        observed: &DefinitionObservations,
        recommended: Option<&Recommendation>,
    ) -> Result<Vec<EventId>, Invalid> {
        let named = |text: &str| EventId::parse(text).map_err(|invalid| invalid.within("evidence"));
        if let Some(reviewed) = &self.evidence {
            return reviewed.split(',').map(named).collect();
        }
        let ids = match self.source() {
            source @ (Source::Max | Source::Latest | Source::Recommended) => {
                Suggestions::new(source, &now.resource_requirements, observed, recommended).event_ids()
            }
            Source::Custom => observed.sessions.iter().map(|session| session.observed_event_id).collect(),
        };
        ids.into_iter().map(|id| named(&id.to_string())).collect()
    }
}

/// A whole number that was typed into `field`.
fn whole<const MOST: u64>(field: &str, typed: Option<&str>) -> Result<Whole<u32, 1, MOST>, Invalid> {
    let typed = typed.unwrap_or_default().trim();
    let read = match typed.parse() {
        Ok(value) => Whole::new(value),
        // Nought is never right, so the complaint about it says what would be.
        Err(_) => Whole::new(0).map_err(|complaint| {
            let shown: String = typed.chars().take(40).collect();
            let problem = if typed.is_empty() { "is empty".to_owned() } else { format!("is {shown:?}") };
            Invalid { problem, ..complaint }
        }),
    };
    read.map_err(|invalid| invalid.within(field))
}

/// Whether the definition would change, as the domain decides it.
///
/// # Errors
/// What the domain would refuse.
fn would_change(now: &DefinitionRow, revision: DefinitionRevision) -> Result<bool, Invalid> {
    let present = LabletDefinition::Present(Box::new(PresentDefinition {
        id: now.id.clone(),
        name: now.name.clone(),
        version: now.version.clone(),
        revision: now.revision,
        content: content_of(now),
        node_count: now.node_count,
        created_at: now.created_at,
        updated_at: now.updated_at,
        policy: None,
        proposals: Proposals::default(),
        sequence: 0,
        content_sequence: 0,
    }));
    let command = LabletDefinitionCommand::Revise { revision, revised_by: String::new(), now: now.updated_at };
    match present.decide(command) {
        Ok(Decision::AlreadyDone) => Ok(false),
        Ok(Decision::Record(_)) => Ok(true),
        Err(LabletDefinitionError::Invalid(invalid)) => Err(invalid),
        Err(error) => Err(Invalid::new("", error.to_string(), "a definition that exists")),
    }
}
