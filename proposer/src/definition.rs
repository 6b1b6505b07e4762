//! One definition: what is known of it, and the steps that it needs.

use advice::proposer::{ProposerStep, SessionAfter, Situation};
use app::commands::{CommandError, Commands, ErrorClass};
use app::log::{DedupeKey, Expected, Origin};
use domain::advice_policy::Applier;
use domain::lablet_definition::{AppliedProposal, PresentDefinition, ResourceRequirements};
use domain::phases::Phases;
use domain::resource::Resource;
use domain::{DefinitionId, EventId};
use metrics::counter;
use projections::read_models::advice::evidence::{EvidenceFilter, EvidenceRow};
use projections::{PageRequest, Projections};

use super::{ACTOR, LookError};

/// The newest sessions that are looked at to verify what was applied.
const SESSIONS: u32 = 200;
/// Most rounds of one look: open, apply, and a look that finds nothing more to do; a few in case others act meanwhile.
const ROUNDS: usize = 4;

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// It needs nothing now.
    Settled,
    /// The read model does not know yet what the log says, or others act on it: it has to be looked at again.
    Behind,
}

/// Looks at a definition, and takes the steps that it needs.
pub(super) async fn look(
    commands: &Commands,
    projections: &Projections,
    id: &DefinitionId,
) -> Result<Looked, LookError> {
    for _ in 0..ROUNDS {
        let definition = match commands.definition(id).await {
            Ok(definition) => definition,
            // Sessions may name a definition that there is not.
            Err(CommandError::NotFound { .. }) => return Ok(Looked::Settled),
            Err(error) => return Err(LookError::Command(error)),
        };
        let Some(recommendation) = projections.recommendation(id, None, None).await? else { return Ok(Looked::Behind) };
        let (default_policy, _) = commands.default_policy().await.map_err(LookError::Command)?;
        let policy = definition.policy.as_ref().map_or_else(|| default_policy.policy(), |own| own.policy);
        if recommendation.revision != Some(definition.revision) || recommendation.policy != policy {
            return Ok(Looked::Behind);
        }
        let after = match definition.proposals.applied.as_deref() {
            Some(applied) => sessions_after(projections, id, applied, policy.phases()).await?,
            None => Vec::new(),
        };
        let situation = Situation {
            stated: &definition.content.resource_requirements,
            proposals: &definition.proposals,
            recommendation: &recommendation,
            after: &after,
        };
        let steps = situation.steps();
        if steps.is_empty() {
            return Ok(Looked::Settled);
        }
        for step in steps {
            if !take(commands, &definition, step).await? {
                return Ok(Looked::Behind);
            }
        }
    }
    Ok(Looked::Behind)
}

/// What the newest sessions needed over these phases since a proposal was applied, newest first.
async fn sessions_after(
    projections: &Projections,
    id: &DefinitionId,
    applied: &AppliedProposal,
    phases: Phases,
) -> Result<Vec<SessionAfter>, LookError> {
    let page = projections.evidence(id, &EvidenceFilter::All, &PageRequest::first(SESSIONS)).await?;
    let of_revision =
        page.items.into_iter().filter(|row| row.definition_revision >= applied.revision && row.exclusion.is_none());
    Ok(of_revision.map(|row| session_after(&row, phases)).collect())
}

fn session_after(row: &EvidenceRow, phases: Phases) -> SessionAfter {
    let peak = |resource: Resource| resource.part(&row.demands).over(phases);
    SessionAfter {
        demand: Resource::each(|resource| peak(resource).map(|peak| peak.value)),
        readings: Resource::each(|resource| EventId::parse(peak(resource)?.event_id.to_string()).ok()),
    }
}

/// Takes a step. `false`: the definition has moved on, and refuses it.
async fn take(commands: &Commands, definition: &PresentDefinition, step: ProposerStep) -> Result<bool, LookError> {
    let id = &definition.id;
    let (taken, name) = match step {
        ProposerStep::Open(new) => {
            let origin = origin(definition, &format!("open {}", shown(&new.after)));
            (commands.open_proposal(id, *new, &origin).await.map(drop), "opened")
        }
        ProposerStep::Withdraw(step) => {
            let origin = origin(definition, &format!("withdraw {}", step.proposal_id));
            (commands.withdraw_proposal(id, step, &origin).await.map(drop), "withdrawn")
        }
        ProposerStep::Apply(step) => {
            let origin = origin(definition, &format!("apply {}", step.proposal_id));
            let applied = commands.apply_proposal(id, step, Applier::Automatic, &Expected::Any, &origin).await;
            (applied.map(drop), "applied")
        }
        ProposerStep::Verify(new) => {
            let origin = origin(definition, &format!("verify {}", new.proposal_id));
            (commands.verify_proposal(id, *new, &origin).await.map(drop), "verified")
        }
    };
    match taken {
        Ok(()) => {
            tracing::info!(definition.id = id.as_str(), step = name, "proposer took a step");
            counter!("lablet_proposer_steps_total", "step" => name).increment(1);
            Ok(true)
        }
        Err(error) if matches!(error.class(), ErrorClass::Caller | ErrorClass::Conflict) => {
            tracing::info!(definition.id = id.as_str(), step = name, reason = %error, "step of the proposer was refused");
            counter!("lablet_proposer_refusals_total", "step" => name).increment(1);
            Ok(false)
        }
        Err(error) => Err(LookError::Command(error)),
    }
}

/// Where a step comes from: the same for everybody who takes it by the same events of the definition.
fn origin(definition: &PresentDefinition, step: &str) -> Origin {
    let key = format!("proposer:{}:{}:{step}", definition.id, definition.sequence);
    Origin::from_actor(ACTOR).once(DedupeKey::new(&key, step.as_bytes()))
}

fn shown(size: &ResourceRequirements) -> String {
    let ResourceRequirements { cpu_cores, memory_gb, storage_gb } = size;
    format!("{}/{}/{}", cpu_cores.get(), memory_gb.get(), storage_gb.get())
}
