//! Faults that can be ordered: what goes wrong, on which requests, how often.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::defects::StatisticsDefect;

const MOST_FAULTS: usize = 50;
const LONGEST_DELAY_MILLISECONDS: u64 = 600_000;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The answer comes that much later.
    Slow { milliseconds: u64 },
    /// This status instead of an answer, in the controller's form of an error.
    Status { code: u16 },
    /// 307 to this address.
    Redirect { location: String },
    /// Signing in is refused with 403.
    RefusePassword,
    /// As while the controller boots: a proxy's 502 that is no JSON.
    Booting,
    /// The connection is cut before a byte of the answer.
    DropConnection,
    /// 200, and a body that is no JSON.
    InvalidBody,
    /// 200, and the first half of the real body.
    Truncate,
    /// `simulation_stats` and `lab_stats` with nodes as they should not be.
    Statistics { defect: StatisticsDefect },
    /// A socket stays open and tells nothing.
    SilentSocket,
    /// A message of a socket is filled up to this size.
    LargeFrame { bytes: usize },
    /// The connection of a socket is cut in the middle of a frame.
    CutFrame,
}

/// The method of what a socket pushes, as faults see it; its path is `/ws/ui/` and the type of the event, e.g.
/// `/ws/ui/lab_stats`.
pub(crate) const PUSH: &str = "PUSH";
const SOCKET: &str = "/ws/";
const LARGEST_FRAME: usize = 64 * 1024 * 1024;

/// A fault and the requests it strikes. What a socket pushes is struck by what only sockets know, and by faults that name
/// a socket in their path or `PUSH` as their method; a socket that is opened, by those that name it and while booting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only requests whose path contains this text, e.g. `simulation_stats`.
    #[serde(default)]
    pub path: Option<String>,
    /// Only requests of this method, e.g. `GET`.
    #[serde(default)]
    pub method: Option<String>,
    /// Share of those that it strikes, evenly spread, above 0 to 1.
    #[serde(default = "all_of_them")]
    pub share: f64,
    /// Ends after striking that often.
    #[serde(default)]
    pub times: Option<u64>,
}

fn all_of_them() -> f64 {
    1.0
}

#[derive(Clone, Debug, Error, PartialEq)]
pub enum FaultError {
    #[error("a share of {0} is not above 0 and at most 1")]
    Share(f64),
    #[error("{0} is no status of an answer; 200 to 599 are")]
    Status(u16),
    #[error("{0:?} is no address that a header can hold")]
    Location(String),
    #[error("a delay of {0} ms is longer than {LONGEST_DELAY_MILLISECONDS} ms")]
    Delay(u64),
    #[error("a frame of {0} bytes is larger than {LARGEST_FRAME} bytes")]
    Frame(usize),
    #[error("more than {MOST_FAULTS} faults at once")]
    TooMany,
}

impl Fault {
    /// Strikes every request to the API.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, path: None, method: None, share: 1.0, times: None }
    }

    #[must_use]
    pub fn on_path(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    #[must_use]
    pub fn on_method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    #[must_use]
    pub fn for_share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    fn check(&self) -> Result<(), FaultError> {
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(FaultError::Share(self.share));
        }
        match &self.kind {
            FaultKind::Status { code } if !(200..600).contains(code) => Err(FaultError::Status(*code)),
            FaultKind::Slow { milliseconds } if *milliseconds > LONGEST_DELAY_MILLISECONDS => {
                Err(FaultError::Delay(*milliseconds))
            }
            FaultKind::Redirect { location } if axum::http::HeaderValue::from_str(location).is_err() => {
                Err(FaultError::Location(location.clone()))
            }
            FaultKind::LargeFrame { bytes } if *bytes > LARGEST_FRAME => Err(FaultError::Frame(*bytes)),
            FaultKind::Slow { .. }
            | FaultKind::Status { .. }
            | FaultKind::Redirect { .. }
            | FaultKind::RefusePassword
            | FaultKind::Booting
            | FaultKind::DropConnection
            | FaultKind::InvalidBody
            | FaultKind::Truncate
            | FaultKind::Statistics { .. }
            | FaultKind::SilentSocket
            | FaultKind::LargeFrame { .. }
            | FaultKind::CutFrame => Ok(()),
        }
    }

    fn concerns(&self, method: &str, path: &str) -> bool {
        self.times != Some(0)
            && self.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_ref().is_none_or(|part| path.contains(part.as_str()))
            && self.can_strike(method == PUSH, path)
    }

    fn can_strike(&self, is_push: bool, path: &str) -> bool {
        let names_sockets = self.path.as_ref().is_some_and(|part| part.contains("ws/"))
            || self.method.as_ref().is_some_and(|method| method.eq_ignore_ascii_case(PUSH));
        match self.kind {
            FaultKind::RefusePassword => path.ends_with("/authenticate"),
            FaultKind::Statistics { .. } => path.ends_with("/simulation_stats") || path.ends_with("/lab_stats"),
            FaultKind::SilentSocket | FaultKind::LargeFrame { .. } | FaultKind::CutFrame => is_push,
            FaultKind::Booting => !is_push,
            FaultKind::Status { .. } | FaultKind::Redirect { .. } => {
                !is_push && (names_sockets || !path.starts_with(SOCKET))
            }
            FaultKind::Slow { .. } | FaultKind::DropConnection | FaultKind::InvalidBody | FaultKind::Truncate => {
                names_sockets || !path.starts_with(SOCKET)
            }
        }
    }
}

/// The faults in force, each with the number of requests it was asked about.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(Fault, u64)>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) -> Result<(), FaultError> {
        fault.check()?;
        if self.0.len() == MOST_FAULTS {
            return Err(FaultError::TooMany);
        }
        self.0.push((fault, 0));
        Ok(())
    }

    /// All or nothing.
    pub(crate) fn replace(&mut self, faults: Vec<Fault>) -> Result<(), FaultError> {
        let mut next = Self::default();
        faults.into_iter().try_for_each(|fault| next.add(fault))?;
        *self = next;
        Ok(())
    }

    pub(crate) fn list(&self) -> Vec<&Fault> {
        self.0.iter().map(|(fault, _)| fault).collect()
    }

    /// What strikes this request, in the order of the faults.
    pub(crate) fn strike(&mut self, method: &str, path: &str) -> Vec<FaultKind> {
        let mut struck = Vec::new();
        for (fault, asked) in self.0.iter_mut().filter(|(fault, _)| fault.concerns(method, path)) {
            let before = (*asked as f64 * fault.share).floor();
            *asked += 1;
            // Evenly spread: half means every second one, with no luck involved.
            if (*asked as f64 * fault.share).floor() > before {
                fault.times = fault.times.map(|times| times - 1);
                struck.push(fault.kind.clone());
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(fault: Fault) -> Faults {
        let mut faults = Faults::default();
        faults.add(fault).unwrap();
        faults
    }

    #[test]
    fn half_of_the_reads_means_every_second_one() {
        let mut faults = faults(Fault::new(FaultKind::Status { code: 500 }).for_share(0.5).on_method("get"));
        let struck: Vec<bool> = (0..6).map(|_| !faults.strike("GET", "/api/v0/labs").is_empty()).collect();
        assert_eq!(struck, [false, true, false, true, false, true]);
        assert!(faults.strike("PUT", "/api/v0/labs").is_empty());
    }

    #[test]
    fn a_fault_ends_after_its_times() {
        let mut faults = faults(Fault::new(FaultKind::InvalidBody).times(2));
        let struck = (0..5).filter(|_| !faults.strike("GET", "/api/v0/labs").is_empty()).count();
        assert_eq!(struck, 2);
    }

    #[test]
    fn a_refused_password_concerns_signing_in_only() {
        let mut faults = faults(Fault::new(FaultKind::RefusePassword));
        assert!(faults.strike("GET", "/api/v0/labs").is_empty());
        assert_eq!(faults.strike("POST", "/api/v0/authenticate"), [FaultKind::RefusePassword]);
    }

    #[test]
    fn a_fault_that_names_no_socket_is_not_used_up_by_one() {
        for kind in [FaultKind::DropConnection, FaultKind::InvalidBody, FaultKind::Status { code: 503 }] {
            let mut faults = faults(Fault::new(kind.clone()).times(1));
            assert!(faults.strike("GET", "/ws/ui").is_empty() && faults.strike(PUSH, "/ws/ui/lab_stats").is_empty());
            assert_eq!(faults.strike("GET", "/api/v0/labs"), [kind]);
        }
    }

    #[test]
    fn a_refusal_of_sockets_strikes_those_that_are_opened_and_not_what_open_ones_tell() {
        let mut refusal = faults(Fault::new(FaultKind::Status { code: 503 }).on_path("/ws/ui"));
        assert!(refusal.strike(PUSH, "/ws/ui/lab_stats").is_empty());
        assert_eq!(refusal.strike("GET", "/ws/ui").len(), 1);
        let mut silence = faults(Fault::new(FaultKind::SilentSocket));
        assert!(silence.strike("GET", "/ws/ui").is_empty() && silence.strike("GET", "/api/v0/labs").is_empty());
        assert_eq!(silence.strike(PUSH, "/ws/ui/system_stats").len(), 1);
    }

    #[test]
    fn the_wire_form_needs_the_kind_only() {
        let fault: Fault = serde_json::from_str(r#"{"kind":"slow","milliseconds":40,"path":"nodes"}"#).unwrap();
        assert_eq!(fault, Fault::new(FaultKind::Slow { milliseconds: 40 }).on_path("nodes"));
    }

    #[test]
    fn impossible_faults_are_refused_and_leave_the_old_ones() {
        let mut faults = faults(Fault::new(FaultKind::Booting));
        for fault in [
            Fault::new(FaultKind::InvalidBody).for_share(0.0),
            Fault::new(FaultKind::InvalidBody).for_share(f64::NAN),
            Fault::new(FaultKind::Status { code: 99 }),
            Fault::new(FaultKind::Slow { milliseconds: u64::MAX }),
        ] {
            faults.replace(vec![fault]).unwrap_err();
        }
        assert_eq!(faults.list(), [&Fault::new(FaultKind::Booting)]);
    }
}
