//! What led to an event, and what came of it.

use app::log::Position;
use projections::read_models::event_relations::{EventRelations, RelatedEvent, Relation};
use serde_json::json;
use uuid::Uuid;

use crate::given::{World, seen};

async fn relations(world: &World, event_id: Uuid) -> EventRelations {
    let event = world.projections.event(event_id).await.unwrap().unwrap();
    world.projections.event_relations(&event).await.unwrap()
}

fn told(related: &[RelatedEvent]) -> Vec<(Relation, &str)> {
    related.iter().map(|related| (related.relation, related.event.event_type.as_str())).collect()
}

#[tokio::test]
async fn a_request_leads_to_an_observation_to_drift_and_to_a_revision() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.running("s-1", "ospf").await;
    world.ask("s-1", "r-1").await;
    world.report("s-1", seen(json!({"observed_ports": {}})), Some("r-1")).await;
    world.ask("s-1", "r-2").await;
    world.fail("s-1", "r-2", "failed").await;
    world.database.settle().await;
    let events = world.log.read(Position::START, 100).await.unwrap();
    let id_of = |event_type: &str| events.iter().find(|event| event.event_type == event_type).unwrap().event_id;
    let observation = id_of("lablet_session.resources_observed");
    world.revise("ospf", 8, &[observation.to_string(), Uuid::nil().to_string()]).await;
    world.settle().await;

    let request = relations(&world, id_of("lablet_session.observe_resources_requested")).await;
    assert_eq!(told(&request.effects), [(Relation::Outcome, "io.lablet.lablet_session.resources_observed.v1")]);
    assert_eq!((request.causes.len(), request.message_id), (0, None));
    let observed = relations(&world, observation).await;
    assert_eq!(
        told(&observed.causes),
        [(Relation::Request, "io.lablet.lablet_session.observe_resources_requested.v1")]
    );
    assert_eq!(
        told(&observed.effects),
        [
            (Relation::Drift, "io.lablet.lablet_session.port_drift_detected.v1"),
            (Relation::Revision, "io.lablet.lablet_definition.revised.v1")
        ]
    );
    assert!(observed.effects[0].event.data == domain::RawJson::null() && !observed.cut);
    let drift = relations(&world, observed.effects[0].event.event_id).await;
    assert_eq!(told(&drift.causes), [(Relation::Observation, "io.lablet.lablet_session.resources_observed.v1")]);
    let revision = relations(&world, observed.effects[1].event.event_id).await;
    assert_eq!(told(&revision.causes), [(Relation::Evidence, "io.lablet.lablet_session.resources_observed.v1")]);
    assert_eq!(revision.unknown_evidence, [Uuid::nil().to_string()]);
    let failure = relations(&world, id_of("lablet_session.observation_failed")).await;
    assert_eq!(told(&failure.causes), [(Relation::Request, "io.lablet.lablet_session.observe_resources_requested.v1")]);
    assert_eq!(failure.effects, []);
}

#[tokio::test]
async fn a_cause_is_an_event_of_the_log_or_a_message() {
    let world = World::new().await;
    let created = world.log.event(first_event(&world).await).await.unwrap().unwrap();
    let step = |causation: &str| {
        let mut origin = app::log::Origin::from_actor("service:booking");
        origin.causation_id = Some(causation.to_owned());
        origin
    };
    let go = |status| domain::lablet_session::LabletSessionCommand::Transition {
        transition: domain::lablet_session::Transition::to(status),
        now: world.now(),
    };
    use domain::lablet_session::{LabletSession, SessionStatus};
    let by_event = step(&created.event_id.to_string());
    let ended = world.log.execute::<LabletSession>("s-1", go(SessionStatus::Terminated), &by_event).await.unwrap();
    world.settle().await;
    let effects = relations(&world, created.event_id).await.effects;
    assert_eq!(told(&effects), [(Relation::Effect, "io.lablet.lablet_session.terminated.v1")]);
    let causes = relations(&world, event_at(&world, "s-1", ended.sequence).await).await;
    assert_eq!(
        (told(&causes.causes), causes.message_id),
        (vec![(Relation::Cause, "io.lablet.lablet_session.created.v1")], None)
    );

    world.session("s-2", "ospf").await;
    let by_message = step("order-7");
    let ended = world.log.execute::<LabletSession>("s-2", go(SessionStatus::Terminated), &by_message).await.unwrap();
    let causes = relations(&world, event_at(&world, "s-2", ended.sequence).await).await;
    assert_eq!((causes.causes, causes.message_id.as_deref()), (vec![], Some("order-7")));
}

/// The event of a session with this sequence.
async fn event_at(world: &World, session: &str, sequence: i64) -> Uuid {
    world.log.history("lablet_session", session, sequence - 1, 1).await.unwrap()[0].event_id
}

/// The event by which the session `s-1` began.
async fn first_event(world: &World) -> Uuid {
    world.definition("ospf").await;
    world.session("s-1", "ospf").await;
    world.log.history("lablet_session", "s-1", 0, 1).await.unwrap()[0].event_id
}
