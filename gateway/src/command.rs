//! What becomes of a command: an answer with its place in the log, or a problem.

use std::time::Duration;

use app::commands::{CommandError, CompletedCommand};
use app::log::Outcome;
use app::warning::Warning;
use domain::Decide;

use crate::answer::{Answer, Written};
use crate::problem::{Problem, ProblemKind, sentence};
use crate::version::etag;

/// How long a sender waits before the log is asked again.
const COME_BACK: Duration = Duration::from_secs(2);

impl From<CommandError> for Problem {
    /// The same words, code and field as on the bus.
    fn from(error: CommandError) -> Self {
        let code = error.error_code();
        let text = error.to_string();
        // The text begins with the name of a field, which is not capitalised.
        let detail =
            if matches!(error, CommandError::Invalid(_)) { text.trim_start().to_owned() } else { sentence(&text) };
        let problem = Self::new(code.into(), detail).naming(error.invalid());
        let problem = match &error {
            CommandError::Stale { actual, .. } => problem.with_etag(etag(*actual)),
            CommandError::Unavailable(source) => {
                tracing::warn!(error = &**source as &dyn std::error::Error, "log unavailable");
                problem.retry_after(COME_BACK)
            }
            // What is stored and cannot be read concerns operators: it is logged and not told to the sender.
            CommandError::Broken(source) => Self::internal("the log cannot be read", &**source),
            CommandError::NotAuthorized(_)
            | CommandError::Invalid(_)
            | CommandError::NotFound { .. }
            | CommandError::Exists { .. }
            | CommandError::Refused(_)
            | CommandError::ProposalRefused(_)
            | CommandError::KeyReused { .. } => problem,
        };
        problem.coded(code)
    }
}

/// The outcome of a command, with the warnings about its body. A refusal has them too, as a misspelt member may be its
/// cause.
///
/// # Errors
/// The command's own problem.
pub(crate) fn settled<T: Warned>(result: Result<T, CommandError>, warnings: Vec<Warning>) -> Result<T, Problem> {
    match result {
        Ok(mut done) => {
            let later = std::mem::replace(done.warnings(), warnings);
            done.warnings().extend(later);
            Ok(done)
        }
        Err(error) => Err(Problem::from(error).beside(warnings)),
    }
}

/// What holds warnings.
pub(crate) trait Warned {
    fn warnings(&mut self) -> &mut Vec<Warning>;
}

impl<A: Decide> Warned for CompletedCommand<A> {
    fn warnings(&mut self) -> &mut Vec<Warning> {
        &mut self.warnings
    }
}

impl<I, A: Decide> Warned for (I, CompletedCommand<A>) {
    fn warnings(&mut self) -> &mut Vec<Warning> {
        &mut self.1.warnings
    }
}

/// An answer about what was done: its version, its position, whether it is the first answer given again, and what the
/// sender should look at.
pub(crate) fn written<const STATUS: u16, A: Decide, T>(
    done: &CompletedCommand<A>,
    body: T,
) -> Answer<STATUS, Written<T>> {
    Answer::new(Written { body, warnings: done.warnings.clone() })
        .at_version(done.version())
        .at_position(&done.position.to_string())
        .replayed(matches!(done.outcome, Outcome::Repeated))
}

/// What is there after a command that took effect.
///
/// # Errors
/// 500: a command that took effect leaves nothing absent.
pub(crate) fn present<T>(state: Option<&T>) -> Result<&T, Problem> {
    state.ok_or_else(|| Problem::new(ProblemKind::Internal, "The thing is absent after a command that took effect."))
}

#[cfg(test)]
mod tests {
    use domain::Invalid;
    use domain::lablet_session::{LabletSessionError, SessionStatus};

    use super::*;

    #[test]
    fn a_stale_version_names_both() {
        let problem = Problem::from(CommandError::Stale { expected: 3, actual: 5 });
        let document = problem.document();
        assert!(document.detail.contains("\"3\"") && document.detail.contains("\"5\""), "{}", document.detail);
        assert_eq!(document.status, 412);
    }

    #[test]
    fn http_and_bus_word_a_failure_the_same_way() {
        let id = || "s1".to_owned();
        let elsewhere = LabletSessionError::BoundElsewhere { what: "lab", bound: id(), refused: id() };
        let step = LabletSessionError::TransitionNotAllowed { from: SessionStatus::Ready, to: SessionStatus::Stopped };
        let unknown = LabletSessionError::UnknownRequest { request_id: "r1".parse().unwrap() };
        for error in [
            CommandError::Invalid(Invalid::new("a", "b", "c")),
            CommandError::NotFound { what: "session", id: id() },
            CommandError::Exists { what: "session", id: id() },
            CommandError::Refused(elsewhere),
            CommandError::Refused(step),
            CommandError::Refused(unknown),
            CommandError::Stale { expected: 1, actual: 2 },
            CommandError::KeyReused { key: id() },
            CommandError::Unavailable("away".into()),
            CommandError::Broken("broken".into()),
        ] {
            let code = error.error_code();
            let document = Problem::from(error).document();
            let found = (document.code.as_str(), document.kind.as_str(), document.status);
            assert_eq!(
                found,
                (code.as_str(), format!("urn:lablet:problem:{}", code.problem()).as_str(), code.status())
            );
        }
    }
}
