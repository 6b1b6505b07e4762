//! The control path, `/simulator`: what makes the simulator fail, age and drift. It needs no sign-in and is not counted.
//!
//! | call | does |
//! |---|---|
//! | `GET /simulator` | version, time, labs, files that are no topology, range of ports, faults, requests |
//! | `GET /simulator/ports` | tags of running nodes and whether their outside port is forwarded |
//! | `GET`, `DELETE /simulator/requests` | counts of requests; starts again from 0 |
//! | `GET`, `PUT`, `POST`, `DELETE /simulator/faults` | the faults: list, replace by a list, add one, clear |
//! | `DELETE /simulator/tokens` | every token is void; sockets are closed with 3000 |
//! | `GET`, `PATCH /simulator/time` | `{"advance_seconds"?, "speed"?, "skew_seconds"?}`: how far off the clock is that answers show |
//! | `PATCH /simulator/sockets` | `{"push_milliseconds": n}`: how often a socket is told of statistics |
//! | `PUT /simulator/pressure` | `{"cpu"?: bool, "memory"?: bool, "disk"?: bool, "launch_delay_seconds"?}`: what the worker is short of |
//! | `PATCH /simulator/user` | `{"admin": bool}` |
//! | `PUT /simulator/labs/{id}/tags` | `{"node": label, "tags": […]}` |
//! | `PATCH /simulator/labs/{id}/ports` | `{"node": label, "from": port, "to": port}` |
//! | `PUT /simulator/labs/{id}/state` | `{"state": "started"}` or `"stopped"` |
//! | `POST /simulator/labs/{id}/restarts` | `{"node": label}`: stops the node and starts it again |
//! | `POST /simulator/labs/{id}/runaways` | `{"node": label, "seconds", "after_seconds"?, "cpu_percent"?, "memory_percent"?, "disk_mb"?}`: a process takes that much, a core if nothing else is said, for as long as is said, however short |
//! | `GET /simulator/labs/{id}/usage?from=&to=&settling_seconds=` | what lab and nodes used: peak, 95th percentile and mean of CPU, memory and storage, boot and steady apart ([`UsageRecord`](crate::UsageRecord)) |

use std::{error::Error, fmt::Display, str::FromStr, sync::atomic::Ordering, time::Duration};

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use chrono::{SecondsFormat, TimeDelta};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Query, Shared, find_lab, find_lab_mut, json, json_of, no_content};
use crate::{
    faults::{Fault, Faults},
    patty,
    pressure::WorkerPressure,
    requests::Requests,
    simulator::orders::{self, RecordRequest, RunawayOrder},
    world::{ApiVersion, SocketOptions, World},
};

pub(super) async fn show(State(world): State<Shared>) -> Answer {
    let open_sockets = world.open_sockets.load(Ordering::Acquire);
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
        "sockets": { "open": open_sockets, "push_milliseconds": world.sockets.push_period.as_millis() },
        "pressure": world.pressure(),
        "admin": world.admin,
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
    skew_seconds: Option<i64>,
}

fn time_view(world: &World) -> Value {
    let now = world.now().to_rfc3339_opts(SecondsFormat::Secs, true);
    json!({ "now": now, "speed": world.clock.speed(), "skew_seconds": world.skew().num_seconds() })
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
    if let Some(seconds) = change.skew_seconds {
        let skew = TimeDelta::try_seconds(seconds).unwrap_or(TimeDelta::MAX);
        world.set_skew(skew).map_err(ApiError::bad_request)?;
    }
    json(&time_view(&world))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeSockets {
    push_milliseconds: u64,
}

pub(super) async fn change_sockets(State(world): State<Shared>, request: Request) -> Answer {
    let ChangeSockets { push_milliseconds } = json_of(request).await?;
    let mut world = world.lock();
    let sockets = SocketOptions { push_period: Duration::from_millis(push_milliseconds), ..world.sockets };
    sockets.check().map_err(ApiError::bad_request)?;
    world.sockets = sockets;
    no_content()
}

pub(super) async fn set_pressure(State(world): State<Shared>, request: Request) -> Answer {
    let pressure: WorkerPressure = json_of(request).await?;
    world.lock().set_pressure(pressure).map_err(ApiError::bad_request)?;
    no_content()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeUser {
    admin: bool,
}

pub(super) async fn change_user(State(world): State<Shared>, request: Request) -> Answer {
    let ChangeUser { admin } = json_of(request).await?;
    world.lock().admin = admin;
    no_content()
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
    orders::set_tags(find_lab_mut(&mut world, &lab)?, now, &node, tags).map_err(refused)?;
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
    orders::move_port(find_lab_mut(&mut world, &lab)?, now, &node, from, to).map_err(refused)?;
    no_content()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetState {
    state: WantedState,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WantedState {
    Started,
    Stopped,
}

pub(super) async fn set_state(State(world): State<Shared>, Path(lab): Path<String>, request: Request) -> Answer {
    let SetState { state } = json_of(request).await?;
    let mut world = world.lock();
    let now = world.now();
    let lab = find_lab_mut(&mut world, &lab)?;
    match state {
        WantedState::Started => lab.start(now),
        WantedState::Stopped => lab.stop(now),
    }
    no_content()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restart {
    node: String,
}

pub(super) async fn restart(State(world): State<Shared>, Path(lab): Path<String>, request: Request) -> Answer {
    let Restart { node } = json_of(request).await?;
    let mut world = world.lock();
    let now = world.now();
    orders::restart_node(find_lab_mut(&mut world, &lab)?, now, &node).map_err(refused)?;
    no_content()
}

#[derive(Deserialize)]
struct RunAway {
    node: String,
    #[serde(flatten)]
    order: RunawayOrder,
}

pub(super) async fn run_away(State(world): State<Shared>, Path(lab): Path<String>, request: Request) -> Answer {
    let RunAway { node, order } = json_of(request).await?;
    let mut world = world.lock();
    let now = world.now();
    orders::run_away(find_lab_mut(&mut world, &lab)?, now, &node, order).map_err(refused)?;
    no_content()
}

pub(super) async fn usage(State(world): State<Shared>, Path(lab): Path<String>, query: Query) -> Answer {
    let settling = parameter::<u64>(&query, "settling_seconds")?.map(Duration::from_secs).unwrap_or_default();
    let (from, to) = (parameter(&query, "from")?, parameter(&query, "to")?);
    let request = {
        let world = world.lock();
        RecordRequest::new(find_lab(&world, &lab)?, from, to, settling, world.now())
    };
    let record = tokio::task::spawn_blocking(move || request.record()).await;
    let record = record.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    json(&record.map_err(refused)?)
}

fn parameter<T: FromStr<Err: Display>>(query: &Query, name: &str) -> Result<Option<T>, ApiError> {
    let wrong = |error| ApiError::bad_request(format!("{name}: {error}"));
    query.get(name).map(|value| value.parse().map_err(wrong)).transpose()
}

fn refused(error: impl Error) -> ApiError {
    ApiError::bad_request(error)
}
