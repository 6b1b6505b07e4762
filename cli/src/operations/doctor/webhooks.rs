//! Targets of webhooks, as the database has them.

use app::webhook_targets::{TargetStatus, WebhookTargets};
use gateway::judgement::{self, TargetTrouble};

use super::check::Check;
use crate::roles::Store;

/// Whether every configured target gets what it wants; nothing where there is none.
pub(super) async fn look(store: &Store) -> anyhow::Result<Vec<Check>> {
    let targets = WebhookTargets::new(store.log()).list().await?;
    let configured: Vec<&TargetStatus> = targets.iter().filter(|target| target.configured).collect();
    if configured.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Check> = configured.iter().filter_map(|target| trouble(target)).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let furthest = configured.iter().map(|target| target.lag_seconds).fold(0.0, f64::max);
    Ok(vec![Check::ok("webhooks", format!("{} targets, at most {furthest:.0} s behind the log", configured.len()))])
}

/// What is wrong with a target, and what mends it.
fn trouble(target: &TargetStatus) -> Option<Check> {
    let name = &target.name;
    let said = target.last_answer.as_deref().unwrap_or("nothing");
    Some(match judgement::target(target)? {
        TargetTrouble::Gone => Check::error(
            "webhooks",
            format!("{name} answered that it is gone (410): nothing is delivered to it"),
            format!("lablet webhooks resume {name}, or take it out of LABLET_WEBHOOKS"),
        ),
        TargetTrouble::Paused => Check::warning(
            "webhooks",
            format!("{name} is paused: {}", target.state_reason.as_deref().unwrap_or("nobody said why")),
            format!("lablet webhooks resume {name}"),
        ),
        TargetTrouble::Failing => Check::error(
            "webhooks",
            format!("{name} did not take an event, tried {} times; its last answer: {said}", target.failed_attempts),
            format!("lablet webhooks test {name}"),
        ),
        TargetTrouble::Late => Check::error(
            "webhooks",
            format!("{name} is {:.0} s behind the log, and nothing fails", target.lag_seconds),
            "lablet deliver (or lablet up with LABLET_WEBHOOKS)",
        ),
    })
}

#[cfg(test)]
mod tests {
    use app::log::Position;
    use app::webhook_targets::TargetState;
    use chrono::DateTime;

    use super::super::check::Severity;
    use super::*;

    fn target(state: TargetState, fails: bool, lag_seconds: f64) -> TargetStatus {
        TargetStatus {
            name: "booking".to_owned(),
            host: "booking.example.com".to_owned(),
            format: "structured".to_owned(),
            configured: true,
            state,
            state_reason: Some("moving".to_owned()),
            state_by: None,
            state_since: DateTime::UNIX_EPOCH,
            position: Position::START,
            replay_position: None,
            replay_until: None,
            lag_seconds,
            failing_event: fails.then(uuid::Uuid::nil),
            failed_attempts: 3,
            failing_since: None,
            retry_at: None,
            last_answer: Some("503".to_owned()),
            last_answer_at: None,
            attempts: 0,
            delivered: 0,
            dead_lettered: 0,
        }
    }

    #[test]
    fn a_target_that_gets_nothing_is_named_with_the_command_that_mends_it() {
        let judged = |state, fails, lag| {
            trouble(&target(state, fails, lag))
                .map(|check| (check.severity, check.found, check.mend.unwrap_or_default()))
        };
        assert_eq!(judged(TargetState::Active, false, 5.0), None);
        for (found, severity, says, mend) in [
            (judged(TargetState::Gone, false, 0.0), Severity::Error, "410", "lablet webhooks resume booking"),
            (judged(TargetState::Paused, true, 900.0), Severity::Warning, "moving", "lablet webhooks resume booking"),
            (judged(TargetState::Active, true, 5.0), Severity::Error, "503", "lablet webhooks test booking"),
            (judged(TargetState::Active, false, 900.0), Severity::Error, "900 s behind", "lablet deliver"),
        ] {
            let (judged, told, mended) = found.unwrap();
            assert_eq!(judged, severity);
            assert!(told.contains(says) && mended.contains(mend), "{told}: {mended}");
        }
    }
}
