use domain::lablet_definition::NewDefinition;
use domain::lablet_session::{NewSession, ObservationReport, Transition};
use domain::worker::NewWorker;
use proptest::prelude::*;
use serde_json::json;

use super::leaves::Leaf;
use super::shape::Form;
use super::*;

fn refused<T: DeserializeOwned + JsonSchema + std::fmt::Debug + 'static>(body: &[u8]) -> String {
    let refused = from_bytes::<T>(body).unwrap_err();
    if let Ok(tree) = serde_json::from_slice::<Value>(body)
        && !refused.to_string().contains("given twice")
    {
        assert_eq!(from_value::<T>(tree).unwrap_err(), refused, "the same by either way");
    }
    refused.to_string()
}

/// Complaints, one a line, in an order of their own: that of a tree's members depends on how serde_json was built.
fn in_order(refused: &str) -> String {
    let mut complaints: Vec<&str> = refused.split("; and ").collect();
    complaints.sort_unstable();
    complaints.join("\n")
}

#[test]
fn all_wrong_fields_are_named_at_once_each_with_what_would_be_right() {
    let definition = json!({
        "id": "a.b", "name": 5, "version": [], "node_count": -1,
        "resource_requirements": {"cpu_cores": 0, "memory_gb": "8"},
        "port_template": {"ports": [{"name": "PC serial", "protocol": "serial"}, 7]},
    });
    insta::assert_snapshot!(in_order(&refused::<NewDefinition>(definition.to_string().as_bytes())), @r#"
    id is "a.b"; expected an identifier: 1 to 64 ASCII letters, digits, '_' or '-', starting with a letter or a digit
    name is 5; expected 1 to 128 characters on one line, without control characters and bidirectional overrides
    node_count is -1; expected a whole number from 0 to 2000, or null
    port_template.ports[0].name is "PC serial"; expected a port name of 1 to 300 ASCII letters, digits, '_' or '-'
    port_template.ports[1] is 7; expected an object
    resource_requirements.cpu_cores is 0; expected a whole number from 1 to 10000
    resource_requirements.memory_gb is "8"; expected a whole number from 1 to 1000000
    resource_requirements.storage_gb is missing; expected a whole number from 1 to 10000000
    version is a list; expected 1 to 64 characters on one line, without control characters and bidirectional overrides
    "#);
    let report = json!({
        "observed_resources": {
            "observed_at": "yesterday", "total_cpu_cores": "two", "nodes": [{"node_id": "n"}, {"label": null}],
            "total_memory": 5,
        },
        "observed_ports": {"PC_serial": 70000, "P C": 5041},
    });
    insta::assert_snapshot!(in_order(&refused::<ObservationReport>(report.to_string().as_bytes())), @r#"
    observed_ports."P C" has a name that is "P C"; expected a port name of 1 to 300 ASCII letters, digits, '_' or '-'
    observed_ports.PC_serial is 70000; expected a port from 1 to 65535
    observed_resources.nodes[1].label is null; expected at most 256 characters on one line, without control characters and bidirectional overrides
    observed_resources.nodes[1].node_id is missing; expected 1 to 64 characters on one line, without control characters and bidirectional overrides
    observed_resources.observed_at is "yesterday", which is no time; expected a time from 2000-01-01T00:00:00Z to 2199-12-31T23:59:59Z in RFC 3339, such as 2026-03-01T10:00:00Z
    observed_resources.total_cpu_cores is "two"; expected a number from 0 to 1000000000, or null
    "#);
}

#[test]
fn a_topology_is_taken_as_nodes_or_as_yaml() {
    let definition = |topology: Value| {
        let body = json!({
            "name": "OSPF", "version": "1", "topology": topology,
            "resource_requirements": {"cpu_cores": 1, "memory_gb": 1, "storage_gb": 1}
        });
        from_bytes::<NewDefinition>(body.to_string().as_bytes()).map(|body| body.value.topology.unwrap().node_count())
    };
    assert_eq!(definition(json!({"nodes": [{"node_definition": "iosv", "count": 3}]})).unwrap(), 3);
    assert_eq!(definition(json!({"cml_yaml": "nodes: [{node_definition: iosv}]"})).unwrap(), 1);
    for (topology, complaint) in [
        (json!({}), "topology.nodes is absent, and so is cml_yaml; expected one of the two"),
        (json!({"cml_yaml": "nodes: 5"}), "topology.cml_yaml cannot be read"),
        (json!({"nodes": [{"count": 3}]}), "topology.nodes[0].node_definition is missing"),
        (json!({"nodes": vec![json!({"node_definition": "iosv"}); 10_001]}), "topology.nodes has 10001 entries"),
    ] {
        let refused = definition(topology).unwrap_err().to_string();
        assert!(refused.starts_with(complaint), "{refused}");
    }
}

#[test]
fn what_is_no_json_is_told_from_json_that_does_not_fit() {
    let bodies: [(&str, &[u8]); 14] = [
        ("a number for a name", br#"{"new_status": 5}"#),
        ("no such name", br#"{"new_status": "flying"}"#),
        ("an object for a name", br#"{"new_status": {"running": 1}}"#),
        ("nothing", b" "),
        ("a list", b"[]"),
        ("a text", br#""running""#),
        ("null", b"null"),
        ("a number without bounds", br#"{"new_status": 1e400}"#),
        ("an end too early", br#"{"new_status": "#),
        ("an end too late", br#"{"new_status": "ready"} x"#),
        ("a comma too much", br#"{"new_status": "ready",}"#),
        ("two of one name", br#"{"new_status": "ready", "new_status": "running"}"#),
        ("UTF-16", b"\xff\xfe{\0}\0"),
        ("Latin-1", b"{\"reason\": \"\xe9\"}"),
    ];
    let said: Vec<String> =
        bodies.iter().map(|(name, body)| format!("{name}: {}", refused::<Transition>(body))).collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    a number for a name: new_status is 5; expected one of pending, scheduled, instantiating, ready, running, collecting, grading, stopping, stopped, archived, terminated, expired
    no such name: new_status is "flying"; expected one of pending, scheduled, instantiating, ready, running, collecting, grading, stopping, stopped, archived, terminated, expired
    an object for a name: new_status is an object; expected one of pending, scheduled, instantiating, ready, running, collecting, grading, stopping, stopped, archived, terminated, expired
    nothing: the body is empty; expected a JSON document in UTF-8
    a list: the body is a list; expected an object
    a text: the body is "running"; expected an object
    null: the body is null; expected an object
    a number without bounds: new_status is out of the range of numbers; expected a number that can be stored
    an end too early: the body is not JSON: EOF while parsing a value at line 1 column 15; expected a JSON document
    an end too late: the body goes on after its end at line 1 column 25; expected one JSON document
    a comma too much: the body is not JSON: trailing comma at line 1 column 24; expected a JSON document
    two of one name: new_status is given twice; expected each name once
    UTF-16: the body is UTF-16 or UTF-32; expected a JSON document in UTF-8
    Latin-1: the body is not UTF-8 from byte 12; expected a JSON document in UTF-8
    "#);
    let marked = b"\xef\xbb\xbf{\"new_status\": \"ready\"}";
    assert!(from_bytes::<Transition>(marked).is_ok(), "a byte order mark does not count");
}

#[test]
fn a_name_that_is_given_twice_is_refused_wherever_it_is() {
    for (body, field) in [
        (r#"{"observed_resources": {}, "observed_ports": {"a": 1, "a": 2}}"#, "observed_ports.a"),
        (
            r#"{"observed_resources": {"simulation_stats": {"x": {"y": 1, "y": 1}}}}"#,
            "observed_resources.simulation_stats.x.y",
        ),
        (
            r#"{"observed_resources": {"nodes": [{"node_id": "n", "node_id": "m"}]}}"#,
            "observed_resources.nodes[0].node_id",
        ),
    ] {
        let refused = from_bytes::<ObservationReport>(body.as_bytes()).unwrap_err();
        assert_eq!((refused.complaints()[0].field.as_str(), refused.complaints().len()), (field, 1));
        assert!(check_json(body.as_bytes()).is_err());
    }
}

#[test]
fn unknown_members_are_named_with_what_may_be_meant() {
    let report = json!({
        "observedports": {}, "totally": 1, "total_cpu_cores": 2,
        "observed_resources": {
            "total_cpu_core": 1.5, "usage": {"cpu_core": 1}, "ports": [],
            "nodes": [{"node_id": "a", "lable": "R1"}, {"node_id": "b", "lable": "R2"}],
        },
        "request-id": null,
    });
    let body = from_value::<ObservationReport>(report.clone()).unwrap();
    let same = from_bytes::<ObservationReport>(report.to_string().as_bytes()).unwrap();
    assert_eq!(body, same);
    let said: Vec<String> = body.unknown.warnings().iter().map(|warning| warning.message.clone()).collect();
    let mut sorted = said.clone();
    sorted.sort();
    insta::assert_snapshot!(sorted.join("\n"), @r#"
    observed_resources.nodes[0].lable is not known and was not used, as in 1 more entry of the list; did you mean label?
    observed_resources.total_cpu_core is not known and was not used; did you mean total_cpu_cores?
    observed_resources.usage.cpu_core is not known and was not used; did you mean cpu_cores?
    observedports is not known and was not used; did you mean observed_ports?
    request-id is not known and was not used; did you mean request_id?
    total_cpu_cores is not known and was not used; did you mean observed_resources.total_cpu_cores?
    totally is not known and was not used.
    "#);
    let strict = body.handled(Handling::Strict).unwrap_err();
    assert_eq!(strict.complaints().len(), said.len());
    assert!(strict.to_string().contains("observed_resources.total_cpu_core is not known; expected total_cpu_cores"));
}

#[test]
fn complaints_and_warnings_are_bounded() {
    let many: serde_json::Map<String, Value> = (0..1_000).map(|index| (format!("x{index}"), index.into())).collect();
    let mut body = Value::Object(many);
    body["new_status"] = "ready".into();
    let (_, warnings) = from_value::<Transition>(body).unwrap().handled(Handling::Lenient).unwrap();
    assert_eq!(warnings.len(), 26);
    assert_eq!(warnings[25].message, "975 more members are not known and were not used.");
    let nodes: Vec<Value> = (0..1_000).map(Value::from).collect();
    let refused = refused::<ObservationReport>(json!({"observed_resources": {"nodes": nodes}}).to_string().as_bytes());
    assert!(refused.len() < 5_000 && refused.ends_with("; and 975 more"), "{refused}");
}

#[test]
fn depth_is_bounded_and_brackets_in_texts_do_not_count() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused::<Transition>(deep.as_bytes()).contains("nests more than 32 levels deep"));
    assert!(check_json(br#"{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[["}"#).is_ok());
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(check_json(nested(DEEPEST).as_bytes()).is_ok());
    assert!(check_json(nested(DEEPEST + 1).as_bytes()).is_err());
}

#[test]
fn a_name_from_outside_cannot_forge_a_path() {
    let read = from_value::<Transition>(json!({"new_status": "ready", "a\u{1b}[2J\nb": 1})).unwrap();
    assert_eq!(read.unknown.warnings()[0].field.as_deref(), Some(r#""a\u{1b}[2J\nb""#));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("running")),
        Just(json!("2026-03-01T10:00:00Z")),
    ];
    let name = prop_oneof![
        "[a-z_]{1,8}",
        prop::sample::select(vec![
            "id",
            "name",
            "version",
            "definition_id",
            "new_status",
            "timeslot",
            "start",
            "end",
            "observed_resources",
            "observed_ports",
            "nodes",
            "node_id",
            "total_cpu_cores",
            "ports",
            "port_range",
            "capacity",
            "usage",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn reads_as_its_type_does<T>(body: &Value) -> Result<(), TestCaseError>
where
    T: DeserializeOwned + JsonSchema + PartialEq + std::fmt::Debug + 'static,
{
    let by_type = serde_json::from_value::<T>(body.clone());
    let read = from_bytes::<T>(body.to_string().as_bytes());
    match (by_type, read) {
        (Ok(value), Ok(body)) => prop_assert_eq!(value, body.value),
        (Err(_), Err(refused)) => prop_assert!(!refused.complaints().is_empty()),
        // The schema states bounds that the type leaves to the decision, and serde would take a list of members in
        // their order for an object.
        (Ok(_), Err(refused)) => prop_assert!(
            refused.complaints().iter().all(|said| {
                let bounds = [" to ", "at most", "at least"];
                said.problem == "is a list" || bounds.iter().any(|bound| said.expected.contains(bound))
            }),
            "{}",
            refused
        ),
        (Err(error), Ok(_)) => prop_assert!(false, "the type refuses it: {}", error),
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_the_json_is_it_is_read_as_its_type_reads_it(body in any_json()) {
        reads_as_its_type_does::<NewDefinition>(&body)?;
        reads_as_its_type_does::<NewSession>(&body)?;
        reads_as_its_type_does::<NewWorker>(&body)?;
        reads_as_its_type_does::<Transition>(&body)?;
        reads_as_its_type_does::<ObservationReport>(&body)?;
    }

    #[test]
    fn whatever_the_bytes_are_they_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(check_json(&bytes).is_ok(), serde_json::from_slice::<Value>(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).is_ok());
    }
}

/// A value that fits a shape, as small as may be.
fn fitting(shape: &Shape) -> Value {
    match &shape.form {
        Form::Anything => json!({}),
        Form::Object { members, .. } => {
            let required = members.iter().filter(|(_, member)| member.required);
            required.map(|(name, member)| (name.clone(), fitting(&member.shape))).collect()
        }
        Form::List { .. } => json!([]),
        Form::Text { shortest, .. } => "x".repeat(*shortest).into(),
        Form::Ruled(rule) => if rule.check("").is_ok() { "" } else { "x" }.into(),
        Form::Choice(names) => names[0].as_str().into(),
        Form::Whole { least, .. } => i64::try_from(*least).unwrap().into(),
        Form::Number { least, .. } => least.max(0.0).into(),
        Form::Flag => true.into(),
        Form::Leaf(check) => {
            let fits = |text: &&str| check(Leaf::Text(text)).is_ok();
            let texts = ["a1", "https://cml.example.org", "2026-03-01T10:00:00Z"];
            texts.iter().copied().find(fits).map_or_else(|| 2_000.into(), Value::from)
        }
    }
}

/// Values within the stated bounds of a shape, at their edge, and values beyond.
fn edges(shape: &Shape) -> (Vec<Value>, Vec<Value>) {
    let text = |length: usize| Value::from("x".repeat(length));
    match &shape.form {
        Form::Ruled(rule) => {
            let fits = |length: &usize| rule.check(&"x".repeat(*length)).is_ok();
            let longest = (1..5_000).take_while(fits).last().unwrap();
            (vec![text(longest)], vec![text(longest + 1), "\0".into(), "a\u{202e}".into(), json!({})])
        }
        Form::Text { longest: Some(longest), .. } => (vec![text(*longest)], vec![text(longest + 1), json!(5)]),
        Form::Text { .. } => (Vec::new(), vec![json!(5)]),
        Form::Choice(names) => (names.iter().map(|name| json!(name)).collect(), vec![json!("no such name")]),
        Form::Whole { least, most } => {
            let number = |number: i128| i64::try_from(number).ok().map(Value::from);
            let inside = [*least, *most].into_iter().filter_map(number).collect();
            (inside, [least - 1, most + 1].into_iter().filter_map(number).chain([json!(1.5)]).collect())
        }
        Form::Number { least, most } if most.is_finite() => {
            (vec![json!(least), json!(most)], vec![json!(least - 1.0), json!(most + 1.0), json!("1")])
        }
        Form::Number { .. } | Form::Flag => (Vec::new(), vec![json!("true")]),
        Form::List { items, most } => {
            let beyond = most.map(|most| Value::from(vec![fitting(items); most + 1]));
            (Vec::new(), beyond.into_iter().chain([json!({})]).collect())
        }
        Form::Object { .. } => (Vec::new(), vec![json!([]), json!("x")]),
        Form::Leaf(_) => (Vec::new(), vec![json!({}), json!("\0"), json!(1e9), json!(-1)]),
        Form::Anything => Default::default(),
    }
}

/// Visits every bound of a shape: where it is, and bodies with a value within it and beyond.
fn each_edge(path: &str, shape: &Shape, body: &dyn Fn(Value) -> Value, visit: &mut dyn FnMut(&str, Value, bool)) {
    let (inside, beyond) = edges(shape);
    inside.into_iter().for_each(|value| visit(path, body(value), true));
    beyond.into_iter().for_each(|value| visit(path, body(value), false));
    match &shape.form {
        Form::Object { members, others } => {
            for (name, member) in members.iter() {
                let within = |value: Value| {
                    let mut object = fitting(shape);
                    object[name] = value;
                    body(object)
                };
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                each_edge(&path, &member.shape, &within, visit);
            }
            if let Some(others) = others {
                each_edge(&format!("{path}.a"), &others.values, &|value| body(json!({"a": value})), visit);
            }
        }
        Form::List { items, .. } => each_edge(&format!("{path}[0]"), items, &|value| body(json!([value])), visit),
        _ => {}
    }
}

fn states_what_it_enforces<T: DeserializeOwned + JsonSchema + std::fmt::Debug + 'static>() -> usize {
    let (shape, mut bounds) = (Shape::from_type::<T>(), 0);
    each_edge("", &shape, &|value| value, &mut |path, body, fits| {
        bounds += 1;
        let read = from_value::<T>(body);
        let named = read.err().is_some_and(|refused| refused.complaints().iter().any(|said| said.field == path));
        assert_eq!(named, !fits, "{}: {path}", std::any::type_name::<T>());
    });
    bounds
}

#[test]
fn every_stated_bound_is_the_one_that_is_enforced() {
    let bounds = [
        states_what_it_enforces::<NewDefinition>(),
        states_what_it_enforces::<domain::lablet_definition::DefinitionRevision>(),
        states_what_it_enforces::<NewSession>(),
        states_what_it_enforces::<NewWorker>(),
        states_what_it_enforces::<domain::worker::WorkerChange>(),
        states_what_it_enforces::<Transition>(),
        states_what_it_enforces::<ObservationReport>(),
        states_what_it_enforces::<domain::lablet_session::ObservationFailure>(),
        states_what_it_enforces::<crate::command::ObservationRequest>(),
        states_what_it_enforces::<domain::lablet_definition::NewProposal>(),
        states_what_it_enforces::<domain::lablet_definition::ProposalStep>(),
        states_what_it_enforces::<domain::lablet_definition::NewVerification>(),
        states_what_it_enforces::<domain::lablet_session::EvidenceReason>(),
        states_what_it_enforces::<domain::lablet_session::DriftAcknowledgement>(),
        states_what_it_enforces::<domain::lablet_session::AcknowledgementWithdrawal>(),
        states_what_it_enforces::<domain::lablet_session::AllocationCorrection>(),
    ];
    assert!(bounds.iter().all(|count| *count >= 4), "{bounds:?}");
}

#[test]
fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
    let body = |capacity: Value| {
        json!({"name": "CML", "address": "https://cml.example.org", "capacity": capacity,
               "port_range": {"first": 2000, "last": 2999}})
    };
    let floats = body(json!({"cpu_cores": 4.0, "memory_gb": 8e0, "storage_gb": 1, "max_nodes": 3}));
    let read = from_bytes::<NewWorker>(floats.to_string().as_bytes()).unwrap();
    assert_eq!((read.value.capacity.cpu_cores.get(), read.value.capacity.memory_gb.get()), (4, 8));
    let broken = body(json!({"cpu_cores": 4.5, "memory_gb": 8, "storage_gb": 1e300, "max_nodes": 3}));
    let refused = from_bytes::<NewWorker>(broken.to_string().as_bytes()).unwrap_err();
    assert_eq!(refused.complaints().len(), 2, "{refused}");
}
