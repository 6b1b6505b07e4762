//! Kill it and look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::sync::Mutex;

use super::{SOON, verify, with_a_running_session};
use harness::{Lablet, eventually};

/// Reports observations as fast as they are answered, from several clients, and remembers which were acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(lablet: &Lablet, round: u64, acknowledged: &Arc<Mutex<BTreeSet<String>>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(0));
        let url = format!("{}/api/internal/lablet-sessions/s1/resource-observations", lablet.ready().http);
        let key = lablet.ready().internal_api_key.clone();
        let clients = (0..4)
            .map(|_| {
                let (stop, next, acknowledged) = (stop.clone(), next.clone(), acknowledged.clone());
                let (url, key) = (url.clone(), key.clone());
                tokio::spawn(async move {
                    let client = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        let observer = format!("load-{round}-{}", next.fetch_add(1, Ordering::Relaxed));
                        let body = json!({"observed_resources": {"observer": observer, "total_cpu_cores": 1}});
                        let answer = client.post(&url).header("x-api-key", &key).json(&body).send().await;
                        if answer.is_ok_and(|answer| answer.status().is_success()) {
                            acknowledged.lock().await.insert(observer);
                        }
                    }
                })
            })
            .collect();
        Self { stop, acknowledged: acknowledged.clone(), clients }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.acknowledged.lock().await.len()
    }
}

/// How often each observer's observation is in the log.
async fn recorded(lablet: &Lablet) -> Vec<(String, i64)> {
    let mut connection = PgConnection::connect(&lablet.ready().database_url).await.unwrap();
    let statement = "SELECT payload -> 'observed_resources' ->> 'observer' AS observer, count(*) AS times FROM events
                      WHERE event_type = 'lablet_session.resources_observed' GROUP BY 1";
    let rows = sqlx::query(statement).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| (row.get("observer"), row.get("times"))).collect()
}

async fn nothing_is_lost_or_doubled(lablet: &Lablet, acknowledged: &BTreeSet<String>) {
    let recorded = recorded(lablet).await;
    assert!(recorded.iter().all(|(_, times)| *times == 1), "recorded twice: {recorded:?}");
    let names: BTreeSet<&String> = recorded.iter().map(|(name, _)| name).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !names.contains(name)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let count = recorded.len();
    eventually("the read models to have every observation", SOON, || async {
        let session = lablet.get("/api/lablet-sessions/s1").await.ok()?;
        (session["observation_count"] == json!(count)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn killed_ten_times_under_load_it_loses_and_doubles_nothing() {
    let mut lablet = with_a_running_session().await;
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..10 {
        let load = Load::on(&lablet, round, &acknowledged);
        let before = acknowledged.lock().await.len();
        eventually("some observations to be acknowledged", SOON, || async {
            (acknowledged.lock().await.len() >= before + 20).then_some(())
        })
        .await;
        // The moment of death varies with the round: in between statements, acknowledgements and batches.
        tokio::time::sleep(Duration::from_millis(37 * (round % 7))).await;
        lablet.kill().await.unwrap();
        load.end().await;
        lablet.start_again().await.unwrap();
    }
    nothing_is_lost_or_doubled(&lablet, &*acknowledged.lock().await).await;
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn the_bus_may_be_deleted_while_it_runs() {
    let lablet = with_a_running_session().await;
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let load = Load::on(&lablet, 0, &acknowledged);
    let enough = |count: usize| {
        let acknowledged = acknowledged.clone();
        move || {
            let acknowledged = acknowledged.clone();
            async move { (acknowledged.lock().await.len() >= count).then_some(()) }
        }
    };
    eventually("observations before the loss", SOON, enough(30)).await;
    std::fs::remove_dir_all(lablet.data_dir().join("nats/jetstream")).unwrap();
    let before = acknowledged.lock().await.len();
    eventually("observations after the loss", SOON, enough(before + 30)).await;
    load.end().await;
    nothing_is_lost_or_doubled(&lablet, &*acknowledged.lock().await).await;
    // The relay finds out by itself and publishes again; until then the bus holds less than the log.
    eventually("the bus to hold what the log holds", 3 * SOON, || async {
        let (holds, report) = lablet.run(&["verify"]).await.unwrap();
        if !holds {
            eprintln!("{report}");
        }
        holds.then_some(())
    })
    .await;
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn ended_and_started_again_it_is_as_it_was() {
    let mut lablet = with_a_running_session().await;
    verify(&lablet).await;
    let before: Value = lablet.get("/api/lablet-sessions/s1").await.unwrap();
    lablet.terminate().await.unwrap();
    lablet.start_again().await.unwrap();
    verify(&lablet).await;
    assert_eq!(lablet.get("/api/lablet-sessions/s1").await.unwrap(), before);
    lablet.stop().await.unwrap();
}
