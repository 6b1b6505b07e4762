//! Two of each role on a cluster of three nats-servers and a Postgres with a replica, under a steady load: what a rolling
//! update, a lost server of the bus and a lost primary cost those who use it.

mod deployment;
mod load;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::eventually;

use self::deployment::{Deployment, ROLES};
use self::load::Load;
use super::SOON;

/// Set to a number: so many rounds of what is done once otherwise.
const ROUNDS_VARIABLE: &str = "LABLET_CLUSTER_ROUNDS";

fn rounds() -> usize {
    std::env::var(ROUNDS_VARIABLE).map_or(1, |rounds| rounds.parse().expect("a number of rounds"))
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_rolling_update_a_dead_leader_of_the_bus_or_a_dead_primary() {
    let mut deployment = Deployment::start().await;
    let load = Load::start(&deployment);
    load.goes_on().await;

    for _ in 0..rounds() {
        deployment.roll(&ROLES).await;
        load.goes_on().await;
    }
    assert_eq!(load.take_failures(), [""; 0], "no request fails while every process is replaced");

    for stream in ["LABLET_EVENTS", "LABLET_COMMANDS"] {
        let leader = eventually("a leader", SOON, || deployment.nats.leader(stream)).await;
        deployment.nats.kill(&leader).await;
        eventually("another leader", SOON, || async {
            deployment.nats.leader(stream).await.filter(|next| *next != leader)
        })
        .await;
        load.goes_on().await;
        deployment.nats.start_again(&leader).await;
    }
    let failures: Vec<String> = load.take_failures().into_iter().filter(|failure| failure.contains("http")).collect();
    assert_eq!(failures, [""; 0], "the bus is nothing that a request over HTTP needs");

    deployment.postgres.set_synchronous(true).await;
    load.goes_on().await;
    deployment.fail_over().await;
    load.goes_on().await;

    let acknowledged = load.end().await;
    deployment.holds(&acknowledged).await;

    let lost = lose_the_newest(&mut deployment).await;
    let found = eventually("what was lost, as the doctor tells it", SOON, async || {
        let (_, said) = deployment.run(&["doctor"], &[]).await;
        said.contains("events that the bus had told of were lost").then_some(said)
    })
    .await;
    assert!(found.contains("epoch 3 since"), "{found}");
    let (done, removed) = deployment.run(&["republish", "--remove-unknown"], &[]).await;
    assert!(done, "{removed}");
    deployment.holds(&acknowledged).await;
    let recorded = deployment.observers().await;
    assert!(lost.iter().any(|observer| !recorded.contains_key(observer)), "what was acknowledged in between");
    deployment.stop().await;
}

/// Promotes a replica that lacks what was acknowledged last, under load. Gives the observers of what it may lack.
async fn lose_the_newest(deployment: &mut Deployment) -> BTreeSet<String> {
    deployment.postgres.add_replica().await;
    let load = Load::start(deployment);
    load.goes_on().await;
    let before = deployment.observers().await;
    deployment.postgres.cut_replication().await;
    load.goes_on().await;
    deployment.fail_over().await;
    load.goes_on().await;
    let acknowledged = load.end().await;
    let recorded = deployment.observers().await;
    let missing: Vec<&String> = before.keys().filter(|observer| !recorded.contains_key(*observer)).collect();
    assert!(missing.is_empty(), "the replica had these: {missing:?}");
    let mut connection = deployment.connect().await;
    let holes: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM
            (SELECT FROM events GROUP BY aggregate_type, aggregate_id HAVING max(sequence) <> count(*)) AS holes",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(holes, 0, "nothing was written that rests on what was lost");
    acknowledged.into_iter().filter(|observer| !recorded.contains_key(observer)).collect()
}

/// How long one step of the load may take: a command waits for a database that is away.
const STEP_WITHIN: Duration = Duration::from_secs(60);
