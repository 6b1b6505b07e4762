//! What the overview and the search box ask.

use app::log::Origin;
use chrono::TimeDelta;
use domain::lablet_session::{LabletSession, LabletSessionCommand};
use projections::ReadModel;
use projections::search::{SearchDepth, SearchHit, SearchKind};
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
        let found = world.projections.search(text, limit, SearchDepth::default()).await.unwrap();
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

#[tokio::test]
async fn what_people_hold_is_found() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.running("s-2", "ospf").await;
    let nodes = json!([{"node_id": "n-1", "label": "core-R1", "node_definition": "iosv"}]);
    world
        .report(
            "s-1",
            seen(json!({"nodes": nodes, "observed_ports": {"PC_serial": 5041, "PC_vnc": 5142}, "lab_title": "Exam 7"})),
            None,
        )
        .await;
    world.ask("s-1", "r-1").await;
    world.fail("s-1", "r-1", "failed").await;
    world.settle().await;
    let deep = SearchDepth { dead_letters: true, history: true };
    let search = async |text: &str| {
        let found = world.projections.search(text, 10, deep).await.unwrap();
        assert_eq!(found.unreadable, [], "{text}");
        let told = |hits: Vec<SearchHit>| {
            let line = |hit: SearchHit| {
                let detail = hit.detail.unwrap_or_default();
                format!(
                    "{:?} {} {} ({detail}) of {}",
                    hit.kind,
                    hit.id,
                    hit.title,
                    hit.session_id.map(|id| id.to_string()).unwrap_or_default()
                )
            };
            hits.into_iter().map(line).collect::<Vec<_>>()
        };
        (told(found.exact), told(found.containing))
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(
        search("5142").await,
        (vec!["Port 5142 PC_vnc (observed on cml-1, running) of s-1".to_owned()], none.clone())
    );
    assert_eq!(
        search("5042").await.0,
        [
            "Port 5042 PC_vnc (allocated on cml-1, running) of s-2",
            "Port 5042 PC_vnc (allocated on cml-1, running) of s-1",
        ]
    );
    let named = search("pc_SER").await.1;
    assert_eq!(named[1], "Port 5041 PC_serial (allocated and observed on cml-1, running) of s-1", "{named:?}");
    assert_eq!(search("core-R1").await.0, ["Node n-1 core-R1 (iosv) of s-1"]);
    assert_eq!(search("CORE").await.1, ["Node n-1 core-R1 (iosv) of s-1"]);
    assert_eq!(search("Ada").await.0, ["Owner Ada sessions: 2 () of "]);
    assert_eq!(search("exam 7").await.1, ["Session s-1 OSPF (running) of "]);
    assert_eq!(search("DID not answer").await.1.len(), 1);
    let request = search("r-1").await.0;
    assert!(request[0].starts_with("Request r-1 failed: the controller did not answer"), "{request:?}");
    assert_eq!(search("70000").await, (none.clone(), none));
    let origin = Origin { correlation_id: Some("order-4711-a".to_owned()), ..Origin::from_actor("service:booking") };
    let reason = serde_json::from_value(json!({"reason": "a trial"})).unwrap();
    let (by, now) = ("admin:ada".to_owned(), world.now());
    let command = LabletSessionCommand::ChangeEvidence { counts: false, reason, by, now };
    world.log.execute::<LabletSession>("s-2", command, &origin).await.unwrap();
    let correlated = search("order-4711-a").await.0;
    assert!(correlated.len() == 1 && correlated[0].contains("evidence_excluded"), "{correlated:?}");
    let shallow = world.projections.search("order-4711-a", 10, SearchDepth::default()).await.unwrap();
    assert_eq!(shallow.exact, [], "what is suggested while it is typed looks through no history");
    world.go("s-1", domain::lablet_session::SessionStatus::Terminated).await;
    world.settle().await;
    assert_eq!(search("5142").await.0, Vec::<String>::new(), "nobody holds it any more");
}
