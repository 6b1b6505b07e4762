//! What the overview and the search box ask.

use chrono::TimeDelta;
use projections::ReadModel;
use projections::search::SearchKind;
use serde_json::json;

use crate::given::{World, seen};

#[tokio::test]
async fn an_exact_id_comes_before_what_contains_it() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.worker("cml-1").await;
    for id in ["ospf", "s-ospf-2", "other"] {
        world.session(id, "ospf").await;
    }
    world.settle().await;
    let search = async |text: &str, limit| {
        let found = world.projections.search(text, limit).await.unwrap();
        let exact: Vec<_> = found.exact.into_iter().map(|hit| (hit.kind, hit.id)).collect();
        let containing: Vec<_> = found.containing.into_iter().map(|hit| (hit.kind, hit.id)).collect();
        (exact, containing, found.more)
    };
    let hit = |kind, id: &str| (kind, id.to_owned());
    use SearchKind::{Definition, Event, Session, Worker};
    assert_eq!(
        search("ospf", 10).await,
        (
            vec![hit(Session, "ospf"), hit(Definition, "ospf")],
            vec![hit(Session, "other"), hit(Session, "s-ospf-2")],
            vec![]
        ),
        "a session is found by its definition too"
    );
    assert_eq!(search(" OSPF-2 ", 10).await, (vec![], vec![hit(Session, "s-ospf-2")], vec![]));
    assert_eq!(search("EXAMPLE.org", 10).await, (vec![], vec![hit(Worker, "cml-1")], vec![]));
    assert_eq!(search("s", 1).await.2, [Session], "there are more sessions");
    assert_eq!(search("%", 10).await, (vec![], vec![], vec![]), "no pattern");
    assert_eq!(search("  ", 10).await, (vec![], vec![], vec![]));
    let event = world.log.history("worker", "cml-1", 0, 1).await.unwrap()[0].event_id.to_string();
    assert_eq!(search(&event, 10).await, (vec![hit(Event, &event)], vec![], vec![]));
}

#[tokio::test]
async fn the_overview_counts_what_failed_lately() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.observe("s-1", seen(json!({"observed_ports": {}}))).await;
    world.session("s-2", "ospf").await;
    for (request, hours) in [("r-1", 25), ("r-2", 1)] {
        world.ask("s-1", request).await;
        world.fail("s-1", request, "failed").await;
        world.clock.advance(TimeDelta::hours(hours));
    }
    world.ask("s-1", "r-3").await;
    let asked_at = world.clock.now();
    world.ask("s-1", "r-4").await;
    world.fail("s-1", "r-4", "skipped").await;
    world.settle().await;
    let overview = world.projections.overview().await.unwrap();
    let sessions: Vec<_> =
        overview.sessions.iter().map(|count| (count.status.as_str(), count.sessions, count.drifted)).collect();
    assert_eq!(sessions, [("pending", 1, 0), ("running", 1, 1)]);
    assert_eq!((overview.requests.open, overview.requests.oldest_open_at), (1, Some(asked_at)));
    assert_eq!(overview.requests.failed_last_24_hours, 1);
    assert_eq!(overview.read_models.len(), ReadModel::ALL.len());
}
