//! Why CML could not be read.

use std::error::Error as _;
use std::time::Duration;

use domain::controller_report::ContactState;

use crate::contact::Exchange;
use crate::credentials::HOSTS_SETTING;
use crate::hosts::SpecialAddress;

/// Most characters of CML's own words that are passed on.
const LONGEST_DESCRIPTION: usize = 200;

/// A call to CML that failed. The text fits into an event or a log line: it holds no secret, no address, no body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmlError {
    /// 403 when signing in. Not tried again before a pause, because controllers lock accounts.
    #[error("CML refused the user name or the password")]
    PasswordRefused,
    /// 401 with a token that was issued a moment ago.
    #[error("CML refused its own fresh token")]
    TokenRefused,
    /// 403 after sign-in: the user lacks a permission. Never retried.
    #[error("the user has no permission for this{}", said(.description))]
    Forbidden {
        /// CML's words, shortened; may be empty.
        description: String,
    },
    /// 404.
    #[error("CML does not know it{}", said(.description))]
    NotFound {
        /// CML's words, shortened; may be empty.
        description: String,
    },
    /// Any other status that is not a success.
    #[error("CML answered {status}{}", said(.description))]
    Status {
        /// The HTTP status.
        status: u16,
        /// CML's words, shortened; may be empty.
        description: String,
    },
    /// A success with a body that is not what the call promises.
    #[error("CML gave an invalid response: {reason}")]
    InvalidResponse {
        /// What was wrong with it; quotes nothing of the body.
        reason: String,
    },
    /// The body exceeded the bound.
    #[error("CML's answer exceeds {limit} bytes")]
    TooLarge {
        /// The bound, bytes.
        limit: usize,
    },
    /// No complete answer in time.
    #[error("no answer within {:.1} s", .after.as_secs_f64())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The connection could not be made, TLS included.
    #[error("CML cannot be reached: {reason}")]
    Unreachable {
        /// The network's error.
        reason: String,
    },
    /// The worker's name leads to an address that the configuration would have to name.
    #[error("nothing was sent: {special} in {} or in the worker's own entry", HOSTS_SETTING)]
    AddressNotNamed {
        /// What is special about the address.
        special: SpecialAddress,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection broke: {reason}")]
    Broken {
        /// The network's error.
        reason: String,
    },
}

fn said(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(": {description}") }
}

impl CmlError {
    /// A short word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PasswordRefused => "password_refused",
            Self::TokenRefused => "token_refused",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not_found",
            Self::Status { .. } => "status",
            Self::InvalidResponse { .. } => "invalid_response",
            Self::TooLarge { .. } => "too_large",
            Self::TimedOut { .. } => "timed_out",
            Self::Unreachable { .. } => "unreachable",
            Self::AddressNotNamed { .. } => "address_not_named",
            Self::Broken { .. } => "broken",
        }
    }

    /// What it says of the way to the worker.
    pub(super) fn exchange(&self) -> Exchange {
        match self {
            Self::PasswordRefused => Exchange::Failed(ContactState::SignInRefused),
            // What the user may not read, what is not there and a token that ran out are answers.
            Self::TokenRefused | Self::Forbidden { .. } | Self::NotFound { .. } => Exchange::AnsweredAnybody,
            Self::Status { .. } | Self::InvalidResponse { .. } | Self::TooLarge { .. } => Exchange::AnsweredWrongly,
            // The HTTP client tells the errors of TLS by their text alone.
            Self::Unreachable { reason } if reason.contains("invalid peer certificate") => {
                Exchange::Failed(ContactState::NotTrusted)
            }
            Self::TimedOut { .. } | Self::Unreachable { .. } | Self::AddressNotNamed { .. } | Self::Broken { .. } => {
                Exchange::Failed(ContactState::Unreachable)
            }
        }
    }

    pub(super) fn from_transport(error: reqwest::Error, after: Duration) -> Self {
        if error.is_timeout() {
            return Self::TimedOut { after };
        }
        let connecting = error.is_connect();
        // The address is dropped: it says nothing that the worker's id does not, and may carry more than it should.
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(special) = inner.downcast_ref::<SpecialAddress>() {
                return Self::AddressNotNamed { special: *special };
            }
            let text = inner.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            source = inner.source();
        }
        let reason = shortened(&reason, &[]);
        if connecting { Self::Unreachable { reason } } else { Self::Broken { reason } }
    }
}

/// CML's own words without control characters, without any of the `secrets`, and short.
pub(super) fn shortened(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    text.chars().filter(|character| !character.is_control()).take(LONGEST_DESCRIPTION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_told_from_a_host_that_is_away() {
        let unreachable = |reason: &str| CmlError::Unreachable { reason: reason.to_owned() }.exchange();
        assert_eq!(
            unreachable("error sending request: invalid peer certificate: UnknownIssuer"),
            Exchange::Failed(ContactState::NotTrusted)
        );
        assert_eq!(unreachable("connection refused"), Exchange::Failed(ContactState::Unreachable));
        let gone = CmlError::NotFound { description: "Lab not found: 1".to_owned() };
        assert_eq!(gone.exchange(), Exchange::AnsweredAnybody, "a lab that is not there is an answer");
    }

    #[test]
    fn what_cml_says_is_passed_on_short_and_without_secrets() {
        assert_eq!(shortened("token abc\n is \u{0}bad", &["abc", ""]), "token *** is bad");
        assert_eq!(shortened(&"x".repeat(900), &[]).len(), LONGEST_DESCRIPTION);
        let gone = CmlError::NotFound { description: "Lab not found: 1".into() };
        assert_eq!(gone.to_string(), "CML does not know it: Lab not found: 1");
        assert_eq!(CmlError::Status { status: 502, description: String::new() }.to_string(), "CML answered 502");
    }
}
