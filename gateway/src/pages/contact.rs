//! Controllers, and how they get on with workers, in words. What nobody told is said to be unknown.

use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, Utc};
use domain::WorkerId;
use domain::controller_report::{ContactFailure, ContactState};

use super::parts::{Badge, Tone, When, counted};
use crate::controllers::heard::{Controller, ControllerState, KnownContact, Presence};
use crate::pages::table::{Column, cell, time};

/// Whether a worker can be read.
pub(crate) fn badge(contact: &Option<KnownContact>) -> Badge {
    match contact.as_ref().map(|contact| contact.state) {
        Some(ContactState::Answers) => Badge::new(Tone::Good, "✓", "answers"),
        Some(ContactState::Unreachable) => Badge::new(Tone::Bad, "✕", "cannot be reached"),
        Some(ContactState::NotTrusted) => Badge::new(Tone::Bad, "✕", "certificate not trusted"),
        Some(ContactState::SignInRefused) => Badge::new(Tone::Bad, "✕", "refuses the sign-in"),
        Some(ContactState::NoCredentials) => Badge::new(Tone::Bad, "✕", "no credentials"),
        Some(ContactState::Unknown) | None => Badge::new(Tone::Calm, "?", "unknown"),
    }
}

/// The panel *Contact* of a worker.
#[derive(Debug, Clone, Template)]
#[template(path = "worker/contact.html")]
pub(super) struct ContactPanel {
    worker_id: WorkerId,
    contact: Option<KnownContact>,
    presence: Presence,
    now: DateTime<Utc>,
}

impl HtmlSafe for ContactPanel {}

impl ContactPanel {
    pub(super) fn new(
        worker_id: WorkerId,
        contact: Option<KnownContact>,
        presence: Presence,
        now: DateTime<Utc>,
    ) -> Self {
        Self { worker_id, contact, presence, now }
    }
}

/// How often something failed.
fn times(failure: &ContactFailure) -> String {
    match failure.times {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    }
}

/// Whether a controller runs.
pub(super) fn state(controller: &Controller) -> Badge {
    match controller.state {
        ControllerState::Running if controller.gateway_error.is_some() => {
            Badge::new(Tone::Bad, "!", "cannot list the workers")
        }
        ControllerState::Running => Badge::new(Tone::Good, "✓", "runs"),
        ControllerState::Missing => Badge::new(Tone::Bad, "✕", "not seen any more"),
        ControllerState::Ended => Badge::new(Tone::Calm, "■", "ended"),
    }
}

/// How a controller gets on with the workers.
pub(super) fn reads(controller: &Controller) -> Badge {
    let all = counted(&(controller.worker_count as u64), "worker");
    match controller.failing_workers {
        _ if !controller.has_credentials => Badge::new(Tone::Bad, "✕", "has no credentials"),
        0 => Badge::new(Tone::Good, "✓", all),
        failing => Badge::new(Tone::Bad, "✕", format!("{failing} of {all} cannot be read")),
    }
}

/// Controllers as CSV.
pub(super) const CONTROLLER_COLUMNS: [Column<Controller>; 10] = [
    ("controller_id", |row| row.id.clone()),
    ("host", |row| row.host.clone()),
    ("state", |row| state(row).words),
    ("version", |row| row.version.clone()),
    ("started_at", |row| time(&row.started_at)),
    ("last_seen_at", |row| time(&row.last_seen_at)),
    ("has_credentials", |row| row.has_credentials.to_string()),
    ("workers", |row| row.worker_count.to_string()),
    ("failing_workers", |row| row.failing_workers.to_string()),
    ("gateway_error", |row| cell(row.gateway_error.as_ref())),
];
