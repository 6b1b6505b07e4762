//! Subjects for acknowledgements, in the two forms that servers use.
//!
//! A server names the subject in each delivery: `$JS.ACK.<stream>.<consumer>.…` with nine tokens, and where its feature
//! flag `js_ack_fc_v2` is on, `$JS.ACK.<domain>.<account hash>.<stream>.<consumer>.…` with at least eleven (ADR-15). A
//! message that was delivered and lost has to be acknowledged without one, so its subject is made here, in the form of
//! the last delivery: permissions may allow only that form.

use std::sync::{Mutex, PoisonError};

use super::CONSUMER;
use bus::streams;

/// The form in which the server names subjects for acknowledgements.
#[derive(Debug, Default)]
pub(super) struct AcknowledgementForm(Mutex<Option<DomainAndAccount>>);

/// What the longer form adds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DomainAndAccount {
    /// `_` where the server has no domain.
    domain: String,
    account_hash: String,
}

impl AcknowledgementForm {
    /// Takes the form over from the subject of a delivery.
    pub(super) fn adopt(&self, subject: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = domain_and_account(subject);
    }

    /// The subject for a message of the stream of commands. The server goes by the sequence in the stream; of the
    /// consumer's sequence it only checks that it is not past its newest.
    pub(super) fn subject(&self, sequence: u64, consumer_sequence: u64) -> String {
        let form = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = form
            .as_ref()
            .map_or_else(String::new, |DomainAndAccount { domain, account_hash }| format!("{domain}.{account_hash}."));
        format!("$JS.ACK.{origin}{}.{CONSUMER}.1.{sequence}.{consumer_sequence}.0.0", streams::COMMANDS)
    }
}

/// Domain and account of a subject in the longer form; none in the shorter one.
fn domain_and_account(subject: &str) -> Option<DomainAndAccount> {
    let mut tokens = subject.strip_prefix("$JS.ACK.")?.split('.');
    let (domain, account_hash) = (tokens.next()?.to_owned(), tokens.next()?.to_owned());
    // Stream, consumer, deliveries, both sequences, time and pending; a random token may follow.
    (tokens.count() >= 7).then_some(DomainAndAccount { domain, account_hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_made_in_the_form_of_the_last_delivery() {
        let form = AcknowledgementForm::default();
        let short = "$JS.ACK.LABLET_COMMANDS.lablet_commands.1.7.9.0.0";
        assert_eq!(form.subject(7, 9), short, "before any delivery");
        form.adopt("$JS.ACK.hub.ACCHASH1.LABLET_COMMANDS.lablet_commands.1.5.6.1700000000000000000.3.token");
        assert_eq!(form.subject(7, 9), "$JS.ACK.hub.ACCHASH1.LABLET_COMMANDS.lablet_commands.1.7.9.0.0");
        form.adopt("$JS.ACK._.ACCHASH1.LABLET_COMMANDS.lablet_commands.1.5.6.1700000000000000000.3");
        assert_eq!(form.subject(7, 9), "$JS.ACK._.ACCHASH1.LABLET_COMMANDS.lablet_commands.1.7.9.0.0");
        form.adopt("$JS.ACK.LABLET_COMMANDS.lablet_commands.2.5.6.1700000000000000000.3");
        assert_eq!(form.subject(7, 9), short, "after the flag was turned off");
    }
}
