//! What is measured while a lab runs: usage of nodes, traffic of links, addresses that were learnt.

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use uuid::Uuid;

use super::{Answer, ApiError, Shared, find_lab, json, labs::Pairs, nodes::find_node};
use crate::{
    definition::Making,
    lab::Lab,
    life::{Life, Run, State as NodeState},
    node::{Interface, Node},
    usage::{link_traffic, seconds_between},
    world::ApiVersion,
};

/// How long after its boot a node has asked for an address, and the controller has seen the answer.
const LEASE_SECONDS: f64 = 8.0;

#[derive(Serialize)]
struct Statistics {
    nodes: Pairs<NodeStatistics>,
    links: Pairs<LinkStatistics>,
}

/// Whole for a machine that has started, else partial.
#[derive(Serialize)]
struct NodeStatistics {
    #[serde(flatten)]
    usage: Option<Usage>,
    times: Times,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_running: Option<bool>,
}

#[derive(Serialize)]
struct Usage {
    cpu_usage: f64,
    block0_rd_bytes: u64,
    block0_wr_bytes: u64,
    #[serde(flatten)]
    more: Option<MoreUsage>,
}

/// From 2.10.
#[derive(Serialize)]
struct MoreUsage {
    ram_usage: f64,
    disk_usage: u64,
    cpus: u64,
    cpu_limit: u64,
    ram: u64,
}

/// Seconds: how long it queued; since it started; since it booted. 0 is not yet.
#[derive(Serialize)]
struct Times {
    #[serde(rename = "QUEUED")]
    queued: u64,
    #[serde(rename = "STARTED")]
    started: u64,
    #[serde(rename = "BOOTED")]
    booted: u64,
}

#[derive(Serialize)]
struct LinkStatistics {
    readbytes: u64,
    readpackets: u64,
    writebytes: u64,
    writepackets: u64,
    drops: u64,
}

pub(super) async fn statistics(State(world): State<Shared>, Path(lab): Path<String>) -> Answer {
    let world = world.lock();
    json(&statistics_of(find_lab(&world, &lab)?, world.now(), world.api))
}

/// Both maps are empty when the lab does not run.
pub(super) fn statistics_of(lab: &Lab, now: DateTime<Utc>, api: ApiVersion) -> impl Serialize + use<> {
    let node = |node: &Node| match node.life {
        Life::Running(run) => Some((node.id, node_statistics(node, run, now, api))),
        Life::Defined | Life::Stopped => None,
    };
    let link = |link| {
        let since = lab.link_up_since(link).filter(|since| *since <= now)?;
        let traffic = link_traffic(link, since, now);
        let statistics = LinkStatistics {
            readbytes: traffic.readbytes,
            readpackets: traffic.readpackets,
            writebytes: traffic.writebytes,
            writepackets: traffic.writepackets,
            drops: 0,
        };
        Some((link.id, statistics))
    };
    Statistics {
        nodes: Pairs::from_pairs(lab.nodes.iter().filter_map(node)),
        links: Pairs::from_pairs(lab.links.iter().filter_map(link)),
    }
}

fn node_statistics(node: &Node, run: Run, now: DateTime<Utc>, api: ApiVersion) -> NodeStatistics {
    let queued = seconds_between(run.queued_at, run.starts_at.min(now)).round() as u64;
    if !node.definition.is_machine() || matches!(run.state(now), NodeState::Queued | NodeState::Starting) {
        return NodeStatistics {
            usage: None,
            times: Times { queued: queued.max(1), started: 0, booted: 0 },
            is_running: Some(false),
        };
    }
    let usage = node.load.usage(run, now);
    let more = match api {
        ApiVersion::V2_9 => None,
        ApiVersion::V2_10 => Some(MoreUsage {
            ram_usage: usage.ram_usage,
            disk_usage: usage.disk_usage,
            cpus: node.given_cpus(),
            cpu_limit: node.given_cpu_limit(),
            ram: node.given_ram(),
        }),
    };
    NodeStatistics {
        is_running: more.is_some().then_some(true),
        usage: Some(Usage {
            cpu_usage: usage.cpu_usage,
            block0_rd_bytes: usage.read_bytes,
            block0_wr_bytes: usage.written_bytes,
            more,
        }),
        times: Times {
            queued,
            started: seconds_between(run.starts_at, now) as u64,
            booted: seconds_between(run.boots_at, now) as u64,
        },
    }
}

#[derive(Serialize)]
struct NodeAddresses<'lab> {
    name: &'lab str,
    interfaces: ByMac<'lab>,
}

/// An object keyed by the deployed MAC.
struct ByMac<'lab>(Vec<(&'lab Interface, Option<String>)>);

impl Serialize for ByMac<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(interface, address)| {
            (interface.deployed_mac(), InterfaceAddresses { interface, address: address.as_deref() })
        }))
    }
}

struct InterfaceAddresses<'lab> {
    interface: &'lab Interface,
    address: Option<&'lab str>,
}

impl Serialize for InterfaceAddresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let none: [&str; 0] = [];
        let mut view = serializer.serialize_struct("Addresses", 4)?;
        view.serialize_field("id", &self.interface.id)?;
        view.serialize_field("label", &self.interface.label)?;
        view.serialize_field("ip4", self.address.as_slice())?;
        view.serialize_field("ip6", &none)?;
        view.end()
    }
}

pub(super) async fn addresses(State(world): State<Shared>, Path(lab): Path<String>) -> Answer {
    let world = world.lock();
    let now = world.now();
    let lab = find_lab(&world, &lab)?;
    json(&Pairs::from_pairs(
        lab.nodes.iter().enumerate().filter_map(|(position, node)| addresses_of(node, position, now)),
    ))
}

pub(super) async fn addresses_of_node(
    State(world): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
) -> Answer {
    let world = world.lock();
    let lab: &Lab = find_lab(&world, &lab)?;
    let node = find_node(lab, &node)?;
    if node.definition.making == Making::ExternalConnector {
        return Err(ApiError::bad_request("an external connector has no layer 3 addresses"));
    }
    let position = lab.nodes.iter().position(|other| other.id == node.id).unwrap_or_default();
    match addresses_of(node, position, world.now()) {
        Some((_, addresses)) => json(&addresses),
        None => json(&NodeAddresses { name: &node.label, interfaces: ByMac(Vec::new()) }),
    }
}

/// Of machines that are up. Most interfaces have no address: only what asks for one by DHCP and reaches the outside has
/// been seen to get one.
fn addresses_of(node: &Node, position: usize, now: DateTime<Utc>) -> Option<(Uuid, NodeAddresses<'_>)> {
    let Life::Running(run) = node.life else {
        return None;
    };
    if !node.is_up(now) || !node.definition.is_machine() {
        return None;
    }
    let leased = node.definition.asks_for_address && seconds_between(run.boots_at, now) >= LEASE_SECONDS;
    let interfaces = node
        .interfaces
        .iter()
        .filter(|interface| interface.is_physical())
        .map(|interface| {
            // A home network of 16 bits below the connector: the position keeps addresses of one lab apart.
            let address = format!("192.168.{}.{}", 128 + position / 200 % 120, 20 + position % 200);
            (interface, (leased && interface.outside).then_some(address))
        })
        .collect();
    Some((node.id, NodeAddresses { name: &node.label, interfaces: ByMac(interfaces) }))
}
