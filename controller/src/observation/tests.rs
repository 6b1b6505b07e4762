use chrono::TimeDelta;
use serde_json::{Value, json};

use super::*;
use crate::cml::answers;

const SETTLING: Duration = Duration::from_secs(60);

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn timed_out<T>() -> Result<T, CmlError> {
    Err(CmlError::TimedOut { after: Duration::from_secs(30) })
}

fn lost<T>() -> Result<T, CmlError> {
    Err(CmlError::Status { status: 500, description: String::new() })
}

fn no_lab<T>() -> Result<T, CmlError> {
    Err(CmlError::NotFound { description: "Lab not found: x".into() })
}

fn node(id: &str, definition: &str, extra: Value) -> Value {
    let mut node = json!({"id": id, "label": id.to_uppercase(), "node_definition": definition, "tags": [],
        "state": "BOOTED", "ram": null, "cpus": null, "cpu_limit": null, "operational": null});
    node.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    node
}

/// Two routers and a switch, running for an hour.
fn lab() -> LabReads {
    let operational = json!({"cpus": 2, "cpu_limit": 50, "ram": 768, "image_definition": "iosv-159"});
    LabReads {
        nodes: answers::nodes(&json!([
            node("r1", "iosv", json!({"operational": operational, "tags": ["serial:5041", "serial:99999", "VLAN10"]})),
            node("r2", "iosv", json!({"ram": 1024})),
            node("sw", "unmanaged_switch", json!({"state": "STARTED"})),
        ])),
        topology: answers::topology(&json!({
            "nodes": [
                {"id": "r1", "label": "R1", "node_definition": "iosv", "interfaces": [
                    {"id": "lo", "label": "Loopback0", "type": "loopback"},
                    {"id": "g0", "label": "Gi0/0", "slot": 0, "type": "physical", "mac_address": "02:00:00:00:00:01"}]},
                {"id": "r2", "label": "R2", "node_definition": "iosv", "interfaces": [{"id": "g1", "label": "Gi0/0", "slot": 0}]},
                {"id": "sw", "label": "SW", "node_definition": "unmanaged_switch", "interfaces": []}],
            "links": [{"id": "l", "interface_a": "g0", "interface_b": "g1"}]})),
        states: answers::element_states(
            &json!({"nodes": {}, "links": {}, "interfaces": {"g0": "STARTED", "lo": "STARTED"}}),
        ),
        addresses: answers::addresses(&json!({"r1": {"name": "R1", "interfaces": {
            "52:54:00:00:00:01": {"id": "g0", "label": "Gi0/0", "ip4": ["10.0.0.1"], "ip6": []}}}})),
        stats: answers::stats(json!({"nodes": {
            "r1": {"cpu_usage": 120.5, "times": {"BOOTED": 3600}, "ram_usage": 50.0, "disk_usage": 700},
            "r2": {"cpu_usage": 9.5, "times": {"BOOTED": 3500}, "ram_usage": 25.0, "disk_usage": 300},
            "sw": {"times": {"QUEUED": 1, "STARTED": 0, "BOOTED": 0}, "is_running": false}}, "links": {}})),
        defaults: Some(answers::node_defaults(&json!([{"id": "iosv", "sim": {"cpus": 1, "ram": 512}}])).map(Arc::new)),
        version: Ok("2.10.0+build.1".into()),
    }
}

fn seen(reads: LabReads) -> ResourceObservation {
    assemble(reads, now(), SETTLING, PortRange::default()).unwrap()
}

fn known(amount: f64) -> Option<Amount> {
    Some(Amount::new(amount).unwrap())
}

fn nodes(count: u32) -> Option<NodeCount> {
    Some(NodeCount::new(count).unwrap())
}

fn named(failed: &[FailedRead]) -> Vec<String> {
    failed.iter().map(|failed| format!("{}: {}", failed.read, failed.reason)).collect()
}

#[test]
fn nominal_and_used_are_added_up_apart() {
    let seen = seen(lab());
    assert_eq!(seen.total_cpu_cores, known(2.0), "2 × 50 % + 1 by default + none");
    assert_eq!(seen.total_memory_mb, known(1792.0), "768 given + 1024 asked for + none");
    assert_eq!(seen.total_storage_mb, known(1000.0));
    let usage = seen.usage.unwrap();
    assert_eq!(usage.used.cpu_cores, known(1.3));
    assert_eq!(usage.used.memory_mb, known(640.0));
    assert_eq!(usage.highest_cpu_percent, known(120.5));
    let nominal = seen.nominal.unwrap();
    assert_eq!((nominal.storage_mb, nominal.unknown_storage_nodes.get()), (None, 2));
    assert_eq!(seen.node_definitions_used, ["iosv", "unmanaged_switch"]);
    assert_eq!(seen.observed_at.map(BoundedTime::at), Some(now()));
    assert_eq!(seen.cml_version.as_deref(), Some("2.10.0+build.1"));
}

#[test]
fn a_lab_read_completely_says_so() {
    let seen = seen(lab());
    let coverage = seen.coverage.unwrap();
    assert!(coverage.is_complete(), "{coverage:?}");
    assert_eq!((coverage.nodes_total, coverage.nodes_booted, coverage.phase), (nodes(3), nodes(3), Phase::Steady));
}

#[test]
fn interfaces_take_their_addresses_from_what_was_learnt_and_not_from_what_was_configured() {
    let seen = seen(lab());
    let interfaces = &seen.nodes[0].interfaces;
    assert_eq!((interfaces[0].slot, interfaces[0].mac_address.as_deref()), (None, None));
    assert_eq!(interfaces[1].mac_address.as_deref(), Some("52:54:00:00:00:01"));
    assert_eq!(interfaces[1].ip4, ["10.0.0.1"]);
    assert_eq!(interfaces[1].state.as_deref(), Some("STARTED"));
    assert_eq!(seen.nodes[1].interfaces[0].mac_address, None, "a configured MAC is not an observed one");
}

#[test]
fn ports_come_from_tags_and_what_is_not_understood_is_told() {
    let seen = seen(lab());
    let ports = serde_json::to_value(seen.observed_ports).unwrap();
    assert_eq!(ports, json!({"R1_serial": 5041}));
    assert_eq!(seen.unreadable_tags.len(), 1);
}

#[test]
fn a_failed_read_is_named_and_what_it_would_tell_is_unknown() {
    let seen = seen(LabReads { stats: lost(), addresses: timed_out(), version: lost(), ..lab() });
    assert_eq!(seen.usage, None);
    assert_eq!(seen.total_storage_mb, None);
    assert_eq!(seen.simulation_stats, None);
    assert_eq!(seen.total_cpu_cores, known(2.0));
    let coverage = seen.coverage.unwrap();
    assert_eq!(coverage.phase, Phase::Unknown, "how long ago the nodes booted is not known");
    assert_eq!(
        named(&coverage.failed_reads),
        [
            "layer3_addresses: no answer within 30.0 s",
            "simulation_stats: CML answered 500",
            "system_information: CML answered 500"
        ]
    );
}

#[test]
fn without_the_nodes_read_the_topology_carries_what_it_can() {
    let seen = seen(LabReads { nodes: lost(), ..lab() });
    assert_eq!(seen.actual_node_count, nodes(3));
    assert_eq!(seen.observed_ports, None, "this topology has no tags: unknown, not none");
    assert_eq!(seen.total_memory_mb, known(1024.0), "by the node definition's defaults");
    let mut with_tags = LabReads { nodes: lost(), ..lab() };
    for node in &mut with_tags.topology.as_mut().unwrap().value.nodes {
        node.tags = Some(vec![]);
    }
    assert_eq!(self::seen(with_tags).observed_ports, Some(domain::ports::PortMap::default()));
}

#[test]
fn without_the_topology_the_fingerprint_is_unknown_and_addresses_still_count() {
    let seen = seen(LabReads { topology: lost(), ..lab() });
    assert_eq!(seen.topology_fingerprint, None);
    assert_eq!(seen.nodes[0].interfaces[0].ip4, ["10.0.0.1"]);
    assert!(seen.observed_ports.is_some());
}

#[test]
fn a_lab_is_called_what_its_topology_says_and_a_title_that_is_none_is_unknown() {
    let title = |told: Value| {
        let mut topology = json!({"nodes": [], "links": []});
        topology.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        let seen = seen(LabReads { topology: answers::topology(&topology), ..lab() });
        assert!(seen.topology_fingerprint.is_some(), "nothing else depends on it: {told}");
        seen.lab_title.map(String::from)
    };
    assert_eq!(title(json!({"lab": {"title": "OSPF of Ada"}})).as_deref(), Some("OSPF of Ada"));
    assert_eq!(title(json!({"lab_title": "OSPF of old"})).as_deref(), Some("OSPF of old"));
    assert_eq!(
        title(json!({"lab": {"title": "a\u{1b}[2J\nb\u{202e}"}})).as_deref(),
        Some("a\u{fffd}[2J\u{fffd}b\u{fffd}")
    );
    assert_eq!(title(json!({"lab": {"title": "x".repeat(5_000)}})).map(|title| title.len()), Some(256));
    for none in [
        json!({}),
        json!({"lab": null}),
        json!({"lab": {"title": null}}),
        json!({"lab": {"title": 7}}),
        json!({"lab": {"title": "  "}}),
    ] {
        assert_eq!(title(none.clone()), None, "{none}");
    }
    assert_eq!(seen(LabReads { topology: lost(), ..lab() }).lab_title, None);
}

#[test]
fn unknown_sizes_stay_unknown() {
    let seen = seen(LabReads { defaults: Some(lost()), ..lab() });
    assert_eq!((seen.total_cpu_cores, seen.total_memory_mb), (None, known(1792.0)));
    assert_eq!(seen.nominal.unwrap().unknown_cpu_nodes.get(), 1);
}

#[test]
fn older_controllers_tell_no_memory_use_so_it_is_unknown() {
    let mut reads = lab();
    for stats in reads.stats.as_mut().unwrap().value.nodes.values_mut() {
        *stats = NodeStats { ram_usage: None, disk_usage: None, ram: None, ..*stats };
    }
    let seen = seen(reads);
    let usage = seen.usage.unwrap();
    assert_eq!((usage.used.memory_mb, usage.used.unknown_memory_nodes.get()), (None, 2));
    assert_eq!((seen.total_storage_mb, usage.used.cpu_cores), (None, known(1.3)));
}

#[test]
fn one_node_whose_tags_are_unknown_makes_the_ports_unknown() {
    let mut reads = lab();
    reads.nodes.as_mut().unwrap().value[1].tags = None;
    assert_eq!(seen(reads).observed_ports, None);
}

#[test]
fn an_entry_left_out_of_both_lists_is_still_counted() {
    let mut reads = lab();
    reads.nodes.as_mut().unwrap().left_out = 1;
    assert_eq!(seen(reads.clone()).actual_node_count, nodes(3), "the topology is whole");
    reads.topology = lost();
    let seen = seen(reads);
    assert_eq!((seen.actual_node_count, seen.observed_ports), (nodes(4), None));
}

#[test]
fn the_phase_follows_the_nodes_that_run() {
    let with_state = |states: [&str; 3], booted: [u64; 2]| {
        let mut reads = lab();
        for (node, state) in reads.nodes.as_mut().unwrap().value.iter_mut().zip(states) {
            node.state = Some(state.to_owned());
        }
        let stats = &mut reads.stats.as_mut().unwrap().value.nodes;
        for (id, seconds) in ["r1", "r2"].iter().zip(booted) {
            stats.get_mut(*id).unwrap().booted_for = Some(seconds);
        }
        let coverage = seen(reads).coverage.unwrap();
        (coverage.phase, coverage.nodes_booted)
    };
    assert_eq!(with_state(["BOOTED", "BOOTED", "BOOTED"], [60, 60]), (Phase::Steady, nodes(3)));
    assert_eq!(with_state(["BOOTED", "BOOTED", "BOOTED"], [60, 59]), (Phase::Boot, nodes(3)));
    assert_eq!(with_state(["BOOTED", "STARTED", "STARTED"], [900, 0]), (Phase::Boot, nodes(2)));
    assert_eq!(with_state(["BOOTED", "STOPPED", "BOOTED"], [900, 900]), (Phase::Steady, nodes(2)));
    assert_eq!(with_state(["STOPPED", "DEFINED_ON_CORE", "STOPPED"], [0, 0]), (Phase::Stopped, nodes(0)));
}

#[test]
fn a_stopped_lab_uses_nothing_and_its_disks_are_unknown() {
    let mut reads = lab();
    for node in &mut reads.nodes.as_mut().unwrap().value {
        node.state = Some("STOPPED".into());
    }
    reads.stats = answers::stats(json!({"nodes": {}, "links": {}}));
    let used = seen(reads).usage.unwrap().used;
    assert_eq!((used.cpu_cores, used.memory_mb, used.storage_mb), (known(0.0), known(0.0), None));
}

#[test]
fn a_lab_that_is_gone_and_a_lab_that_cannot_be_read_are_told_apart() {
    let gone = LabReads {
        nodes: no_lab(),
        topology: no_lab(),
        states: no_lab(),
        addresses: no_lab(),
        stats: no_lab(),
        ..lab()
    };
    assert_eq!(assemble(gone, now(), SETTLING, PortRange::default()).unwrap_err(), ObservationImpossible::LabGone);
    let unread = LabReads { nodes: lost(), topology: timed_out(), ..lab() };
    assert_eq!(
        assemble(unread, now(), SETTLING, PortRange::default()).unwrap_err().to_string(),
        "the lab's nodes could not be read: nodes: CML answered 500; topology: no answer within 30.0 s"
    );
}

#[test]
fn what_is_honoured_is_decided_by_the_workers_own_range() {
    let port = |number| domain::ports::PortNumber::new(number).unwrap();
    let honoured = |range| assemble(lab(), now(), SETTLING, range).unwrap().ports[0].honoured;
    assert!(honoured(PortRange::default()));
    assert!(!honoured(PortRange::new(port(8000), port(9000)).unwrap()));
    assert!(honoured(PortRange::new(port(5041), port(5041)).unwrap()));
}

#[test]
fn two_interfaces_of_one_label_and_slot_keep_their_own_addresses() {
    let interface =
        |id: &str, mac: &str| json!({"id": id, "label": "eth0", "slot": 0, "operational": {"mac_address": mac}});
    let addresses = |by_id: bool| {
        let address = |id: &str, ip: &str| {
            let address = json!({"label": "eth0", "ip4": [ip]});
            if by_id { json!({"id": id, "label": "eth0", "ip4": [ip]}) } else { address }
        };
        answers::addresses(&json!({"r1": {"interfaces": {
            "52:54:00:00:00:0A": address("i1", "10.0.0.1"), "52:54:00:00:00:0B": address("i2", "10.0.0.2")}}}))
    };
    let topology = |known: bool| {
        let mac = |mac: &str| if known { mac.to_owned() } else { String::new() };
        let interfaces = [interface("i1", &mac("52:54:00:00:00:0a")), interface("i2", &mac("52:54:00:00:00:0b"))];
        answers::topology(
            &json!({"nodes": [{"id": "r1", "label": "R1", "node_definition": "iosv", "interfaces": interfaces}],
            "links": [{"id": "l", "interface_a": "i1", "interface_b": "i2"}]}),
        )
    };
    let seen = |by_id, known| {
        let seen = seen(LabReads { topology: topology(known), addresses: addresses(by_id), ..lab() });
        let router = seen.nodes.into_iter().find(|node| node.node_id == "r1").unwrap();
        router
            .interfaces
            .into_iter()
            .map(|interface| interface.ip4.iter().map(ToString::to_string).collect::<String>())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(true, false), ["10.0.0.1", "10.0.0.2"], "by their ids");
    assert_eq!(seen(false, true), ["10.0.0.1", "10.0.0.2"], "by what was deployed");
    assert_eq!(seen(false, false), ["", ""], "which is whose is unknown");
}

#[test]
fn a_machine_in_the_making_has_not_booted() {
    let making = node("r1", "iosv", json!({"state": "STARTING"}));
    let seen = seen(LabReads { nodes: answers::nodes(&json!([making])), topology: lost(), stats: lost(), ..lab() });
    let coverage = seen.coverage.unwrap();
    assert_eq!((coverage.nodes_booted, coverage.phase), (nodes(0), Phase::Boot));
    assert!(coverage.unreadable_entries.is_empty());
}

#[test]
fn more_nodes_than_an_observation_holds_is_told_as_such() {
    let many: Vec<Value> = (0..10_000).map(|index| node(&format!("n{index}"), "iosv", json!({}))).collect();
    let reads = LabReads { nodes: answers::nodes(&Value::Array(many)), topology: lost(), ..lab() };
    assert!(matches!(assemble(reads, now(), SETTLING, PortRange::default()), Err(ObservationImpossible::Absurd(_))));
}

#[test]
fn entries_that_cannot_be_read_are_named_within_the_bound() {
    let mut reads = lab();
    let flood = |value| answers::Reading { value, unreadable: vec![FailedRead::new("x", "y"); 300], left_out: 0 };
    reads.stats = Ok(flood(reads.stats.unwrap().value));
    let coverage = seen(reads).coverage.unwrap();
    assert_eq!(coverage.unreadable_entries.len(), MOST_SMALL);
    assert_eq!(coverage.unreadable_entries[MOST_SMALL - 1].reason, "45 more entries could not be read");
    assert!(!coverage.is_complete());
}

#[test]
fn defaults_are_read_only_when_a_size_is_not_stated() {
    let reads = lab();
    assert!(needs_defaults(&reads.nodes, &reads.topology), "r2 states no CPUs");
    let whole = answers::nodes(&json!([
        node("r1", "iosv", json!({"operational": {"cpus": 1, "ram": 512}})),
        node("sw", "unmanaged_switch", json!({})),
    ]));
    assert!(!needs_defaults(&whole, &lost()));
    assert!(!needs_defaults(&lost(), &lost()));
}

/// Answers recorded from a live controller, read as they are.
#[test]
fn recorded_answers_are_read_without_a_complaint() {
    let Ok(topologies) = std::env::var("LABLET_TOPOLOGIES") else { return };
    let folder = std::path::Path::new(&topologies).join("../recorded");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(format!("{name}-863799a0.json"))).unwrap()).unwrap()
    };
    let reads = LabReads {
        nodes: lost(),
        topology: answers::topology(&read("topology")),
        states: lost(),
        addresses: answers::addresses(&read("layer3_addresses")),
        stats: answers::stats(read("simulation_stats")),
        defaults: None,
        version: lost(),
    };
    let seen = seen(reads);
    assert_eq!(seen.total_memory_mb, known(9984.0));
    assert_eq!(seen.node_definitions_used.len(), 5);
    assert!(seen.nodes.iter().all(|node| !node.interfaces.is_empty()));
    let coverage = seen.coverage.unwrap();
    assert!(coverage.unreadable_entries.is_empty());
    assert_eq!((coverage.nodes_total, coverage.nodes_booted, coverage.phase), (nodes(6), nodes(6), Phase::Steady));
    assert_eq!(seen.observed_ports, Some(domain::ports::PortMap::default()));
}

/// The answers of a small lab, in the order of the reads.
fn answers_of_a_lab() -> Value {
    json!([
        [node("r1", "iosv", json!({"tags": ["serial:5041"], "operational": {"cpus": 2, "cpu_limit": 50, "ram": 768}}))],
        {"nodes": [{"id": "r1", "label": "R1", "node_definition": "iosv", "tags": [], "interfaces": [
            {"id": "g0", "label": "Gi0/0", "slot": 0, "operational": {"mac_address": "52:54:00:00:00:01"}}]}],
         "links": [{"id": "l", "interface_a": "g0", "interface_b": "g0"}]},
        {"nodes": {"r1": "BOOTED"}, "interfaces": {"g0": "STARTED"}},
        {"r1": {"interfaces": {"52:54:00:00:00:01": {"id": "g0", "label": "Gi0/0", "ip4": ["10.0.0.1"], "ip6": []}}}},
        {"nodes": {"r1": {"cpu_usage": 1.5, "ram_usage": 5.0, "disk_usage": 7, "times": {"BOOTED": 5}}}, "links": {}},
        [{"id": "iosv", "sim": {"ram": 512, "cpus": 1}}],
        {"version": "2.9.1"}
    ])
}

fn count_of(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count_of).sum::<usize>(),
        Value::Object(members) => members.values().map(count_of).sum(),
        _ => 0,
    }
}

/// Replaces the `index`th value, counted depth first.
fn replace(value: &mut Value, index: &mut usize, by: &Value) {
    if *index == 0 {
        *value = by.clone();
        *index = usize::MAX;
        return;
    }
    *index -= 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => return,
    };
    for child in children {
        replace(child, index, by);
        if *index == usize::MAX {
            return;
        }
    }
}

proptest::proptest! {
    /// Whatever CML answers, the outcome is an observation that the session takes, or a reason.
    #[test]
    fn no_answer_makes_an_observation_that_would_be_refused(
        places in proptest::collection::vec((0_usize..200, 0_usize..14), 1..6),
    ) {
        let strange = [
            json!(null), json!(-1), json!(1e300), json!(18_446_744_073_709_551_615_u64), json!(""), json!("\u{0}\u{7}"),
            json!("x".repeat(5_000)), json!([]), json!({}), json!([[null, {"id": "n", "label": "l"}]]), json!(true),
            json!({"id": "\u{0}"}), json!("STOPPED"), json!(["serial:2001", "pat:1:1", "\u{0}"]),
        ];
        let mut answers = answers_of_a_lab();
        for (place, by) in places {
            let mut index = place % count_of(&answers);
            replace(&mut answers, &mut index, &strange[by]);
        }
        let part = |index: usize| answers.get(index).cloned().unwrap_or_default();
        let reads = LabReads {
            nodes: answers::nodes(&part(0)),
            topology: answers::topology(&part(1)),
            states: answers::element_states(&part(2)),
            addresses: answers::addresses(&part(3)),
            stats: answers::stats(part(4)),
            defaults: Some(answers::node_defaults(&part(5)).map(Arc::new)),
            version: answers::version(&part(6)),
        };
        match assemble(reads, now(), SETTLING, PortRange::default()) {
            Ok(_) => {}
            Err(ObservationImpossible::NothingRead(_)) => {}
            Err(other) => proptest::prop_assert!(false, "{other}"),
        }
    }
}
