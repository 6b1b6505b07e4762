//! Nodes: the list with what each was given, one of them, its life, its tags.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use uuid::Uuid;

use super::{Answer, ApiError, Query, Shared, find_lab, find_lab_mut, flag, json, json_of, no_content};
use crate::{
    lab::{Lab, LabEvent},
    life::State as NodeState,
    node::Node,
    topology::check_tags,
    world::World,
};

#[derive(Serialize)]
struct NodeView<'lab> {
    id: Uuid,
    lab_id: Uuid,
    label: &'lab str,
    node_definition: &'lab str,
    image_definition: Option<&'lab str>,
    ram: Option<u64>,
    cpus: Option<u64>,
    cpu_limit: Option<u64>,
    data_volume: Option<u64>,
    boot_disk_size: Option<u64>,
    hide_links: bool,
    tags: &'lab [String],
    state: &'static str,
    boot_progress: &'static str,
    x: &'lab Number,
    y: &'lab Number,
    parameters: &'lab Map<String, Value>,
    pinned_compute_id: Option<Uuid>,
    iol_app_id: Option<u64>,
    compute_id: Option<Uuid>,
    resource_pool: Option<Uuid>,
    vnc_key: Option<Uuid>,
    serial_consoles: Vec<SerialConsole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<&'lab Value>,
    /// Outer None: not asked for. Inner None: the node has not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    operational: Option<Option<Operational<'lab>>>,
}

/// What the node really got.
#[derive(Serialize)]
struct Operational<'lab> {
    boot_disk_size: Option<u64>,
    compute_id: Uuid,
    cpu_limit: Option<u64>,
    cpus: Option<u64>,
    data_volume: Option<u64>,
    image_definition: Option<&'lab str>,
    iol_app_id: Option<u64>,
    ram: Option<u64>,
    resource_pool: Option<Uuid>,
    serial_consoles: Vec<SerialConsole>,
    vnc_key: Option<Uuid>,
}

#[derive(Serialize)]
struct SerialConsole {
    console_key: Uuid,
    label: &'static str,
    device_number: u64,
}

fn serial_consoles(node: &Node) -> Vec<SerialConsole> {
    let labels = ["Console", "Aux", "Serial 2", "Serial 3"];
    (0_u64..node.definition.serial_ports)
        .zip(labels)
        .map(|(device_number, label)| SerialConsole {
            console_key: node.dice.about_text("console").about(device_number).uuid(),
            label,
            device_number,
        })
        .collect()
}

fn vnc_key(node: &Node) -> Option<Uuid> {
    node.definition.vnc.then(|| node.dice.about_text("vnc").uuid())
}

fn operational<'lab>(world: &World, node: &'lab Node, now: DateTime<Utc>) -> Option<Operational<'lab>> {
    let machine = node.definition.is_machine();
    node.is_up(now).then(|| Operational {
        boot_disk_size: node.boot_disk_size.filter(|size| *size > 0).or(node.definition.boot_disk_size),
        compute_id: world.compute_id,
        cpu_limit: machine.then(|| node.given_cpu_limit()),
        cpus: machine.then(|| node.given_cpus()),
        data_volume: node.data_volume.filter(|size| *size > 0),
        image_definition: node.given_image(),
        iol_app_id: None,
        ram: machine.then(|| node.given_ram()),
        resource_pool: None,
        serial_consoles: serial_consoles(node),
        vnc_key: vnc_key(node),
    })
}

#[derive(Clone, Copy)]
struct Wanted {
    operational: bool,
    configurations: bool,
}

impl Wanted {
    fn from_query(query: &Query) -> Self {
        Self { operational: flag(query, "operational"), configurations: !flag(query, "exclude_configurations") }
    }
}

fn view<'lab>(world: &World, lab: &Lab, node: &'lab Node, now: DateTime<Utc>, wanted: Wanted) -> NodeView<'lab> {
    let up = node.is_up(now);
    NodeView {
        id: node.id,
        lab_id: lab.id,
        label: &node.label,
        node_definition: &node.node_definition,
        image_definition: node.image_definition.as_deref(),
        ram: node.ram,
        cpus: node.cpus,
        cpu_limit: node.cpu_limit,
        data_volume: node.data_volume,
        boot_disk_size: node.boot_disk_size,
        hide_links: node.hide_links,
        tags: &node.tags,
        state: node.state(now).name(),
        boot_progress: node.boot_progress(now),
        x: &node.x,
        y: &node.y,
        parameters: &node.parameters,
        pinned_compute_id: None,
        iol_app_id: None,
        compute_id: up.then_some(world.compute_id),
        resource_pool: None,
        vnc_key: if up { vnc_key(node) } else { None },
        serial_consoles: if up { serial_consoles(node) } else { Vec::new() },
        configuration: wanted.configurations.then_some(&node.configuration),
        operational: wanted.operational.then(|| operational(world, node, now)),
    }
}

pub(super) fn without_configuration<'lab>(world: &World, lab: &Lab, node: &'lab Node) -> impl Serialize + use<'lab> {
    view(world, lab, node, world.now(), Wanted { operational: false, configurations: false })
}

/// `data=false`, the default, gives ids only.
pub(super) async fn list(State(world): State<Shared>, Path(lab): Path<String>, query: Query) -> Answer {
    let world = world.lock();
    let now = world.now();
    let lab = find_lab(&world, &lab)?;
    if !flag(&query, "data") {
        return json(&lab.nodes.iter().map(|node| node.id).collect::<Vec<_>>());
    }
    let wanted = Wanted::from_query(&query);
    json(&lab.nodes.iter().map(|node| view(&world, lab, node, now, wanted)).collect::<Vec<_>>())
}

pub(super) fn find_node<'lab>(lab: &'lab Lab, id: &str) -> Result<&'lab Node, ApiError> {
    Uuid::try_parse(id).ok().and_then(|id| lab.node(id)).ok_or_else(|| ApiError::not_found("Node", id))
}

pub(super) async fn show(
    State(world): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    query: Query,
) -> Answer {
    let world = world.lock();
    let lab = find_lab(&world, &lab)?;
    json(&view(&world, lab, find_node(lab, &node)?, world.now(), Wanted::from_query(&query)))
}

pub(super) async fn state(State(world): State<Shared>, Path((lab, node)): Path<(String, String)>) -> Answer {
    let world = world.lock();
    let state = find_node(find_lab(&world, &lab)?, &node)?.state(world.now()).name();
    json(&json!({ "state": state }))
}

pub(super) async fn converged(State(world): State<Shared>, Path((lab, node)): Path<(String, String)>) -> Answer {
    let world = world.lock();
    let state = find_node(find_lab(&world, &lab)?, &node)?.state(world.now());
    json(&!matches!(state, NodeState::Queued | NodeState::Starting | NodeState::Started))
}

pub(super) async fn start(State(world): State<Shared>, Path((lab, node)): Path<(String, String)>) -> Answer {
    change_life(&world, &lab, &node, Lab::start_node)
}

pub(super) async fn stop(State(world): State<Shared>, Path((lab, node)): Path<(String, String)>) -> Answer {
    change_life(&world, &lab, &node, Lab::stop_node)
}

fn change_life(
    world: &Shared,
    lab: &str,
    node: &str,
    change: impl FnOnce(&mut Lab, Uuid, DateTime<Utc>) -> bool,
) -> Answer {
    let mut world = world.lock();
    let now = world.now();
    let lab = find_lab_mut(&mut world, lab)?;
    match Uuid::try_parse(node) {
        Ok(id) if change(lab, id, now) => no_content(),
        Ok(_) | Err(_) => Err(ApiError::not_found("Node", node)),
    }
}

/// Only what is named changes; a list of tags replaces the whole list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revision {
    tags: Option<Vec<String>>,
    label: Option<String>,
    x: Option<Number>,
    y: Option<Number>,
    hide_links: Option<bool>,
    parameters: Option<Map<String, Value>>,
    #[serde(default, with = "named")]
    configuration: Option<Value>,
    #[serde(default, with = "named")]
    ram: Option<Option<u64>>,
    #[serde(default, with = "named")]
    cpus: Option<Option<u64>>,
    #[serde(default, with = "named")]
    cpu_limit: Option<Option<u64>>,
    #[serde(default, with = "named")]
    data_volume: Option<Option<u64>>,
    #[serde(default, with = "named")]
    boot_disk_size: Option<Option<u64>>,
    #[serde(default, with = "named")]
    image_definition: Option<Option<String>>,
}

/// Tells a null, which clears an override, from a key that is not there.
mod named {
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        T::deserialize(deserializer).map(Some)
    }
}

/// Answers the node's id as a bare string.
pub(super) async fn revise(
    State(world): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let revision: Revision = json_of(request).await?;
    if let Some(tags) = &revision.tags {
        check_tags(tags).map_err(ApiError::bad_request)?;
    }
    let mut world = world.lock();
    let now = world.now();
    let lab = find_lab_mut(&mut world, &lab)?;
    let id = find_node(lab, &node)?.id;
    let Some(node) = lab.node_mut(id) else {
        return Err(ApiError::not_found("Node", &node));
    };
    revision.apply(node, now)?;
    lab.record_element(LabEvent {
        at: now,
        event: "modified",
        element_type: "node",
        element_id: id,
        data: String::new(),
    });
    json(&id)
}

impl Revision {
    fn apply(self, node: &mut Node, now: DateTime<Utc>) -> Result<(), ApiError> {
        let given = self.ram.is_some()
            || self.cpus.is_some()
            || self.cpu_limit.is_some()
            || self.data_volume.is_some()
            || self.boot_disk_size.is_some()
            || self.image_definition.is_some();
        if given && !matches!(node.state(now), NodeState::DefinedOnCore) {
            let reason = format!("Node {} must be wiped before that is changed.", node.id);
            return Err(ApiError::new(StatusCode::BAD_REQUEST, reason));
        }
        replace(&mut node.tags, self.tags);
        replace(&mut node.label, self.label);
        replace(&mut node.x, self.x);
        replace(&mut node.y, self.y);
        replace(&mut node.hide_links, self.hide_links);
        replace(&mut node.parameters, self.parameters);
        replace(&mut node.configuration, self.configuration);
        replace(&mut node.ram, self.ram);
        replace(&mut node.cpus, self.cpus);
        replace(&mut node.cpu_limit, self.cpu_limit);
        replace(&mut node.data_volume, self.data_volume);
        replace(&mut node.boot_disk_size, self.boot_disk_size);
        replace(&mut node.image_definition, self.image_definition);
        Ok(())
    }
}

fn replace<T>(old: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *old = new;
    }
}
