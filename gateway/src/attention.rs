//! `GET /api/attention`: what needs somebody, worst first, each with its one next step.
//!
//! The rules are in [`items`], and are values. Here the facts are read: at most once a second for all who look, and by
//! nobody where nobody looks. Every page shows how many there are from what was read last, and never waits for it.

pub(crate) mod items;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aide::transform::TransformOperation;
use app::log::Position;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use domain::lablet_definition::{Finding, ProposalStatus};
use domain::lablet_session::SessionStatus;
use projections::overview::Overview;
use projections::read_models::advice::proposals::ProposalFilter;
use projections::read_models::sessions::{SessionFilter, SessionSort};
use projections::{Page, PageRequest, ReadError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::items::{AttentionItem, AttentionKind, CountedSince, Facts, LostController, Severity, WorkerFacts, items};
use crate::answer_cache::AnswerCache;
use crate::caller::{Caller, Viewing};
use crate::controllers::ControllerWatch;
use crate::controllers::heard::ControllerState;
use crate::operations::OperationsReader;
use crate::problem::Problem;
use crate::queries::Queries;

/// How old an answer may be.
const SERVES: Duration = Duration::from_secs(1);
/// How old what a page shows in passing may be: older, and it is said to be unknown.
const SHOWN_FOR: Duration = Duration::from_secs(60);
/// Workers, sessions and proposals that are looked at; of more, it is said that there are more.
const MOST_ROWS: u32 = 200;
/// Pages of workers that are looked at.
const MOST_PAGES: usize = 5;
/// A session may run for so long after its timeslot: the controller observes it first.
const OVERDUE_AFTER: TimeDelta = TimeDelta::minutes(5);

/// What needs somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Attention {
    /// By which clock this is so.
    pub(crate) at: DateTime<Utc>,
    /// How many things do not work.
    pub(crate) bad: u64,
    /// How many things work, and need somebody all the same.
    pub(crate) warn: u64,
    /// Each, worst first, then by how many things it is about; empty: nothing needs anybody.
    pub(crate) items: Vec<AttentionItem>,
}

impl Attention {
    fn new(facts: &Facts) -> Self {
        let items = items(facts);
        let count = |severity| items.iter().filter(|item| item.severity == severity).count() as u64;
        Self { at: facts.now, bad: count(Severity::Bad), warn: count(Severity::Warn), items }
    }

    /// How many things each kind is about; 0: nothing of the kind needs anybody.
    fn affected(&self) -> impl Iterator<Item = (AttentionKind, u64)> {
        AttentionKind::ALL.into_iter().map(|kind| {
            let of_the_kind = self.items.iter().filter(|item| item.kind == kind);
            (kind, of_the_kind.map(|item| item.count.max(1)).sum())
        })
    }

    /// How many there are, and how bad the worst is; `None`: there is none.
    pub(crate) fn badge(&self) -> Option<AttentionBadge> {
        let worst = self.items.iter().map(|item| item.severity).min()?;
        Some(AttentionBadge { count: self.bad + self.warn, worst })
    }
}

/// How many things need somebody, for the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttentionBadge {
    pub(crate) count: u64,
    pub(crate) worst: Severity,
}

impl AttentionBadge {
    /// E.g. `3 things need attention`.
    pub(crate) fn words(self) -> String {
        match self.count {
            1 => "1 thing needs attention".to_owned(),
            count => format!("{count} things need attention"),
        }
    }
}

/// Reads what needs somebody. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AttentionWatch(Arc<Inner>);

struct Inner {
    operations: OperationsReader,
    overview: AnswerCache<Overview>,
    controllers: ControllerWatch,
    newest: Mutex<Option<(Instant, Arc<Attention>)>>,
    /// Held by whoever reads.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl AttentionWatch {
    pub(crate) fn new(
        operations: OperationsReader,
        overview: AnswerCache<Overview>,
        controllers: ControllerWatch,
    ) -> Self {
        Self(Arc::new(Inner { operations, overview, controllers, newest: Mutex::default(), reading: Arc::default() }))
    }

    /// What needs somebody, or did a second ago.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn look(&self) -> Result<Arc<Attention>, Problem> {
        if let Some(newest) = self.newest(SERVES) {
            return Ok(newest);
        }
        // One reads. The others wait, and take what it read.
        let _reading = self.0.reading.lock().await;
        match self.newest(SERVES) {
            Some(newest) => Ok(newest),
            None => self.read().await,
        }
    }

    /// How many things need somebody, as far as is known, for a page that shows something else: it does not wait. Where
    /// that is older than a second it is read again, for the next page.
    pub(crate) fn badge(&self) -> Option<AttentionBadge> {
        if self.newest(SERVES).is_none()
            && let Ok(reading) = Arc::clone(&self.0.reading).try_lock_owned()
        {
            let watch = self.clone();
            tokio::spawn(async move {
                if let Err(problem) = watch.read().await {
                    tracing::debug!(problem = problem.document().detail, "what needs attention could not be read");
                }
                drop(reading);
            });
        }
        self.newest(SHOWN_FOR)?.badge()
    }

    fn newest(&self, younger_than: Duration) -> Option<Arc<Attention>> {
        let newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().filter(|(at, _)| at.elapsed() < younger_than).map(|(_, attention)| Arc::clone(attention))
    }

    async fn read(&self) -> Result<Arc<Attention>, Problem> {
        let at = Instant::now();
        let attention = Arc::new(Attention::new(&self.facts().await?));
        for severity in Severity::ALL {
            let count = if severity == Severity::Bad { attention.bad } else { attention.warn };
            metrics::gauge!("lablet_attention_items", "severity" => severity.as_str()).set(count as f64);
        }
        for (kind, affected) in attention.affected() {
            metrics::gauge!("lablet_attention_affected", "kind" => kind.as_str()).set(affected as f64);
        }
        *self.0.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, Arc::clone(&attention)));
        Ok(attention)
    }

    /// A bounded number of statements, however many events, sessions and definitions there are.
    async fn facts(&self) -> Result<Facts, Problem> {
        let Inner { operations: reader, overview, controllers, .. } = &*self.0;
        let queries = &reader.queries;
        let log = queries.log();
        let operations = reader.read().await?;
        let now = log.clock().now();
        let overview = overview.get(None, queries.overview()).await?;
        let mut read_model_lags = Vec::new();
        let mut parked_since = Vec::new();
        for model in &operations.read_models {
            if model.events_behind > 0
                && let Some(age) = log.age_after(model.position).await.map_err(ReadError::Log)?
            {
                read_model_lags.push((model.read_model, age));
            }
            if model.parked_aggregates > 0 {
                let first = queries.dead_letters(model.read_model, true, &PageRequest::first(1)).await?;
                parked_since.extend(first.items.first().map(|letter| (model.read_model, letter.parked_at)));
            }
        }
        let relay_lag = log.age_after(operations.relay.position).await.map_err(ReadError::Log)?;
        let log_age = log.age_after(Position::START).await.map_err(ReadError::Log)?;
        let lost_controllers = controllers.all().into_iter().filter(|told| told.state == ControllerState::Running);
        let lost_controllers = lost_controllers
            .filter_map(|told| Some(LostController { host: told.host, error: told.gateway_error? }))
            .collect();
        Ok(Facts {
            now,
            read_model_lags,
            parked_since,
            relay_lag: relay_lag.unwrap_or_default(),
            log_age: log_age.unwrap_or_default(),
            presence: controllers.presence(),
            lost_controllers,
            workers: workers(queries, controllers).await?,
            drifted: drifted(&overview),
            requests: overview.requests,
            overdue: overdue(queries, now).await?,
            too_small: too_small(queries).await?,
            operations,
        })
    }
}

async fn workers(queries: &Queries, controllers: &ControllerWatch) -> Result<Vec<WorkerFacts>, ReadError> {
    let mut workers = Vec::new();
    let mut request = PageRequest::first(MOST_ROWS);
    for _ in 0..MOST_PAGES {
        let Page { items, next, .. } = queries.workers(&request).await?;
        workers.extend(items.into_iter().map(|worker| WorkerFacts {
            contact: controllers.contact(&worker.id),
            id: worker.id,
            name: worker.profile.name,
            registered_at: worker.registered_at,
            pressure: worker.pressure,
        }));
        let Some(next) = next else { break };
        request = PageRequest { limit: MOST_ROWS, cursor: Some(next) };
    }
    Ok(workers)
}

/// Running sessions whose ports drifted, and whose drift waits for somebody.
fn drifted(overview: &Overview) -> CountedSince {
    let up = || overview.sessions.iter().filter(|counted| SessionStatus::UP.contains(&counted.status));
    CountedSince {
        count: up().map(|counted| counted.drifted.saturating_sub(counted.drift_acknowledged)).sum(),
        or_more: false,
        since: up().filter_map(|counted| counted.drifted_since).min(),
    }
}

/// Running sessions whose timeslot is over.
async fn overdue(queries: &Queries, now: DateTime<Utc>) -> Result<CountedSince, ReadError> {
    let filter = SessionFilter {
        status: vec![SessionStatus::Running],
        timeslot_ended_before: Some(now - OVERDUE_AFTER),
        sort: SessionSort::TimeslotEnd,
        ..SessionFilter::default()
    };
    let found = queries.sessions(&filter, &PageRequest::first(MOST_ROWS)).await?;
    let ends = found.items.iter().filter_map(|session| session.timeslot.as_ref());
    Ok(CountedSince {
        count: found.items.len() as u64,
        or_more: found.next.is_some(),
        since: ends.map(|timeslot| timeslot.end()).min(),
    })
}

/// Open proposals for definitions that are too small.
async fn too_small(queries: &Queries) -> Result<CountedSince, ReadError> {
    let open = ProposalFilter { definition_id: None, status: Some(ProposalStatus::Open) };
    let found = queries.proposals(&open, &PageRequest::first(MOST_ROWS)).await?;
    let small = found.items.iter().filter(|row| row.proposal.finding == Finding::UnderProvisioned);
    Ok(CountedSince {
        count: small.clone().count() as u64,
        or_more: found.next.is_some(),
        since: small.map(|row| row.opened_at).min(),
    })
}

pub(crate) async fn show(State(watch): State<AttentionWatch>, _: Caller<Viewing>) -> Result<Json<Attention>, Problem> {
    Ok(Json(Attention::clone(&*watch.look().await?)))
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.id("show_attention").tag("operations").summary("What needs somebody, worst first").description(
        "Each with its one next step: a page of the console, or a command. Empty where nothing needs anybody. An \
             answer may be a second old.",
    )
}
