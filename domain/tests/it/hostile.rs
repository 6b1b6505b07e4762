//! Bodies as no well-meaning sender writes them: samples of every command, with their texts, numbers, times and structure
//! changed at random. Read by the tests of other crates too.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A body of each command that may be sent about a running session `s-1`, with its name.
pub(crate) fn samples() -> Vec<(&'static str, Value)> {
    let capacity = json!({"cpu_cores": 64, "memory_gb": 512, "storage_gb": 2000, "max_nodes": 300});
    let requirements = json!({"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10});
    let ports = json!({"ports": [{"name": "PC_serial", "protocol": "serial"}]});
    let amounts = json!({"cpu_cores": 1.5, "memory_mb": 512, "storage_mb": 10, "unknown_cpu_nodes": 0,
                         "unknown_memory_nodes": 0, "unknown_storage_nodes": 0, "highest_cpu_percent": 12.5});
    let read = json!([{"read": "simulation_stats", "reason": "timed out"}]);
    let spread = json!({"peak": 1.5, "p95": 1.4, "mean": 0.5});
    let phase = json!({"seconds": 60, "cpu_cores": spread, "memory_mb": spread, "storage_mb": spread});
    let profile = json!({
        "from": "2026-02-25T10:00:00Z", "to": "2026-02-25T12:00:00Z", "interval_seconds": 30, "samples": 200,
        "missed_samples": 40, "boot": phase, "steady": phase,
        "gaps": [{"from": "2026-02-25T11:00:00Z", "to": "2026-02-25T11:20:00Z", "reason": "worker_slow"}],
    });
    let node = json!({
        "profile": {"restarts": 1, "boot": phase, "steady": phase},
        "node_id": "n-1", "label": "PC", "node_definition": "desktop", "state": "BOOTED", "cpu_limit": 100, "ram_mb": 512,
        "tags": ["serial:5041", "VLAN10"], "cpus": 1, "nominal_cpu_cores": 1, "image_definition": "alpine",
        "usage": {"cpu_percent": 10, "cpu_cores": 0.1, "memory_mb": 100, "disk_mb": 10, "disk_read_bytes": 1,
                  "disk_written_bytes": 1, "booted_seconds": 60},
        "interfaces": [{"interface_id": "i-1", "label": "eth0", "slot": 0, "state": "STARTED",
                        "mac_address": "52:54:00:00:00:01", "ip4": ["10.0.0.1"], "ip6": ["fe80::1"]}],
    });
    let observed = json!({
        "observed_at": "2026-02-25T12:00:00Z", "observer": "grading", "total_cpu_cores": 1, "total_memory_mb": 512,
        "total_storage_mb": 10, "nodes": [node], "actual_node_count": 1, "node_definitions_used": ["desktop"],
        "observed_ports": {"PC_serial": 5041}, "simulation_stats": {"nodes": {"n-1": {"cpu_usage": 1.5}}},
        "nominal": amounts, "usage": amounts, "profile": profile, "cml_version": "2.9.1", "topology_fingerprint": "f",
        "lab_title": "OSPF in one area",
        "coverage": {"nodes_total": 1, "nodes_booted": 1, "phase": "steady", "failed_reads": read, "unreadable_entries": read,
                     "sampled_share": 0.8, "worker_short": true, "worker_short_of": ["cpu", "launch_queue"]},
        "ports": [{"name": "PC_serial", "node_id": "n-1", "node_label": "PC", "outside": 5041, "kind": "named",
                   "intent": "ssh", "l4_protocol": "tcp", "honoured": true}],
        "unreadable_tags": [{"node_id": "n-1", "tag": "pat:1", "reason": "expected pat:<outside>:<inside>"}],
    });
    let timeslot = json!({"start": "2026-02-25T10:00:00Z", "end": "2026-02-25T12:00:00Z"});
    vec![
        ("record_resource_observation", json!({"observed_resources": observed, "observed_ports": {"PC_serial": 5041}})),
        ("record_observation_failure", json!({"outcome": "failed", "reason": "CML did not answer"})),
        (
            "transition_lablet_session",
            json!({"new_status": "collecting", "reason": "over", "worker_id": "cml-1",
                                             "allocated_ports": {"PC_serial": 5041}, "timeslot": timeslot}),
        ),
        (
            "create_lablet_session",
            json!({"id": "s-2", "definition_id": "ospf", "owner_id": "Ada", "timeslot": timeslot}),
        ),
        (
            "create_lablet_definition",
            json!({"id": "d-2", "name": "OSPF", "version": "1.0", "port_template": ports,
            "resource_requirements": requirements, "node_count": 3, "description": "two\nlines"}),
        ),
        (
            "revise_lablet_definition",
            json!({"resource_requirements": requirements, "port_template": ports,
            "description": "new", "reason": "as observed", "evidence": ["019b2c1e-5f7a-7c3e-9d4b-000000000000"]}),
        ),
        (
            "register_worker",
            json!({"id": "w-2", "name": "CML", "address": "https://cml.example.org", "capacity": capacity,
            "port_range": {"first": 2000, "last": 7999}}),
        ),
        ("change_worker", json!({"name": "CML two", "address": "https://cml.example.org:8443", "capacity": capacity})),
        (
            "record_worker_pressure",
            json!({"observed_at": "2026-02-25T12:00:00Z", "observer": "controller", "pressure": {
                "queued_nodes": 3, "longest_wait_seconds": 90, "short_of_cpu": true, "short_of_memory": false,
                "short_of_storage": null, "running_nodes": 40, "free_cpu_cores": 1.5, "total_cpu_cores": 64,
                "free_memory_mb": 1024, "total_memory_mb": 524_288, "free_storage_mb": 10, "total_storage_mb": 2_048_000,
                "statistics": "answered", "launch_queue": "no_rights"}}),
        ),
    ]
}

/// Where in a document, and what happens there.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Something else stands there.
    Replace(Value),
    /// It is gone.
    Delete,
    /// A list has it this often again; an object has it under this name too.
    Repeat(usize, String),
}

fn texts() -> impl Strategy<Value = String> {
    let nasty = [
        "",
        " ",
        "\0",
        "a\0b",
        "\u{1b}[2J",
        "a\nb",
        "\u{85}",
        "\u{2028}",
        "\u{202e}gnp",
        "\u{feff}",
        "\u{fffd}",
        "'",
        "\"",
        "{}",
        "null",
        "NaN",
        "-0",
        "%00",
        "\\u0000",
        "a.b",
        "../..",
        "é\u{301}",
        "👩‍🔬",
        "\u{10ffff}",
        "0001-01-01T00:00:00+08:00",
        "9999-12-31T23:59:59-05:00",
        "-5000-01-01T00:00:00Z",
        "+262142-12-31T23:59:59Z",
        "2026-02-25T12:00:00",
        "infinity",
        "-infinity",
        "epoch",
        "2099-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "PC_tcp",
        "STOPPED",
        "serial:0",
        "pat:udp:1:2",
    ];
    prop_oneof![
        6 => proptest::sample::select(nasty.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => (200_usize..5_000).prop_map(|length| "x".repeat(length)),
    ]
}

fn numbers() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(0),
        json!(-0.0),
        json!(-1),
        json!(0.1),
        json!(300),
        json!(101),
        json!(2_147_483_648_u64),
        json!(3_000_000_000_u64),
        json!(u32::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(-1e300),
        json!(5e-324),
        json!(f64::MAX),
        json!(1e9),
        json!(9_007_199_254_740_993_u64),
        json!(65_536),
        json!(1_000_000_000),
    ])
}

/// Changes as [`changed`] takes them: a place by its number, and what happens there.
pub(crate) fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Change)>> {
    let change = prop_oneof![
        5 => texts().prop_map(|text| Change::Replace(text.into())),
        5 => numbers().prop_map(Change::Replace),
        1 => proptest::sample::select(vec![json!(null), json!(true), json!([]), json!({}), json!([[]])]).prop_map(Change::Replace),
        2 => Just(Change::Delete),
        2 => (1_usize..300, texts()).prop_map(|(times, name)| Change::Repeat(times, name)),
    ];
    proptest::collection::vec((any::<prop::sample::Index>(), change), 1..4)
}

/// The document with these changes.
pub(crate) fn changed(mut document: Value, changes: &[(prop::sample::Index, Change)]) -> Value {
    for (index, change) in changes {
        let mut places = Vec::new();
        collect(&document, String::new(), &mut places);
        if places.is_empty() {
            return document;
        }
        let place = index.get(&places);
        let (parent, name) = place.rsplit_once('/').expect("a place begins with a slash");
        let name = name.replace("~1", "/").replace("~0", "~");
        match (document.pointer_mut(parent).expect("the place was there a moment ago"), change) {
            (Value::Object(members), Change::Replace(value)) => drop(members.insert(name, value.clone())),
            (Value::Object(members), Change::Delete) => drop(members.remove(&name)),
            (Value::Object(members), Change::Repeat(_, other)) => {
                let value = members.get(&name).cloned().unwrap_or_default();
                members.insert(other.clone(), value);
            }
            (Value::Array(entries), change) => {
                let at: usize = name.parse().expect("an entry's place is a number");
                match change {
                    Change::Replace(value) => entries[at] = value.clone(),
                    Change::Delete => drop(entries.remove(at)),
                    Change::Repeat(times, _) => entries.extend(vec![entries[at].clone(); *times]),
                }
            }
            _ => {}
        }
    }
    document
}

fn collect(value: &Value, place: String, places: &mut Vec<String>) {
    let mut inner = |name: &str, value: &Value| {
        let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
        places.push(place.clone());
        collect(value, place, places);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| inner(name, value)),
        // Of many entries that are alike the first few stand for all.
        Value::Array(entries) => {
            entries.iter().take(3).enumerate().for_each(|(at, value)| inner(&at.to_string(), value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
