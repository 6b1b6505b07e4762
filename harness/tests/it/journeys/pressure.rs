//! What is measured on a short worker is known to be too low, from CML's own word to the analysts' view.

use harness::{Lablet, LabletOptions, eventually};
use serde_json::{Value, json};
use simulator::WorkerPressure;
use sqlx::{Connection as _, PgConnection};

use super::outcomes::{credentials, simulator};
use super::sampling::observed;
use super::{SOON, options, verify};

#[tokio::test]
async fn a_short_worker_is_told_in_the_observation_on_its_page_and_to_analysts() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, lab) = simulator().await;
    simulator.set_pressure(WorkerPressure { cpu: true, ..WorkerPressure::default() }).unwrap();
    let environment = credentials(&simulator, folder.path());
    let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", &simulator.url()).await.unwrap();
    let pressure = eventually("the worker is known to be short", SOON, async || {
        let worker = lablet.get("/api/workers/cml-1").await.unwrap();
        Some(worker["pressure"].clone()).filter(|pressure| pressure["condition"] == "short")
    })
    .await;
    assert_eq!(pressure["short_of"], json!(["cpu"]));
    assert!(pressure["reading"]["free_cpu_cores"].as_f64().unwrap() < 1.0, "{pressure}");

    lablet.running_session("s1", "ospf", "cml-1", &lab).await.unwrap();
    let seen = observed(&lablet, "s1").await;
    assert_eq!(seen["coverage"]["worker_short"], true, "{}", seen["coverage"]);
    assert_eq!(seen["coverage"]["worker_short_of"], json!(["cpu"]));

    let spells = lablet.get("/api/workers/cml-1/pressure").await.unwrap();
    assert_eq!(spells["items"][0]["event_id"], pressure["event_id"]);
    let short = eventually("the session's demand is doubted", SOON, async || {
        let profile = lablet.get("/api/lablet-sessions/s1/profile").await.unwrap();
        Some(profile["worker_short"].clone()).filter(|short| !short.is_null())
    })
    .await;
    assert_eq!(short, true);
    let mut analyst = PgConnection::connect(lablet.ready().analyst_database_url.as_deref().unwrap()).await.unwrap();
    let statement = "SELECT jsonb_build_object('worker', p.condition, 'spell', s.short_of_cpu,
            'demands', (SELECT bool_and(d.worker_short) FROM analytics_v1.session_demands d))
        FROM analytics_v1.worker_pressure p JOIN analytics_v1.worker_pressure_spells s USING (worker_id)
        ORDER BY s.spell_number DESC LIMIT 1";
    let shown: Value = sqlx::query_scalar(statement).fetch_one(&mut analyst).await.unwrap();
    assert_eq!(shown, json!({"worker": "short", "spell": true, "demands": true}));
    verify(&lablet).await;
    lablet.stop().await.unwrap();
}
