//! The subjects of the bus. What a subject says about its sender is enforced by the server's permissions.

/// Every published event: `lablet.events.<aggregate>.<event>.<aggregate id>`.
pub const EVENTS: &str = "lablet.events.>";
/// Every command: `lablet.commands.<team>.<command>`.
pub const COMMANDS: &str = "lablet.commands.>";
/// Commands as request and reply: `lablet.requests.<team>.<command>`.
pub const REQUESTS: &str = "lablet.requests";
/// Core message without content: something was appended to the log.
pub const NUDGE_LOG: &str = "lablet.nudge.log";
/// Core message without content: a projection moved.
pub const NUDGE_PROJECTIONS: &str = "lablet.nudge.projections";
/// Header that names the subject for the answer to a command; JetStream takes the reply subject for itself.
pub const REPLY_TO: &str = "Lablet-Reply-To";

/// The subject of an event, e.g. `lablet.events.worker.changed.w1`.
///
/// `event_type` is the type in the log, `<aggregate>.<event>`; identifiers are always fit to be one token.
pub fn event(event_type: &str, aggregate_id: &str) -> String {
    format!("lablet.events.{event_type}.{aggregate_id}")
}

/// The subject to which `team` publishes `command`.
pub fn command(team: &str, command: &str) -> String {
    format!("lablet.commands.{team}.{command}")
}

/// The subject to which `team` sends `command` as a request.
pub fn request(team: &str, command: &str) -> String {
    format!("{REQUESTS}.{team}.{command}")
}

/// Who sent which command, as a command's or a request's subject says. `None` for any other subject.
pub fn sender(subject: &str) -> Option<(&str, &str)> {
    let rest = subject.strip_prefix("lablet.commands.").or_else(|| subject.strip_prefix("lablet.requests."))?;
    let (team, command) = rest.split_once('.')?;
    let one_token = |text: &str| !text.is_empty() && !text.contains('.');
    (one_token(team) && one_token(command)).then_some((team, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_names_team_and_command() {
        assert_eq!(sender(&command("grading", "register_worker")), Some(("grading", "register_worker")));
        assert_eq!(sender(&request("grading", "register_worker")), Some(("grading", "register_worker")));
        for other in
            ["lablet.commands.grading", "lablet.commands.a.b.c", "lablet.commands..b", "lablet.events.a.b.c", ""]
        {
            assert_eq!(sender(other), None, "{other:?}");
        }
        assert_eq!(event("worker.changed", "w1"), "lablet.events.worker.changed.w1");
    }
}
