//! Labs: the list, import, life cycle, topology and the states of their parts.

use axum::{
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Number, Value, json};
use uuid::Uuid;

use super::{Answer, ApiError, Query, Shared, body_of, find_lab, find_lab_mut, flag, json, json_of, no_content};
use crate::{
    export,
    lab::Lab,
    node::{Interface, Node},
    simulator::LARGEST_TOPOLOGY,
    world::{ImportError, World},
};

const LONGEST_TEXT: usize = 64 * 1024;

/// All labs belong to the one user, so `show_all` changes nothing.
pub(super) async fn list(State(world): State<Shared>) -> Answer {
    let ids: Vec<Uuid> = world.lock().labs.iter().map(|lab| lab.id).collect();
    json(&ids)
}

/// The body is YAML (or JSON, which is YAML).
pub(super) async fn import(State(world): State<Shared>, query: Query, request: Request) -> Answer {
    let body = body_of(request, LARGEST_TOPOLOGY).await?;
    let yaml = std::str::from_utf8(&body).map_err(ApiError::bad_request)?;
    let title = query.get("title").filter(|title| !title.is_empty()).cloned();
    match world.lock().import(yaml, title) {
        Ok((id, warnings)) => json(&json!({ "id": id, "warnings": warnings })),
        Err(ImportError::Topology(reason)) => Err(ApiError::bad_request(reason)),
        Err(ImportError::TooManyLabs) => Err(ApiError::bad_request("the controller has too many labs")),
    }
}

pub(super) async fn show(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let world = world.lock();
    json(&details(&world, find_lab(&world, &id)?))
}

fn details(world: &World, lab: &Lab) -> Value {
    json!({
        "id": lab.id,
        "created": world.shown(lab.created),
        "modified": world.shown(lab.modified),
        "lab_title": lab.title,
        "lab_description": lab.description,
        "lab_notes": lab.notes,
        "owner": world.user_id,
        "owner_username": world.username,
        "owner_fullname": "",
        "state": lab.state.name(),
        "node_count": lab.nodes.len(),
        "link_count": lab.links.len(),
        "groups": [],
        "effective_permissions": ["lab_admin", "lab_edit", "lab_exec", "lab_view"],
        "autostart": lab.passed_through.autostart,
        "node_staging": lab.passed_through.node_staging,
    })
}

#[derive(Deserialize)]
pub(super) struct Revision {
    title: Option<String>,
    description: Option<String>,
    notes: Option<String>,
}

pub(super) async fn revise(State(world): State<Shared>, Path(id): Path<String>, request: Request) -> Answer {
    let revision: Revision = json_of(request).await?;
    let mut world = world.lock();
    let now = world.now();
    let lab = find_lab_mut(&mut world, &id)?;
    let parts = [
        (revision.title, &mut lab.title),
        (revision.description, &mut lab.description),
        (revision.notes, &mut lab.notes),
    ];
    for (new, old) in parts {
        match new {
            Some(new) if new.len() > LONGEST_TEXT => {
                return Err(ApiError::bad_request("the text is too long"));
            }
            Some(new) => *old = new,
            None => {}
        }
    }
    lab.record(now, "modified", String::new());
    let lab = find_lab(&world, &id)?;
    json(&details(&world, lab))
}

/// A lab must be stopped and wiped before it can be removed.
pub(super) async fn remove(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let mut world = world.lock();
    let lab = find_lab(&world, &id)?;
    if lab.state != crate::life::State::DefinedOnCore {
        return Err(ApiError::bad_request(format!("Lab {id} must be stopped and wiped first")));
    }
    let lab = lab.id;
    world.labs.retain(|other| other.id != lab);
    no_content()
}

/// A bare string.
pub(super) async fn state(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    json(&find_lab(&world.lock(), &id)?.state.name())
}

pub(super) async fn converged(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let world = world.lock();
    json(&find_lab(&world, &id)?.has_converged(world.now()))
}

pub(super) async fn start(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let mut world = world.lock();
    let now = world.now();
    find_lab_mut(&mut world, &id)?.start(now);
    no_content()
}

pub(super) async fn stop(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let mut world = world.lock();
    let now = world.now();
    find_lab_mut(&mut world, &id)?.stop(now);
    no_content()
}

pub(super) async fn wipe(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let mut world = world.lock();
    let now = world.now();
    if find_lab_mut(&mut world, &id)?.wipe(now) {
        no_content()
    } else {
        Err(ApiError::new(StatusCode::BAD_REQUEST, format!("Lab {id} must be stopped before it is wiped.")))
    }
}

#[derive(Serialize)]
struct EventView<'lab> {
    timestamp: String,
    lab_id: Uuid,
    event: &'static str,
    element_type: &'static str,
    element_id: Uuid,
    data: &'lab str,
}

pub(super) async fn events(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let world = world.lock();
    let lab = find_lab(&world, &id)?;
    let events: Vec<EventView<'_>> = lab
        .events
        .iter()
        .map(|event| EventView {
            timestamp: world.shown(event.at),
            lab_id: lab.id,
            event: event.event,
            element_type: event.element_type,
            element_id: event.element_id,
            data: &event.data,
        })
        .collect();
    json(&events)
}

#[derive(Serialize)]
struct TopologyView<'lab> {
    lab: LabView<'lab>,
    nodes: Vec<NodeView<'lab>>,
    links: Vec<LinkView<'lab>>,
    annotations: [(); 0],
    smart_annotations: [(); 0],
}

#[derive(Serialize)]
struct LabView<'lab> {
    title: &'lab str,
    description: &'lab str,
    notes: &'lab str,
    owner: Uuid,
    version: &'static str,
}

#[derive(Serialize)]
struct NodeView<'lab> {
    boot_disk_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<&'lab Value>,
    cpu_limit: Option<u64>,
    cpus: Option<u64>,
    data_volume: Option<u64>,
    hide_links: bool,
    id: Uuid,
    image_definition: Option<&'lab str>,
    label: &'lab str,
    node_definition: &'lab str,
    parameters: &'lab Map<String, Value>,
    ram: Option<u64>,
    tags: &'lab [String],
    x: &'lab Number,
    y: &'lab Number,
    interfaces: Vec<InterfaceView<'lab>>,
}

/// A loopback has no slot: the key is absent.
struct InterfaceView<'lab>(&'lab Interface);

impl Serialize for InterfaceView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let interface = self.0;
        let mut view = serializer.serialize_struct("Interface", 5)?;
        view.serialize_field("id", &interface.id)?;
        view.serialize_field("label", &interface.label)?;
        if let Some(slot) = interface.slot {
            view.serialize_field("slot", &slot)?;
        }
        view.serialize_field("type", &interface.kind)?;
        view.serialize_field("mac_address", &interface.configured_mac)?;
        view.end()
    }
}

#[derive(Serialize)]
struct LinkView<'lab> {
    id: Uuid,
    interface_a: Uuid,
    interface_b: Uuid,
    label: &'lab str,
    node_a: Uuid,
    node_b: Uuid,
}

pub(super) async fn topology(State(world): State<Shared>, Path(id): Path<String>, query: Query) -> Answer {
    let world = world.lock();
    let lab = find_lab(&world, &id)?;
    let configurations = !flag(&query, "exclude_configurations");
    json(&TopologyView {
        lab: LabView {
            title: &lab.title,
            description: &lab.description,
            notes: &lab.notes,
            owner: world.user_id,
            version: world.api.schema(),
        },
        nodes: lab.nodes.iter().map(|node| node_view(node, configurations)).collect(),
        links: lab
            .links
            .iter()
            .map(|link| {
                let [a, b] = link.ends.map(|end| &lab.nodes[end.node]);
                let [interface_a, interface_b] = link.ends.map(|end| lab.nodes[end.node].interfaces[end.interface].id);
                LinkView { id: link.id, interface_a, interface_b, label: &link.label, node_a: a.id, node_b: b.id }
            })
            .collect(),
        annotations: [],
        smart_annotations: [],
    })
}

fn node_view(node: &Node, configurations: bool) -> NodeView<'_> {
    NodeView {
        boot_disk_size: node.boot_disk_size,
        configuration: configurations.then_some(&node.configuration),
        cpu_limit: node.cpu_limit,
        cpus: node.cpus,
        data_volume: node.data_volume,
        hide_links: node.hide_links,
        id: node.id,
        image_definition: node.image_definition.as_deref(),
        label: &node.label,
        node_definition: &node.node_definition,
        parameters: &node.parameters,
        ram: node.ram,
        tags: &node.tags,
        x: &node.x,
        y: &node.y,
        interfaces: node.interfaces.iter().map(InterfaceView).collect(),
    }
}

/// YAML that can be imported.
pub(super) async fn download(State(world): State<Shared>, Path(id): Path<String>, query: Query) -> Answer {
    let world = world.lock();
    let lab = find_lab(&world, &id)?;
    let yaml = export::as_yaml(lab, world.api.schema(), !flag(&query, "exclude_configurations"))
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/x-yaml")], yaml).into_response())
}

pub(super) async fn element_states(State(world): State<Shared>, Path(id): Path<String>) -> Answer {
    let world = world.lock();
    let now = world.now();
    let lab = find_lab(&world, &id)?;
    json(&ElementStates { lab, now })
}

/// Maps keyed by id, written straight from the lab: a big one has thousands of elements.
struct ElementStates<'lab> {
    lab: &'lab Lab,
    now: DateTime<Utc>,
}

impl Serialize for ElementStates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { lab, now } = *self;
        let interface_states = lab.nodes.iter().flat_map(|node| {
            let state = node.interface_state(now).name();
            node.interfaces.iter().map(move |interface| (interface.id, state))
        });
        let mut view = serializer.serialize_struct("ElementStates", 3)?;
        view.serialize_field(
            "nodes",
            &Pairs::from_pairs(lab.nodes.iter().map(|node| (node.id, node.state(now).name()))),
        )?;
        view.serialize_field(
            "links",
            &Pairs::from_pairs(lab.links.iter().map(|link| (link.id, lab.link_state(link, now).name()))),
        )?;
        view.serialize_field("interfaces", &Pairs::from_pairs(interface_states))?;
        view.end()
    }
}

/// A JSON object of pairs, in their order.
pub(super) struct Pairs<V>(Vec<(Uuid, V)>);

impl<V> Pairs<V> {
    pub(super) fn from_pairs(pairs: impl Iterator<Item = (Uuid, V)>) -> Self {
        Self(pairs.collect())
    }
}

impl<V: Serialize> Serialize for Pairs<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, value)| (id, value)))
    }
}
