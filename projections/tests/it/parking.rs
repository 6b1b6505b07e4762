//! An event that cannot be applied parks its aggregate, and nothing else.

use app::log::Position;
use domain::SessionId;
use domain::lablet_session::SessionStatus;
use projections::discarded_letters::{DiscardedFilter, LetterKind};
use projections::rebuild::RebuildOptions;
use projections::{PageRequest, ReadModel};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::given::{World, seen};

/// Appends as somebody would whose events this release does not know.
async fn append(world: &World, id: &str, sequence: i64, event_type: &str, payload: Value) {
    let statement = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
            metadata)
        VALUES ('lablet_session', $1, $2, $3, '1', $4::json, '{}')";
    sqlx::query(statement)
        .bind(id)
        .bind(sequence)
        .bind(event_type)
        .bind(payload.to_string())
        .execute(&world.database.pool())
        .await
        .unwrap();
}

fn step(id: &str, status: &str) -> Value {
    json!({
        "type": format!("lablet_session.{status}.v1"), "session_id": id, "definition_id": "ospf",
        "definition_version": "1", "definition_revision": 1, "worker_id": "cml-1", "at": "2026-03-01T10:00:00Z"
    })
}

async fn status(world: &World, id: &str) -> Option<SessionStatus> {
    let id = SessionId::parse(id).unwrap();
    world.projections.session(&id).await.unwrap().map(|detail| detail.session.status)
}

/// `s-1` at sequence 1 with an event that nobody understands after it, and two more behind that.
pub(crate) async fn parked() -> World {
    let world = World::new().await;
    world.definition("ospf").await;
    world.session("s-1", "ospf").await;
    world.session("s-2", "ospf").await;
    append(&world, "s-1", 2, "lablet_session.teleported", json!({"type": "lablet_session.teleported.v1"})).await;
    append(&world, "s-1", 3, "lablet_session.scheduled", step("s-1", "scheduled")).await;
    world.go("s-2", SessionStatus::Scheduled).await;
    world.settle().await;
    // A later batch: it waits too.
    append(&world, "s-1", 4, "lablet_session.instantiating", step("s-1", "instantiating")).await;
    world.settle().await;
    world
}

#[tokio::test]
async fn the_rest_flows_and_the_letters_say_why() {
    let world = parked().await;
    assert_eq!(status(&world, "s-1").await, Some(SessionStatus::Pending));
    assert_eq!(status(&world, "s-2").await, Some(SessionStatus::Scheduled));
    let letters = world.projections.dead_letters(ReadModel::Sessions, false, &PageRequest::default()).await.unwrap();
    let listed: Vec<(i64, bool)> =
        letters.items.iter().map(|letter| (letter.sequence, letter.reason.is_some())).collect();
    assert_eq!(listed, [(2, true), (3, false), (4, false)]);
    let reason = letters.items[0].reason.as_deref().unwrap();
    assert!(reason.contains("teleported"), "{reason}");
    let first = world.projections.dead_letters(ReadModel::Sessions, true, &PageRequest::default()).await.unwrap();
    assert_eq!(first.items.len(), 1);
    let shown = world.projections.dead_letter(ReadModel::Sessions, first.items[0].event_id).await.unwrap().unwrap();
    assert_eq!(shown, first.items[0]);
    let report = world.projections.verify(ReadModel::Sessions).await.unwrap();
    assert!(report.holds(), "what is parked is accounted for: {report:?}");
    assert_eq!(report.dead_letters, 3);
    let freshness = world.projections.freshness().await.unwrap().items;
    assert_eq!((freshness[0].parked_aggregates, freshness[0].dead_letters), (1, 3));
}

#[tokio::test]
async fn a_retry_goes_as_far_as_it_can() {
    let world = parked().await;
    let retried = world.projections.retry_dead_letters(ReadModel::Sessions, "lablet_session", "s-1").await.unwrap();
    assert_eq!((retried.applied, retried.stopped_at.is_some()), (0, true));
    let letters = world.projections.dead_letters(ReadModel::Sessions, true, &PageRequest::default()).await.unwrap();
    assert_eq!((letters.items[0].attempts, Some(letters.items[0].event_id)), (2, retried.stopped_at));

    // As if a release had been at fault: once the event that stopped it is out of the way, the rest follows in order.
    sqlx::query("UPDATE read_sessions.applied SET sequence = 2, events = 2 WHERE aggregate_id = 's-1'")
        .execute(&world.database.pool())
        .await
        .unwrap();
    sqlx::query("DELETE FROM read_sessions.dead_letters WHERE sequence = 2")
        .execute(&world.database.pool())
        .await
        .unwrap();
    let retried = world.projections.retry_dead_letters(ReadModel::Sessions, "lablet_session", "s-1").await.unwrap();
    assert_eq!((retried.applied, retried.stopped_at), (2, None));
    assert_eq!(status(&world, "s-1").await, Some(SessionStatus::Instantiating));
    append(&world, "s-1", 5, "lablet_session.ready", step("s-1", "ready")).await;
    world.settle().await;
    assert_eq!(status(&world, "s-1").await, Some(SessionStatus::Ready), "it is no longer parked");
}

#[tokio::test]
async fn what_is_discarded_stays_so_through_a_rebuild() {
    let world = parked().await;
    for model in [ReadModel::Sessions, ReadModel::Observations] {
        let letters = world.projections.dead_letters(model, true, &PageRequest::default()).await.unwrap();
        let event_id = letters.items[0].event_id;
        let waiting = world.projections.dead_letters(model, false, &PageRequest::default()).await.unwrap();
        let behind = waiting.items[1].event_id;
        let none = world.projections.discard_dead_letter(model, behind, "admin:ada", "no").await.unwrap();
        assert_eq!(none, None, "only what has a reason is discarded");
        let retried = world
            .projections
            .discard_dead_letter(model, event_id, "admin:ada", "a foreign event")
            .await
            .unwrap()
            .unwrap();
        assert_eq!((retried.applied, retried.discarded, retried.stopped_at), (2, 1, None), "{model}");
        assert!(world.projections.verify(model).await.unwrap().holds());
        let options = RebuildOptions { compare: true, keep_live: false };
        let report = world.projections.rebuild(model, options, &CancellationToken::new()).await.unwrap();
        assert_eq!(report.differing_tables, Some(vec![]), "{model}");
        assert!(world.projections.verify(model).await.unwrap().holds());
    }
    assert_eq!(status(&world, "s-1").await, Some(SessionStatus::Instantiating));
    what_was_discarded_is_listed(&world).await;
}

/// With who, when and why, also why it was here, page by page; a rebuild changes nothing of it.
async fn what_was_discarded_is_listed(world: &World) {
    let list = async |filter: &DiscardedFilter, request: PageRequest| {
        world.projections.discarded_letters(filter, &request).await.unwrap()
    };
    let all = list(&DiscardedFilter::default(), PageRequest::default()).await;
    let sources: Vec<&str> = all.items.iter().map(|letter| letter.source.as_str()).collect();
    assert_eq!(sources, ["observations", "sessions"], "the last decision first");
    let newest = &all.items[0];
    assert_eq!((newest.kind, newest.discarded_by.as_deref()), (LetterKind::Event, Some("admin:ada")));
    assert_eq!(newest.discarded_because.as_deref(), Some("a foreign event"));
    assert!(
        newest.reason.as_ref().is_some_and(|reason| !reason.is_empty()) && newest.event_type.is_some(),
        "{newest:?}"
    );
    assert!(newest.position.is_some() && newest.attempts.is_none(), "{newest:?}");
    let first = list(&DiscardedFilter::default(), PageRequest::first(1)).await;
    let second = list(&DiscardedFilter::default(), PageRequest { limit: 1, cursor: first.next.clone() }).await;
    assert_eq!([first.items, second.items].concat(), all.items);
    assert_eq!(second.next, None);
    for (filter, found) in [
        (DiscardedFilter { kind: Some(LetterKind::Event), ..DiscardedFilter::default() }, 2),
        (DiscardedFilter { kind: Some(LetterKind::Command), ..DiscardedFilter::default() }, 0),
        (DiscardedFilter { source: Some("sessions".to_owned()), ..DiscardedFilter::default() }, 1),
        (DiscardedFilter { discarded_by: Some("admin:grace".to_owned()), ..DiscardedFilter::default() }, 0),
        (DiscardedFilter { before: Some(all.items[0].discarded_at), ..DiscardedFilter::default() }, 1),
        (DiscardedFilter { from: Some(all.items[0].discarded_at), ..DiscardedFilter::default() }, 1),
    ] {
        assert_eq!(list(&filter, PageRequest::default()).await.items.len(), found, "{filter:?}");
    }
}

#[tokio::test]
async fn a_gap_in_an_aggregate_is_not_jumped_over() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.session("s-1", "ospf").await;
    append(&world, "s-1", 3, "lablet_session.scheduled", step("s-1", "scheduled")).await;
    world.settle().await;
    let letters = world.projections.dead_letters(ReadModel::Sessions, false, &PageRequest::default()).await.unwrap();
    assert_eq!(letters.items.len(), 1);
    assert_eq!(status(&world, "s-1").await, Some(SessionStatus::Pending));
}

#[tokio::test]
async fn a_rebuild_parks_what_the_live_one_parks() {
    let world = parked().await;
    world.running("s-9", "ospf").await;
    world.observe("s-9", seen(json!({}))).await;
    world.settle().await;
    for model in ReadModel::ALL {
        let options = RebuildOptions { compare: true, keep_live: true };
        let report = world.projections.rebuild(model, options, &CancellationToken::new()).await.unwrap();
        assert_eq!(report.differing_tables, Some(vec![]), "{model}");
        assert!(report.position > Position::START);
    }
}

/// Names for ten workers, turn by turn, 6,000 in all; from some time on that of one of them is refused by the database.
async fn rename_workers_often(world: &World) {
    sqlx::query("ALTER TABLE read_workers.workers ADD CONSTRAINT no_refused CHECK (name <> 'refused')")
        .execute(&world.database.pool())
        .await
        .unwrap();
    let profile = json!({
        "name": "before", "address": "https://cml.example.org", "port_range": {"first": 2000, "last": 7999},
        "capacity": {"cpu_cores": 64, "memory_gb": 512, "storage_gb": 2000, "max_nodes": 300}
    });
    let statement =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        SELECT 'worker', 'w' || n % 10, 2 + n / 10, 'worker.changed', '1', json_build_object(
                   'type', 'worker.changed.v1', 'worker_id', 'w' || n % 10, 'changed_at', '2026-03-01T10:00:00Z',
                   'before', profile, 'after', profile || jsonb_build_object('name', CASE WHEN n % 10 = 0 AND n >= 3500
                                                                     THEN 'refused' ELSE 'name-' || n END)), '{}'
          FROM generate_series(0, 5999) n, (SELECT $1::text::jsonb AS profile) given ORDER BY n";
    sqlx::query(statement).bind(profile.to_string()).execute(&world.database.pool()).await.unwrap();
}

#[tokio::test]
async fn one_event_among_thousands_that_are_written_at_once_is_found_and_parked() {
    let world = World::new().await;
    for worker in 0..10 {
        world.worker(&format!("w{worker}")).await;
    }
    rename_workers_often(&world).await;
    world.settle_one(ReadModel::Workers).await;
    let letters = world.projections.dead_letters(ReadModel::Workers, true, &PageRequest::default()).await.unwrap();
    let [letter] = letters.items.as_slice() else { panic!("{:?}", letters.items) };
    assert_eq!((letter.aggregate_id.as_str(), letter.sequence), ("w0", 352));
    let report = world.projections.verify(ReadModel::Workers).await.unwrap();
    assert!(report.holds(), "{report:?}");
    assert_eq!(report.dead_letters, 250, "it, and all that came after it of its worker");
    let workers = world.projections.workers(&PageRequest::default()).await.unwrap();
    let mut names: Vec<String> = workers.items.into_iter().map(|worker| worker.profile.name).collect();
    names.sort();
    let expected = ["name-3490"].into_iter().map(str::to_owned).chain((5991..6000).map(|n| format!("name-{n}")));
    assert_eq!(names, expected.collect::<Vec<String>>());
}
