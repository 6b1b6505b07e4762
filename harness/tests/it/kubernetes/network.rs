//! Network policies: each role goes where it must and nowhere else, and who speaks is heard.

use std::collections::BTreeSet;

use serde_norway::Value;

use super::{Manifests, ROLES, list, selects};

/// The ports of one direction.
fn ports(policy: &Value, direction: &str) -> BTreeSet<u64> {
    let ways = list(&policy["spec"][direction]).iter();
    ways.flat_map(|way| list(&way["ports"])).map(|port| port["port"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn everything_is_denied_but_what_a_role_needs() {
    let manifests = Manifests::of_lablet("").await;
    let policies = manifests.of_kind("NetworkPolicy");
    let pods = manifests.pods();
    let nobody = policies["lablet"];
    assert!(nobody["spec"].get("ingress").is_none() && nobody["spec"].get("egress").is_none());
    assert!(
        pods.values().all(|pod| selects(&nobody["spec"]["podSelector"]["matchLabels"], &pod["metadata"]["labels"]))
    );
    // DNS, Postgres, NATS, the collector; then what is a role's own.
    for (role, to, from) in [
        ("migrate", &[53, 5432, 4222][..], &[][..]),
        ("serve", &[53, 5432, 4222, 4318, 443], &[8080]),
        ("project", &[53, 5432, 4222, 4318], &[9464]),
        ("relay", &[53, 5432, 4222, 4318], &[9464]),
        ("deliver", &[53, 5432, 4222, 4318, 443], &[9464]),
        ("control", &[53, 4222, 4318, 443, 8080], &[9464]),
    ] {
        let policy = policies[&format!("lablet-{role}")];
        assert_eq!(ports(policy, "egress"), to.iter().copied().collect(), "{role}");
        assert_eq!(ports(policy, "ingress"), from.iter().copied().collect(), "{role}");
        assert_eq!(list(&policy["spec"]["policyTypes"]).len(), 2, "{role}");
        // An empty list of peers would be everybody.
        for (direction, peers) in [("egress", "to"), ("ingress", "from")] {
            for way in list(&policy["spec"][direction]) {
                let peers = list(&way[peers]);
                assert!(!peers.is_empty() && peers.iter().all(|peer| !peer.as_mapping().unwrap().is_empty()), "{role}");
            }
        }
        let port = pods[role]["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64();
        assert_eq!(port, from.first().copied(), "{role} is asked where it answers");
    }
    assert_eq!(policies.len(), ROLES.len() + 2);
}

#[tokio::test]
async fn a_controller_reaches_the_gateway_from_both_ends() {
    let manifests = Manifests::of_lablet("").await;
    let policies = manifests.of_kind("NetworkPolicy");
    let pods = manifests.pods();
    let reaches = |policy: &Value, direction: &str, peers: &str, role: &str| {
        let ways = list(&policy["spec"][direction]).iter().filter(|way| way["ports"][0]["port"] == 8080);
        ways.flat_map(|way| list(&way[peers])).any(|peer| {
            let selector = &peer["podSelector"]["matchLabels"];
            selector.is_mapping() && selects(selector, &pods[role]["metadata"]["labels"])
        })
    };
    assert!(reaches(policies["lablet-control"], "egress", "to", "serve"));
    assert!(reaches(policies["lablet-serve"], "ingress", "from", "control"));
    assert!(!reaches(policies["lablet-serve"], "ingress", "from", "relay"));
}

#[tokio::test]
async fn what_is_switched_off_leaves_no_way_open() {
    let off = "{ telemetry: { endpoint: '' }, metrics: { enabled: false }, deliver: { enabled: false }, control: { enabled: false } }";
    let manifests = Manifests::of_lablet(off).await;
    let policies = manifests.of_kind("NetworkPolicy");
    let names: Vec<&str> = policies.keys().map(String::as_str).collect();
    assert_eq!(names, ["lablet", "lablet-migrate", "lablet-project", "lablet-relay", "lablet-serve"]);
    assert_eq!(ports(policies["lablet-relay"], "egress"), BTreeSet::from([53, 4222, 5432]));
    assert_eq!(ports(policies["lablet-relay"], "ingress"), BTreeSet::new());
    assert_eq!(list(&policies["lablet-serve"]["spec"]["ingress"]).len(), 1, "clients alone");
    let none = Manifests::of_lablet("network: { enabled: false }").await;
    assert!(none.of_kind("NetworkPolicy").is_empty());
}
