//! Decisions of a definition.

use cqrs_es::test::TestFramework;
use serde_json::json;

use super::*;

type Given = TestFramework<LabletDefinition>;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_000_000, 0).unwrap()
}

fn id() -> DefinitionId {
    DefinitionId::parse("ospf-basics").unwrap()
}

fn new() -> NewDefinition {
    serde_json::from_value(json!({
        "name": "OSPF basics", "version": "1.0",
        "resource_requirements": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 20},
        "port_template": {"ports": [{"name": "PC_serial", "protocol": "serial"}]}
    }))
    .unwrap()
}

fn created() -> LabletDefinitionEvent {
    LabletDefinitionEvent::Created {
        definition_id: id(),
        name: "OSPF basics".into(),
        version: DefinitionVersion::parse("1.0").unwrap(),
        content: new().content(),
        node_count: None,
        created_at: now(),
    }
}

fn revise(value: serde_json::Value) -> LabletDefinitionCommand {
    LabletDefinitionCommand::Revise {
        revision: serde_json::from_value(value).unwrap(),
        revised_by: "admin:ada".into(),
        now: now(),
    }
}

#[test]
fn a_new_definition_is_created_once() {
    let create = LabletDefinitionCommand::Create { id: id(), new: new(), now: now() };
    Given::with(()).given_no_previous_events().when(create.clone()).then_expect_events(vec![created()]);
    Given::with(()).given(vec![created()]).when(create).then_expect_events(vec![]);
    let mut other = new();
    other.name = Line::parse("Another").unwrap();
    Given::with(())
        .given(vec![created()])
        .when(LabletDefinitionCommand::Create { id: id(), new: other, now: now() })
        .then_expect_error(LabletDefinitionError::Exists { id: id() });
}

#[test]
fn requirements_are_at_least_one() {
    for field in ["cpu_cores", "memory_gb", "storage_gb"] {
        let mut wire = serde_json::to_value(new()).unwrap();
        wire["resource_requirements"][field] = json!(0);
        let refused = serde_path_to_error::deserialize::<_, NewDefinition>(wire).unwrap_err();
        assert_eq!(refused.path().to_string(), format!("resource_requirements.{field}"));
    }
}

#[test]
fn a_port_name_stands_once() {
    let port = json!({"name": "PC_serial", "protocol": "serial"});
    let refused = serde_json::from_value::<PortTemplate>(json!({"ports": [port, port]})).unwrap_err().to_string();
    assert_eq!(refused, "ports[1].name repeats \"PC_serial\"; expected each name once");
}

#[test]
fn a_revision_keeps_before_after_reason_and_evidence() {
    let mut after = new().content();
    after.resource_requirements.memory_gb = Whole::new(12).unwrap();
    Given::with(())
        .given(vec![created()])
        .when(revise(json!({
            "resource_requirements": {"cpu_cores": 4, "memory_gb": 12, "storage_gb": 20},
            "reason": "three sessions used 11 GB", "evidence": ["019b2c1e-0000-7000-8000-000000000001"]
        })))
        .then_expect_events(vec![LabletDefinitionEvent::Revised {
            definition_id: id(),
            revision: 2,
            before: new().content(),
            after,
            reason: "three sessions used 11 GB".into(),
            evidence: vec![EventId::parse("019b2c1e-0000-7000-8000-000000000001").unwrap()],
            proposal_id: None,
            revised_by: "admin:ada".into(),
            revised_at: now(),
        }]);
}

#[test]
fn a_revision_that_changes_nothing_is_already_done_and_an_empty_one_is_refused() {
    Given::with(())
        .given(vec![created()])
        .when(revise(
            json!({"resource_requirements": {"cpu_cores": 4, "memory_gb": 8, "storage_gb": 20}, "reason": "same"}),
        ))
        .then_expect_events(vec![]);
    let refused = Given::with(()).given(vec![created()]).when(revise(json!({"reason": "nothing"}))).inspect_result();
    assert!(matches!(refused, Err(LabletDefinitionError::Invalid(_))));
    Given::with(())
        .given_no_previous_events()
        .when(revise(json!({"description": "x", "reason": "y"})))
        .then_expect_error(LabletDefinitionError::Absent);
}

#[test]
fn a_version_may_be_a_number() {
    assert_eq!(serde_json::from_str::<DefinitionVersion>("3").unwrap().as_str(), "3");
    assert!(serde_json::from_str::<DefinitionVersion>("\"\"").is_err());
    assert!(DefinitionVersion::parse("1\n2").is_err());
    assert!(serde_json::from_str::<DefinitionVersion>("[]").unwrap_err().to_string().contains("a version"));
}
