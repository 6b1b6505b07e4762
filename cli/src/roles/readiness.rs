//! What each role needs to do its work, and what it measures of what it shares with others. Each look is bounded.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use app::webhook_targets::WebhookTargets;
use bus::Bus;
use futures_util::future::BoxFuture;
use gateway::probes::Check;
use projections::ReadModel;
use projections::freshness::Freshness;

use super::Store;
use crate::telemetry::Measure;

/// How long something may take to answer before it counts as unreachable.
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// Events that a read model may lack before it counts as behind: so many may be in a batch that is under way.
const TOLERATED_LAG: u64 = 1_000;

/// Looks at what a role needs.
pub(super) type Look = Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>;

/// A role as others see it.
pub(super) struct Observed {
    /// E.g. `relay`.
    pub(super) role: &'static str,
    pub(super) look: Look,
    pub(super) measure: Measure,
}

/// The relay reads the one and writes to the other.
pub(super) fn of_relay(store: &Store, bus: &Bus) -> Observed {
    let look = looking(store, bus, |store, bus| async move {
        vec![Check::required("postgres", postgres(&store).await), Check::required("nats", nats(&bus))]
    });
    let measure = measuring(store, bus, |store| async move { measure_log(&store).await });
    Observed { role: "relay", look, measure }
}

/// Projections read the log where the bus is away.
pub(super) fn of_projections(store: &Store, bus: &Bus) -> Observed {
    let look = looking(store, bus, |store, bus| async move {
        let (postgres, behind) = match read_models(&store).await {
            Ok(behind) => (None, behind),
            Err(fault) => (Some(fault), None),
        };
        let nats = Check::useful("nats", nats(&bus));
        vec![Check::required("postgres", postgres), nats, Check::useful("read models", behind)]
    });
    let measure = measuring(store, bus, |store| async move {
        measure_log(&store).await?;
        let freshness = store.projections.freshness().await?;
        Ok(store.projections.measure(&freshness.items).await?)
    });
    Observed { role: "project", look, measure }
}

/// Webhooks need the bus to be woken alone.
pub(super) fn of_webhooks(store: &Store, bus: &Bus) -> Observed {
    let look = looking(store, bus, |store, bus| async move {
        vec![Check::required("postgres", postgres(&store).await), Check::useful("nats", nats(&bus))]
    });
    WebhookTargets::describe_metrics();
    let measure = measuring(store, bus, |store| async move { Ok(WebhookTargets::new(&store.log).measure().await?) });
    Observed { role: "deliver", look, measure }
}

/// A controller takes requests from the bus and reports by it; without the gateway it does not learn what runs.
pub(super) fn of_controller(gateway: &controller::Gateway, bus: &Bus) -> Observed {
    let (client, connection) = (gateway.clone(), bus.clone());
    let look: Look = Arc::new(move || {
        let (gateway, bus) = (client.clone(), connection.clone());
        Box::pin(async move {
            let answered = in_time(async { Ok(gateway.answers().await?) }).await;
            vec![Check::required("nats", nats(&bus)), Check::useful("gateway", answered.err())]
        })
    });
    let bus = bus.clone();
    let measure: Measure = Arc::new(move || {
        bus.measure();
        Box::pin(std::future::ready(()))
    });
    Observed { role: "control", look, measure }
}

type Failure = Box<dyn Error + Send + Sync>;

fn looking<F>(store: &Store, bus: &Bus, look: fn(Store, Bus) -> F) -> Look
where
    F: Future<Output = Vec<Check>> + Send + 'static,
{
    let (store, bus) = (store.clone(), bus.clone());
    Arc::new(move || Box::pin(look(store.clone(), bus.clone())))
}

fn measuring<F>(store: &Store, bus: &Bus, measure: fn(Store) -> F) -> Measure
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (store, bus) = (store.clone(), bus.clone());
    Arc::new(move || {
        bus.measure();
        let measured = in_time(measure(store.clone()));
        Box::pin(async move {
            if let Err(reason) = measured.await {
                tracing::debug!(reason, "database metrics not updated");
            }
        })
    })
}

/// What came of it in time, or why nothing did.
async fn in_time<T>(look: impl Future<Output = Result<T, Failure>>) -> Result<T, String> {
    match tokio::time::timeout(LONGEST_LOOK, look).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LONGEST_LOOK.as_secs())),
    }
}

async fn postgres(store: &Store) -> Option<String> {
    in_time(async { Ok(store.log.newest().await?) }).await.err()
}

fn nats(bus: &Bus) -> Option<String> {
    (!bus.is_connected()).then(|| "not connected".to_owned())
}

/// The read models that lag or hold something back, in words.
async fn read_models(store: &Store) -> Result<Option<String>, String> {
    let freshness = in_time(async { Ok(store.projections.freshness().await?) }).await?;
    let names = |wanted: &dyn Fn(&Freshness) -> bool| {
        let models = freshness.items.iter().filter(|model| wanted(model)).map(|model| model.read_model);
        models.map(ReadModel::name).collect::<Vec<_>>().join(", ")
    };
    let behind = names(&|model| model.events_behind > TOLERATED_LAG);
    let parked = names(&|model| model.parked_aggregates > 0);
    let faults = [("behind", behind), ("with parked aggregates", parked)];
    let said: Vec<String> = faults
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(fault, names)| format!("{fault}: {names}"))
        .collect();
    Ok((!said.is_empty()).then(|| said.join("; ")))
}

/// How far the log's readers are behind, and what the watcher did.
async fn measure_log(store: &Store) -> Result<(), Failure> {
    store.log.visibility().await?;
    app::watcher::state(&store.log).await?;
    Ok(())
}
