//! Labs: controllers, workers, sessions, and the sizes of definitions.

use chrono::TimeDelta;
use domain::controller_report::ContactState;
use domain::worker::{PressureCondition, Shortage};

use super::{AttentionItem, AttentionKind, CountedSince, Facts, NextStep, Severity, WorkerFacts, be, counted};
use crate::judgement::HEARD_WITHIN;
use crate::pages::pressure::shortage_names;

/// A request that is open for longer waits for somebody.
const LONGEST_OPEN: TimeDelta = TimeDelta::minutes(5);
/// Most that are named.
const MOST_NAMED: usize = 3;

/// What needs somebody.
pub(super) fn items(facts: &Facts) -> Vec<AttentionItem> {
    let mut items = Vec::new();
    items.extend(controllers(facts));
    items.extend(unusable_workers(facts));
    items.extend(silent_workers(facts));
    items.extend(short_workers(facts));
    items.extend(port_drift(facts));
    items.extend(requests(facts));
    items.extend(overdue(facts));
    items.extend(too_small(facts));
    items
}

fn controllers(facts: &Facts) -> Vec<AttentionItem> {
    let mut items = Vec::new();
    if let Some(since) = facts.presence.missing_since().filter(|_| !facts.workers.is_empty()) {
        items.push(AttentionItem {
            severity: Severity::Bad,
            kind: AttentionKind::ControllerMissing,
            count: 1,
            words: format!("{}: nothing is observed", facts.presence.words(facts.now)),
            since: Some(since),
            next_step: NextStep::command("Start one", "lablet control"),
        });
    }
    items.extend(facts.lost_controllers.iter().map(|controller| AttentionItem {
        severity: Severity::Bad,
        kind: AttentionKind::ControllerWithoutGateway,
        count: 1,
        words: format!("The controller on {} cannot list the workers: {}", controller.host, controller.error),
        since: None,
        next_step: NextStep::page("See the controllers", "/operations#controllers"),
    }));
    items
}

/// Workers that cannot be read, by the reason.
fn unusable_workers(facts: &Facts) -> Vec<AttentionItem> {
    let reasons = [
        (
            ContactState::SignInRefused,
            AttentionKind::WorkerSignInRefused,
            "refuse every sign-in",
            "refuses every sign-in",
        ),
        (ContactState::Unreachable, AttentionKind::WorkerUnreachable, "cannot be reached", "cannot be reached"),
        (
            ContactState::NotTrusted,
            AttentionKind::WorkerNotTrusted,
            "have certificates that are not trusted",
            "has a certificate that is not trusted",
        ),
        (
            ContactState::NoCredentials,
            AttentionKind::WorkerNoCredentials,
            "cannot be signed in to, as no credentials may be sent there",
            "cannot be signed in to, as no credentials may be sent there",
        ),
    ];
    reasons
        .into_iter()
        .filter_map(|(state, kind, they, it)| {
            let is_so = |worker: &&WorkerFacts| worker.contact.as_ref().is_some_and(|contact| contact.state == state);
            let workers: Vec<&WorkerFacts> = facts.workers.iter().filter(is_so).collect();
            let errors = workers.iter().filter_map(|worker| worker.contact.as_ref()?.last_error.as_ref());
            let since = errors.map(|error| error.since).min();
            let step = |worker: Option<&WorkerFacts>| match worker {
                Some(worker) => NextStep::page("See its last error", format!("/workers/{}#contact", worker.id)),
                None => NextStep::page("See their last errors", "/workers"),
            };
            about(&workers, Severity::Bad, kind, (they, it), step).map(|item| item.since(since))
        })
        .collect()
}

/// Workers of which nothing was told, though a controller runs and does not say why.
fn silent_workers(facts: &Facts) -> Option<AttentionItem> {
    let is_silent = |worker: &&WorkerFacts| {
        let told_at = worker.pressure.as_ref().map_or(worker.registered_at, |pressure| pressure.observed_at);
        facts.now - told_at > HEARD_WITHIN
    };
    let is_explained =
        |worker: &WorkerFacts| worker.contact.as_ref().is_some_and(|contact| contact.state != ContactState::Unknown);
    if facts.presence.missing_since().is_some() {
        return None;
    }
    let workers: Vec<&WorkerFacts> =
        facts.workers.iter().filter(is_silent).filter(|worker| !is_explained(worker)).collect();
    let words = ("were not heard of for 75 min", "was not heard of for 75 min");
    let step = |worker: Option<&WorkerFacts>| match worker {
        Some(worker) => NextStep::page("See what is known of it", format!("/workers/{}", worker.id)),
        None => NextStep::page("See the workers", "/workers"),
    };
    about(&workers, Severity::Warn, AttentionKind::WorkerSilent, words, step)
}

fn short_workers(facts: &Facts) -> Option<AttentionItem> {
    let shortage = |worker: &WorkerFacts| {
        let pressure = worker.pressure.as_ref()?;
        let is_known = facts.now - pressure.observed_at <= HEARD_WITHIN;
        (is_known && pressure.condition == PressureCondition::Short).then(|| pressure.clone())
    };
    let workers: Vec<&WorkerFacts> = facts.workers.iter().filter(|worker| shortage(worker).is_some()).collect();
    let since = workers.iter().filter_map(|worker| shortage(worker)).map(|pressure| pressure.since).min();
    let mut short_of: Vec<Shortage> =
        workers.iter().filter_map(|worker| shortage(worker)).flat_map(|pressure| pressure.short_of).collect();
    short_of.sort_unstable();
    short_of.dedup();
    let of = shortage_names(&short_of);
    let step = |worker: Option<&WorkerFacts>| match worker {
        Some(worker) => NextStep::page("See what it is short of", format!("/workers/{}#pressure", worker.id)),
        None => NextStep::page("See the workers", "/workers"),
    };
    let words = (&*format!("are short of {of}"), &*format!("is short of {of}"));
    about(&workers, Severity::Warn, AttentionKind::WorkerShort, words, step).map(|item| item.since(since))
}

/// An item about workers, which names the first of them; `None`: there is none.
fn about(
    workers: &[&WorkerFacts],
    severity: Severity,
    kind: AttentionKind,
    (they, it): (&str, &str),
    next_step: impl Fn(Option<&WorkerFacts>) -> NextStep,
) -> Option<AttentionItem> {
    let names: Vec<&str> = workers.iter().take(MOST_NAMED).map(|worker| worker.name.as_str()).collect();
    let (words, next_step) = match workers {
        [] => return None,
        [worker] => (format!("The worker {} {it}", worker.name), next_step(Some(worker))),
        more => {
            let ellipsis = if more.len() > MOST_NAMED { ", …" } else { "" };
            (format!("{} workers {they}: {}{ellipsis}", more.len(), names.join(", ")), next_step(None))
        }
    };
    Some(AttentionItem { severity, kind, count: workers.len() as u64, words, since: None, next_step })
}

fn port_drift(facts: &Facts) -> Option<AttentionItem> {
    let CountedSince { count, since, .. } = facts.drifted;
    (count > 0).then(|| AttentionItem {
        severity: Severity::Warn,
        kind: AttentionKind::PortDrift,
        count,
        words: format!("Ports of {} are not those that were allocated", counted(count, "running session")),
        since,
        next_step: NextStep::page("See which", "/drift?state=open"),
    })
}

fn requests(facts: &Facts) -> Vec<AttentionItem> {
    let requests = facts.requests;
    let mut items = Vec::new();
    let failed = requests.failed_last_24_hours;
    if failed > 0 {
        items.push(AttentionItem {
            severity: Severity::Warn,
            kind: AttentionKind::RequestsFailed,
            count: failed,
            words: format!("{} failed in the last 24 h", counted(failed, "observation request")),
            since: None,
            next_step: NextStep::page("See why", "/requests?status=failed"),
        });
    }
    if let Some(oldest) = requests.oldest_open_at.filter(|oldest| facts.now - *oldest > LONGEST_OPEN) {
        items.push(AttentionItem {
            severity: Severity::Warn,
            kind: AttentionKind::RequestsOpen,
            count: requests.open,
            words: format!(
                "{} {} open, the oldest for more than {} min",
                counted(requests.open, "observation request"),
                be(requests.open),
                LONGEST_OPEN.num_minutes()
            ),
            since: Some(oldest),
            next_step: NextStep::page("See which", "/requests?status=open"),
        });
    }
    items
}

fn overdue(facts: &Facts) -> Option<AttentionItem> {
    let CountedSince { count, since, .. } = facts.overdue;
    (count > 0).then(|| AttentionItem {
        severity: Severity::Warn,
        kind: AttentionKind::SessionsOverdue,
        count,
        words: format!(
            "{} still {}, though the timeslot is over",
            facts.overdue.in_words("session"),
            if count == 1 { "runs" } else { "run" }
        ),
        since,
        next_step: NextStep::page("See which", "/sessions?status=running&sort=timeslot_end"),
    })
}

fn too_small(facts: &Facts) -> Option<AttentionItem> {
    let CountedSince { count, since, .. } = facts.too_small;
    (count > 0).then(|| AttentionItem {
        severity: Severity::Warn,
        kind: AttentionKind::DefinitionsTooSmall,
        count,
        words: format!(
            "{} {} smaller than {} sessions need",
            facts.too_small.in_words("definition"),
            be(count),
            if count == 1 { "its" } else { "their" }
        ),
        since,
        next_step: NextStep::page("Review the proposed sizes", "/proposals?status=open"),
    })
}
