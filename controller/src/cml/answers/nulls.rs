//! Controllers write null where a default is meant: whatever is optional may be null or absent, and means the same.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Answers with every member that is read at a value of its own.
fn full() -> Value {
    let interface = |id: &str| {
        json!({"id": id, "label": "eth0", "slot": 0, "type": "physical", "mac_address": "52:54:00:00:00:02",
               "operational": {"mac_address": "52:54:00:00:00:01"}})
    };
    let node = json!({
        "id": "a", "label": "R1", "node_definition": "iosv", "image_definition": "i", "state": "STARTING", "ram": 768,
        "cpus": 1, "cpu_limit": 100, "tags": ["serial:5041"], "hide_links": true, "parameters": {},
        "interfaces": [interface("i1"), interface("i2")],
        "operational": {"cpus": 1, "cpu_limit": 100, "ram": 768, "image_definition": "i"}
    });
    let address = json!({"id": "i1", "label": "eth0", "ip4": ["10.0.0.1"], "ip6": ["fe80::1"]});
    let stats = json!({
        "cpu_usage": 1.5, "ram_usage": 2.0, "disk_usage": 3, "ram": 768, "block0_rd_bytes": 1, "block0_wr_bytes": 2,
        "times": {"QUEUED": 1, "STARTED": 2, "BOOTED": 3}
    });
    json!({
        "nodes": [node.clone()],
        "topology": {"nodes": [node], "annotations": [], "smart_annotations": [],
                     "links": [{"id": "l", "interface_a": "i1", "interface_b": "i2"}]},
        "states": {"nodes": {"a": "STARTING"}, "interfaces": {"i1": "STARTED"}, "links": {"l": "STARTED"}},
        "addresses": {"a": {"name": "R1", "interfaces": {"52:54:00:00:00:01": address}}},
        "stats": {"nodes": {"a": stats}, "links": {"l": {"readbytes": 1}}},
        "system": {"computes": {"h": {"hostname": "h", "is_controller": true, "stats": {
            "cpu": {"count": 8, "percent": 5.0}, "memory": {"used": 1, "free": 2, "total": 3},
            "disk": {"used": 1, "free": 2, "total": 3}, "dominfo": {"running_nodes": 1, "total_nodes": 1}}}}},
        "queue": {"queue": {"a": {"queued_time": 5}}, "overload": {"cpu": true, "memory": false, "disk": false}},
        "defaults": [{"id": "iosv", "sim": {"ram": 768, "cpus": 1, "cpu_limit": 100}}],
    })
}

/// The places of all members but those without which an entry is none, and but tags, which are unknown where they are
/// absent and none where they are null.
fn optional(value: &Value, place: &str, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{place}/{name}");
                let required = place.matches('/').count() == 1
                    // Where they are null, the host and the node are there and unknown.
                    || matches!(place.as_str(), "/topology/nodes" | "/system/computes/h" | "/queue/queue/a")
                    || matches!(name.as_str(), "id" | "interface_a" | "interface_b" | "tags");
                if !required {
                    places.push(place.clone());
                }
                optional(member, &place, places);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                optional(item, &format!("{place}/{index}"), places);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn changed(mut answers: Value, place: &str, null: bool) -> Value {
    let (parent, member) = place.rsplit_once('/').unwrap();
    if let Some(Value::Object(members)) = answers.pointer_mut(parent) {
        if null {
            members.insert(member.to_owned(), Value::Null);
        } else {
            members.remove(member);
        }
    }
    answers
}

/// What is read of all answers, and nothing may be unreadable of any.
fn read(answers: &Value) -> String {
    fn whole<T: std::fmt::Debug>(reading: Result<Reading<T>, CmlError>) -> T {
        let reading = reading.unwrap();
        assert_eq!((&reading.unreadable, reading.left_out), (&vec![], 0), "{:?}", reading.value);
        reading.value
    }
    let stats = whole(stats(answers["stats"].clone()));
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
        whole(nodes(&answers["nodes"])),
        whole(topology(&answers["topology"])),
        whole(element_states(&answers["states"])),
        whole(addresses(&answers["addresses"])),
        stats.nodes,
        whole(node_defaults(&answers["defaults"])),
        whole(system_statistics(&answers["system"])),
        whole(launch_queue(&answers["queue"])),
    )
}

#[test]
fn each_optional_member_may_be_null_or_absent() {
    let mut places = Vec::new();
    optional(&full(), "", &mut places);
    assert!(places.len() > 60, "{places:?}");
    for place in places {
        assert_eq!(read(&changed(full(), &place, true)), read(&changed(full(), &place, false)), "{place}");
    }
    let untagged = changed(full(), "/nodes/0/tags", true);
    assert!(read(&untagged).contains("tags: Some([])"));
    for list in ["/topology/nodes", "/topology/links"] {
        read(&changed(full(), list, true));
    }
}

#[test]
fn statistics_may_hold_times_only() {
    let answer = json!({"nodes": {"a": {"times": {"QUEUED": 1, "STARTED": 2, "BOOTED": 3}}}, "links": {}});
    let reading = stats(answer).unwrap();
    assert_eq!(
        reading.value.nodes["a"],
        NodeStats { started_for: Some(2), booted_for: Some(3), ..NodeStats::default() }
    );
    assert!(reading.unreadable.is_empty());
}

proptest! {
    #[test]
    fn any_of_them_together_may(chosen in proptest::collection::vec(0_u8..4, 120)) {
        let mut places = Vec::new();
        optional(&full(), "", &mut places);
        let (mut null, mut absent) = (full(), full());
        for (place, _) in places.iter().zip(&chosen).filter(|(_, chosen)| **chosen == 0) {
            (null, absent) = (changed(null, place, true), changed(absent, place, false));
        }
        prop_assert_eq!(read(&null), read(&absent));
    }
}
