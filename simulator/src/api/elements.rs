//! Interfaces and links one by one, and all interfaces at once from 2.10.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Answer, ApiError, Query, Shared, find_lab, flag, json, nodes::find_node};
use crate::{
    lab::{Lab, Link},
    node::{Interface, Node},
    world::ApiVersion,
};

#[derive(Serialize)]
struct InterfaceView<'lab> {
    id: Uuid,
    lab_id: Uuid,
    node: Uuid,
    label: &'lab str,
    slot: Option<u64>,
    #[serde(rename = "type")]
    kind: &'lab str,
    mac_address: Option<&'lab str>,
    is_connected: bool,
    state: &'static str,
    /// Outer None: not asked for. Inner None: the node has not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    operational: Option<Option<Operational<'lab>>>,
}

#[derive(Serialize)]
struct Operational<'lab> {
    device_name: Option<&'lab str>,
    mac_address: Option<&'lab str>,
    src_udp_port: Option<u16>,
    dst_udp_port: Option<u16>,
}

fn view<'lab>(
    lab: &Lab,
    node: &'lab Node,
    interface: &'lab Interface,
    now: DateTime<Utc>,
    operational: bool,
) -> InterfaceView<'lab> {
    let deployed = || Operational {
        device_name: None,
        mac_address: (interface.is_physical() && node.definition.is_machine()).then(|| interface.deployed_mac()),
        src_udp_port: None,
        dst_udp_port: None,
    };
    InterfaceView {
        id: interface.id,
        lab_id: lab.id,
        node: node.id,
        label: &interface.label,
        slot: interface.slot,
        kind: &interface.kind,
        mac_address: interface.configured_mac.as_deref(),
        is_connected: interface.connected,
        state: node.interface_state(now).name(),
        operational: operational.then(|| node.is_up(now).then(deployed)),
    }
}

/// Every interface of a lab. Before 2.10 that path has POST alone.
pub(super) async fn interfaces(State(world): State<Shared>, Path(lab): Path<String>) -> Answer {
    let world = world.lock();
    let now = world.now();
    match world.api {
        ApiVersion::V2_9 => Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")),
        ApiVersion::V2_10 => {
            let lab = find_lab(&world, &lab)?;
            let all = lab.nodes.iter().flat_map(|node| node.interfaces.iter().map(move |interface| (node, interface)));
            json(&all.map(|(node, interface)| view(lab, node, interface, now, true)).collect::<Vec<_>>())
        }
    }
}

/// Topologies are imported whole here; the path exists so that reading it is "not allowed" rather than "not found".
pub(super) async fn create_interface() -> Answer {
    Err(ApiError::bad_request("this simulator does not edit topologies; import one"))
}

/// `data=false`, the default, gives ids only.
pub(super) async fn interfaces_of_node(
    State(world): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let world = world.lock();
    let now = world.now();
    let lab = find_lab(&world, &lab)?;
    let node = find_node(lab, &node)?;
    if !flag(&query, "data") {
        return json(&node.interfaces.iter().map(|interface| interface.id).collect::<Vec<_>>());
    }
    let operational = flag(&query, "operational");
    json(&node.interfaces.iter().map(|interface| view(lab, node, interface, now, operational)).collect::<Vec<_>>())
}

fn find_interface<'lab>(lab: &'lab Lab, id: &str) -> Result<(&'lab Node, &'lab Interface), ApiError> {
    let wanted = Uuid::try_parse(id).ok();
    let mut all = lab.nodes.iter().flat_map(|node| node.interfaces.iter().map(move |interface| (node, interface)));
    all.find(|(_, interface)| Some(interface.id) == wanted).ok_or_else(|| ApiError::not_found("Interface", id))
}

pub(super) async fn interface(
    State(world): State<Shared>,
    Path((lab, interface)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let world = world.lock();
    let lab = find_lab(&world, &lab)?;
    let (node, interface) = find_interface(lab, &interface)?;
    json(&view(lab, node, interface, world.now(), flag(&query, "operational")))
}

#[derive(Serialize)]
struct InterfaceState {
    state: &'static str,
}

pub(super) async fn interface_state(
    State(world): State<Shared>,
    Path((lab, interface)): Path<(String, String)>,
) -> Answer {
    let world = world.lock();
    let (node, _) = find_interface(find_lab(&world, &lab)?, &interface)?;
    json(&InterfaceState { state: node.interface_state(world.now()).name() })
}

#[derive(Serialize)]
struct LinkView<'lab> {
    id: Uuid,
    lab_id: Uuid,
    label: &'lab str,
    interface_a: Uuid,
    interface_b: Uuid,
    node_a: Uuid,
    node_b: Uuid,
    link_capture_key: &'static str,
    state: &'static str,
}

/// `data=false`, the default, gives ids only.
pub(super) async fn links(State(world): State<Shared>, Path(lab): Path<String>, query: Query) -> Answer {
    let world = world.lock();
    let now = world.now();
    let lab = find_lab(&world, &lab)?;
    if !flag(&query, "data") {
        return json(&lab.links.iter().map(|link| link.id).collect::<Vec<_>>());
    }
    json(&lab.links.iter().map(|link| link_view(lab, link, now)).collect::<Vec<_>>())
}

fn link_view<'lab>(lab: &Lab, link: &'lab Link, now: DateTime<Utc>) -> LinkView<'lab> {
    let [(node_a, interface_a), (node_b, interface_b)] = link.ends.map(|end| {
        let node = &lab.nodes[end.node];
        (node.id, node.interfaces[end.interface].id)
    });
    LinkView {
        id: link.id,
        lab_id: lab.id,
        label: &link.label,
        interface_a,
        interface_b,
        node_a,
        node_b,
        link_capture_key: "",
        state: lab.link_state(link, now).name(),
    }
}

fn find_link<'lab>(lab: &'lab Lab, id: &str) -> Result<&'lab Link, ApiError> {
    let wanted = Uuid::try_parse(id).ok();
    lab.links.iter().find(|link| Some(link.id) == wanted).ok_or_else(|| ApiError::not_found("Link", id))
}

pub(super) async fn link(State(world): State<Shared>, Path((lab, link)): Path<(String, String)>) -> Answer {
    let world = world.lock();
    let lab = find_lab(&world, &lab)?;
    json(&link_view(lab, find_link(lab, &link)?, world.now()))
}

pub(super) async fn link_state(State(world): State<Shared>, Path((lab, link)): Path<(String, String)>) -> Answer {
    let world = world.lock();
    let lab = find_lab(&world, &lab)?;
    json(&lab.link_state(find_link(lab, &link)?, world.now()).name())
}
