//! The control path, `/simulator`: what makes the simulator fail, age and drift. It needs no sign-in and is not counted.
//!
//! | call | does |
//! |---|---|
//! | `GET /simulator` | version, time, labs, files that are no topology, range of ports, faults, requests |
//! | `GET /simulator/ports` | tags of running nodes and whether their outside port is forwarded |
//! | `GET`, `DELETE /simulator/requests` | counts of requests; starts again from 0 |
//! | `GET`, `PUT`, `POST`, `DELETE /simulator/faults` | the faults: list, replace by a list, add one, clear |
//! | `DELETE /simulator/tokens` | every token is void |
//! | `GET`, `PATCH /simulator/time` | `{"advance_seconds"?, "speed"?}` |
//! | `PUT /simulator/labs/{id}/tags` | `{"node": label, "tags": […]}` |
//! | `PATCH /simulator/labs/{id}/ports` | `{"node": label, "from": port, "to": port}` |

use std::{error::Error, time::Duration};

use axum::extract::{Path, Request, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Shared, find_lab_mut, json, json_of, moment, no_content};
use crate::{
    faults::{Fault, Faults},
    patty,
    requests::Requests,
    simulator,
    world::{ApiVersion, World},
};

pub(super) async fn show(State(world): State<Shared>) -> Answer {
    let world = world.lock();
    let labs: Vec<Value> = world
        .labs
        .iter()
        .map(|lab| json!({ "id": lab.id, "title": lab.title, "state": lab.state.name(), "nodes": lab.nodes.len() }))
        .collect();
    json(&json!({
        "api": match world.api { ApiVersion::V2_9 => "2.9", ApiVersion::V2_10 => "2.10" },
        "time": time_view(&world),
        "labs": labs,
        "unreadable_topologies": world.unreadable,
        "port_range": world.port_range,
        "faults": world.faults.list(),
        "requests": world.requests,
    }))
}

pub(super) async fn ports(State(world): State<Shared>) -> Answer {
    let world = world.lock();
    json(&patty::forwards(&world.labs, world.port_range, world.now()))
}

pub(super) async fn requests(State(world): State<Shared>) -> Answer {
    json(&world.lock().requests)
}

pub(super) async fn reset_requests(State(world): State<Shared>) -> Answer {
    world.lock().requests = Requests::default();
    no_content()
}

pub(super) async fn faults(State(world): State<Shared>) -> Answer {
    json(&world.lock().faults.list())
}

/// All or nothing.
pub(super) async fn replace_faults(State(world): State<Shared>, request: Request) -> Answer {
    let faults: Vec<Fault> = json_of(request).await?;
    world.lock().faults.replace(faults).map_err(ApiError::bad_request)?;
    no_content()
}

pub(super) async fn add_fault(State(world): State<Shared>, request: Request) -> Answer {
    let fault: Fault = json_of(request).await?;
    world.lock().faults.add(fault).map_err(ApiError::bad_request)?;
    no_content()
}

pub(super) async fn clear_faults(State(world): State<Shared>) -> Answer {
    world.lock().faults = Faults::default();
    no_content()
}

pub(super) async fn expire_tokens(State(world): State<Shared>) -> Answer {
    world.lock().expire_tokens();
    no_content()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeTime {
    advance_seconds: Option<f64>,
    speed: Option<f64>,
}

fn time_view(world: &World) -> Value {
    json!({ "now": moment(world.now()), "speed": world.clock.speed() })
}

pub(super) async fn time(State(world): State<Shared>) -> Answer {
    json(&time_view(&world.lock()))
}

pub(super) async fn change_time(State(world): State<Shared>, request: Request) -> Answer {
    let change: ChangeTime = json_of(request).await?;
    let mut world = world.lock();
    if let Some(speed) = change.speed {
        world.clock.set_speed(speed).map_err(ApiError::bad_request)?;
    }
    if let Some(seconds) = change.advance_seconds {
        let by = Duration::try_from_secs_f64(seconds).map_err(ApiError::bad_request)?;
        world.clock.advance(by).map_err(ApiError::bad_request)?;
    }
    json(&time_view(&world))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetTags {
    node: String,
    tags: Vec<String>,
}

pub(super) async fn set_tags(State(world): State<Shared>, Path(lab): Path<String>, request: Request) -> Answer {
    let SetTags { node, tags } = json_of(request).await?;
    let mut world = world.lock();
    let now = world.now();
    simulator::set_tags(find_lab_mut(&mut world, &lab)?, now, &node, tags).map_err(refused)?;
    no_content()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MovePort {
    node: String,
    from: u16,
    to: u16,
}

pub(super) async fn move_port(State(world): State<Shared>, Path(lab): Path<String>, request: Request) -> Answer {
    let MovePort { node, from, to } = json_of(request).await?;
    let mut world = world.lock();
    let now = world.now();
    simulator::move_port(find_lab_mut(&mut world, &lab)?, now, &node, from, to).map_err(refused)?;
    no_content()
}

fn refused(error: impl Error) -> ApiError {
    ApiError::bad_request(error)
}
