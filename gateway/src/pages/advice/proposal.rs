//! `GET /proposals/{id}`: another size of a definition, with what it rests on, what it would have meant and what became of
//! it; and the steps that people take: claim, dismiss, say that it failed. It is applied through the review of revisions.

use app::commands::Commands;
use app::log::Expected;
use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use domain::advice_policy::{Applier, Policy};
use domain::lablet_definition::{ProposalKind, ProposalStatus, ProposalStep, ResourceRequirements};
use domain::resource::Resource;
use domain::text::Prose;
use domain::{DefinitionId, ProposalId};
use projections::read_models::advice::evidence::{EvidenceFilter, EvidenceRow};
use projections::read_models::advice::proposals::ProposalRow;
use projections::{PageRequest, ReadError, ReadModel};
use serde::Deserialize;

use super::amounts::{self, of_a_hundred, stated};
use super::back_test::BackTestTable;
use super::policy_draft::applier;
use crate::authentication::Role;
use crate::caller::{Asking, Caller, Viewing};
use crate::pages::form::PageForm;
use crate::pages::parts::{self, Badge, Tone, When};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Readings that are named of a proposal.
const MOST_READINGS: usize = 12;
/// The newest sessions that are looked at for those of a revision.
const LOOKED_AT: u32 = 200;
/// Sessions that a verification waits for at least.
const LEAST_TO_VERIFY: u32 = 3;

/// A resource that would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SizeChange {
    pub(crate) resource: &'static str,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// The resources that differ between two sizes.
pub(crate) fn size_changes(before: &ResourceRequirements, after: &ResourceRequirements) -> Vec<SizeChange> {
    let change = |resource: Resource| {
        let (was, is) = (resource.configured(before), resource.configured(after));
        (was != is).then(|| SizeChange {
            resource: amounts::name(resource),
            before: stated(resource, was),
            after: stated(resource, is),
        })
    };
    Resource::ALL.into_iter().filter_map(change).collect()
}

/// Where a proposal is in its life.
pub(crate) fn status(status: ProposalStatus) -> Badge {
    let (tone, sign) = match status {
        ProposalStatus::Open => (Tone::Warn, "…"),
        ProposalStatus::Claimed => (Tone::Warn, "◔"),
        ProposalStatus::Applied => (Tone::Good, "✓"),
        ProposalStatus::Failed => (Tone::Bad, "✕"),
        ProposalStatus::Dismissed | ProposalStatus::Superseded => (Tone::Calm, "→"),
    };
    Badge::new(tone, sign, status.as_str())
}

/// What the sessions after an applied proposal say so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VerificationState {
    /// So many sessions of the revision are known, of so many that are waited for.
    Waiting {
        known: u64,
        wanted: u32,
    },
    Held {
        sessions: u64,
    },
    DidNotHold {
        sessions: u64,
        short: String,
    },
}

impl VerificationState {
    /// Of an applied proposal; `None`: it was not applied.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn read(queries: &Queries, row: &ProposalRow, policy: &Policy) -> Result<Option<Self>, ReadError> {
        if row.status != ProposalStatus::Applied {
            return Ok(None);
        }
        if let Some(found) = &row.verification {
            let sessions = found.sessions;
            if found.held {
                return Ok(Some(Self::Held { sessions }));
            }
            let short = Resource::ALL
                .into_iter()
                .filter(|resource| *resource.part(&found.sessions_short) > 0)
                .map(|resource| {
                    let count = resource.part(&found.sessions_short);
                    format!("{} of {}", parts::counted(count, "session"), amounts::noun(resource))
                })
                .collect::<Vec<_>>();
            return Ok(Some(Self::DidNotHold { sessions, short: short.join(", ") }));
        }
        let newest = queries.evidence(&row.definition_id, &EvidenceFilter::All, &PageRequest::first(LOOKED_AT)).await?;
        let is_known = |session: &&EvidenceRow| {
            session.exclusion.is_none()
                && Some(session.definition_revision) == row.revision
                && Resource::ALL
                    .into_iter()
                    .any(|resource| resource.part(&session.demands).over(policy.phases()).is_some())
        };
        let known = newest.items.iter().filter(is_known).count() as u64;
        Ok(Some(Self::Waiting { known, wanted: policy.minimum_sessions.max(LEAST_TO_VERIFY) }))
    }

    fn badge(&self) -> Badge {
        match self {
            Self::Waiting { known, wanted } => {
                Badge::new(Tone::Calm, "◔", format!("to be verified: {known} of {wanted} sessions"))
            }
            Self::Held { sessions } => {
                Badge::new(Tone::Good, "✓", format!("held over {}", parts::counted(sessions, "session")))
            }
            Self::DidNotHold { sessions, .. } => {
                Badge::new(Tone::Bad, "▲", format!("did not hold over {}", parts::counted(sessions, "session")))
            }
        }
    }

    fn words(&self) -> Option<String> {
        match self {
            Self::Waiting { .. } | Self::Held { .. } => None,
            Self::DidNotHold { short, .. } if short.is_empty() => None,
            Self::DidNotHold { short, .. } => Some(format!("Short were {short}. The size before is proposed again.")),
        }
    }
}

/// A proposal with what may be done about it.
#[derive(Debug, Template)]
#[template(path = "advice/proposal_card.html")]
pub(crate) struct ProposalCard {
    row: ProposalRow,
    status: Badge,
    finding: Badge,
    promise: String,
    changes: Vec<SizeChange>,
    verdict: Option<VerificationState>,
    claim: Permit,
    apply: Permit,
    dismiss: Permit,
    /// Whether steps are still to be taken.
    is_current: bool,
    readings: Vec<(String, String)>,
    more_readings: usize,
    csrf_token: String,
    keys: [String; 3],
    opened: When,
    claimed: Option<When>,
    ended: Option<When>,
    verified: Option<When>,
}

impl HtmlSafe for ProposalCard {}

impl ProposalCard {
    /// Of a proposal, for a visitor.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn read(queries: &Queries, visit: &Visit, row: ProposalRow) -> Result<Self, ReadError> {
        let policy = queries.policy_in_force(&row.definition_id).await?.unwrap_or_default();
        let verdict = VerificationState::read(queries, &row, &policy).await?;
        let key = || queries.log().id_generator().uuid().to_string();
        let is_open = row.status == ProposalStatus::Open;
        let is_current = is_open || row.status == ProposalStatus::Claimed;
        let current = || {
            if is_current {
                Permit::granted()
            } else {
                Permit::refused(format!("It is {}: nothing more is decided about it.", row.status))
            }
        };
        let unclaimed = || match &row.claimed_by {
            Some(by) if row.status == ProposalStatus::Claimed => Permit::refused(format!("{by} takes care of it.")),
            _ => Permit::granted(),
        };
        let when = |at: &chrono::DateTime<chrono::Utc>| When::new(at, &visit.now);
        Ok(Self {
            status: status(row.status),
            finding: crate::pages::verdict::named(row.proposal.finding.into()),
            promise: of_a_hundred(row.proposal.promise),
            changes: size_changes(&row.proposal.before, &row.proposal.after),
            claim: current().and(unclaimed()).and(visit.may(Role::Operator)),
            apply: current().and(may_apply(visit, policy.applier)),
            dismiss: current().and(visit.may(Role::Operator)),
            readings: row
                .proposal
                .evidence
                .iter()
                .take(MOST_READINGS)
                .map(|event| (event.to_string(), parts::short_id(event)))
                .collect(),
            more_readings: row.proposal.evidence.len().saturating_sub(MOST_READINGS),
            csrf_token: visit.csrf_token.clone(),
            keys: [key(), key(), key()],
            opened: when(&row.opened_at),
            claimed: row.claimed_at.as_ref().map(when),
            ended: row.ended_at.as_ref().map(when),
            verified: row.verified_at.as_ref().map(when),
            is_current,
            verdict,
            row,
        })
    }

    fn is_claimed(&self) -> bool {
        self.row.status == ProposalStatus::Claimed
    }

    fn rolls_back(&self) -> bool {
        self.row.proposal.kind == ProposalKind::RollBack
    }

    /// What came of it, in a word for its time.
    fn outcome(&self) -> &'static str {
        match self.row.status {
            ProposalStatus::Open | ProposalStatus::Claimed => "",
            ProposalStatus::Applied => "Applied",
            ProposalStatus::Failed => "Said to have failed",
            ProposalStatus::Dismissed => "Dismissed",
            ProposalStatus::Superseded => "Superseded",
        }
    }
}

/// Whether the visitor may apply what is proposed, by the policy.
pub(crate) fn may_apply(visit: &Visit, allowed: Applier) -> Permit {
    match allowed {
        Applier::Admin if visit.role < Role::Admin => Permit::refused(format!(
            "The policy lets only {} apply it; you are signed in as {}.",
            applier(Applier::Admin),
            visit.role
        )),
        Applier::Admin | Applier::Operator | Applier::Automatic => visit.may(Role::Operator),
    }
}

#[derive(Template)]
#[template(path = "advice/proposal.html")]
struct ProposalPage {
    shell: Shell,
    definition_id: DefinitionId,
    name: String,
    card: ProposalCard,
    back_test: Option<BackTestTable>,
}

/// The row of a proposal.
///
/// # Errors
/// 404, and 503 where it cannot be read.
pub(crate) async fn proposal(queries: &Queries, id: &ProposalId) -> Result<ProposalRow, Problem> {
    queries.proposal(id).await?.ok_or_else(|| Problem::not_found("proposal", id.as_str()))
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<ProposalId>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let row = proposal(&queries, &id).await?;
    let tested = queries.back_test(&row.definition_id, None, |_| row.proposal.after).await?;
    page(&ProposalPage {
        shell: Shell::new(&visit, Section::Advice)
            .twin(format!("/api/proposals/{id}"))
            .live(format!("/api/stream?definition_id={}", row.definition_id)),
        name: row.definition().to_owned(),
        definition_id: row.definition_id.clone(),
        back_test: match tested {
            Some(report) => Some(BackTestTable::of_report(&queries, &report).await?),
            None => None,
        },
        card: ProposalCard::read(&queries, &visit, row).await?,
    })
}

/// A step, as a form sends it.
#[derive(Debug, Deserialize)]
pub(crate) struct StepForm {
    version: u32,
    #[serde(default)]
    reason: String,
}

impl PageForm<StepForm> {
    /// The step on the version that was seen, and the definition that it is about.
    ///
    /// # Errors
    /// 400 where the reason is too long, 404 where there is no such proposal.
    pub(crate) async fn step(
        &self,
        queries: &Queries,
        proposal_id: ProposalId,
    ) -> Result<(DefinitionId, ProposalStep), Problem> {
        let definition = proposal(queries, &proposal_id).await?.definition_id;
        let reason = Some(self.fields.reason.trim()).filter(|reason| !reason.is_empty());
        let reason = reason.map(Prose::parse).transpose().map_err(|invalid| invalid.within("reason"))?;
        Ok((definition, ProposalStep { proposal_id, version: Some(self.fields.version), reason }))
    }
}

pub(crate) async fn claim(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(id): Id<ProposalId>,
    form: PageForm<StepForm>,
) -> Result<Response, Problem> {
    let (definition, step) = form.step(&queries, id.clone()).await?;
    let done = commands.claim_proposal(&definition, step, &Expected::Any, &form.origin).await?;
    Ok(to_proposal(&id, done.position))
}

pub(crate) async fn dismiss(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(id): Id<ProposalId>,
    form: PageForm<StepForm>,
) -> Result<Response, Problem> {
    let (definition, step) = form.step(&queries, id.clone()).await?;
    let done = commands.dismiss_proposal(&definition, step, &Expected::Any, &form.origin).await?;
    Ok(to_proposal(&id, done.position))
}

pub(crate) async fn fail(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Asking>,
    Id(id): Id<ProposalId>,
    form: PageForm<StepForm>,
) -> Result<Response, Problem> {
    let (definition, step) = form.step(&queries, id.clone()).await?;
    let done = commands.fail_proposal(&definition, step, &Expected::Any, &form.origin).await?;
    Ok(to_proposal(&id, done.position))
}

fn to_proposal(id: &ProposalId, position: app::log::Position) -> Response {
    Redirect::to(&format!("/proposals/{id}?position={position}")).into_response()
}
