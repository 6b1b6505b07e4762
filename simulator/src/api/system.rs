//! The controller itself: whether it is there, who may enter, what it runs on and what it can run.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, ApiError, Shared, bearer, json, json_of, labs::Pairs};
use crate::{
    definition::DEFINITIONS,
    life::{Life, State as NodeState},
    node::Node,
    usage::seconds_between,
    world::{ApiVersion, World},
};

/// Of the machine that the labs run on.
const HOST_CORES: u64 = 96;
const HOST_MEMORY: u64 = 768 << 30;
const HOST_DISK: u64 = 4 << 40;
const OWN_MEMORY: u64 = 11 << 30;
const OWN_DISK: u64 = 310 << 30;
/// Of its CPU, once it is short of it.
const PERCENT_WHEN_SHORT: f64 = 99.7;

pub(super) async fn information(State(world): State<Shared>) -> Answer {
    let version = match world.lock().api {
        ApiVersion::V2_9 => "2.9.1+build.7",
        ApiVersion::V2_10 => "2.10.0+build.13",
    };
    json(&json!({ "version": version, "ready": true, "allow_ssh_pubkey_auth": false, "oui": "52:54:00:00:00:00" }))
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

/// The token, as a bare string.
pub(super) async fn authenticate(State(world): State<Shared>, request: Request) -> Answer {
    let credentials: Credentials = json_of(request).await?;
    let token = world.lock().sign_in(&credentials.username, &credentials.password);
    json(&token.ok_or_else(refused)?)
}

pub(super) fn refused() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Authentication failed!")
}

pub(super) async fn authok() -> Answer {
    json(&"OK")
}

/// Who the token belongs to; from 2.10.
pub(super) async fn authentication(State(world): State<Shared>, headers: HeaderMap) -> Answer {
    let world = world.lock();
    match world.api {
        ApiVersion::V2_9 => Err(ApiError::new(StatusCode::NOT_FOUND, "404: Not Found")),
        ApiVersion::V2_10 => json(&json!({
            "id": world.user_id,
            "username": world.username,
            "admin": world.admin,
            "token": bearer(&headers),
            "error": null,
        })),
    }
}

pub(super) async fn logout(State(world): State<Shared>, headers: HeaderMap) -> Answer {
    if let Some(token) = bearer(&headers) {
        world.lock().sign_out(token);
    }
    json(&true)
}

pub(super) async fn users(State(world): State<Shared>) -> Answer {
    let world = world.lock();
    let labs: Vec<_> = world.labs.iter().map(|lab| lab.id).collect();
    json(&json!([{
        "id": world.user_id,
        "created": world.shown(world.started),
        "modified": world.shown(world.started),
        "username": world.username,
        "fullname": "",
        "email": "",
        "description": "",
        "admin": world.admin,
        "directory_dn": "",
        "groups": [],
        "labs": labs,
        "opt_in": false,
        "resource_pool": null,
        "tour_version": "",
        "pubkey_info": "",
    }]))
}

/// Lists of things this controller has none of: groups, pools of users, what they use.
pub(super) async fn nothing() -> Answer {
    let none: [(); 0] = [];
    json(&none)
}

pub(super) async fn definitions() -> Answer {
    let definitions: Vec<_> = DEFINITIONS.iter().map(crate::definition::NodeDefinition::simplified).collect();
    json(&definitions)
}

pub(super) async fn statistics(State(world): State<Shared>) -> Answer {
    json(&statistics_of(&world.lock()))
}

/// By compute host, and of all together.
pub(super) fn statistics_of(world: &World) -> Value {
    let now = world.now();
    let (mut total, mut running, mut cpus, mut memory, mut load, mut disk) =
        (0_u64, 0_u64, 0_u64, 0_u64, 0.0, OWN_DISK);
    for node in world.labs.iter().flat_map(|lab| &lab.nodes).filter(|node| node.definition.is_machine()) {
        total += 1;
        if let (true, Life::Running(run)) = (node.is_up(now), node.life) {
            let usage = node.load.usage(run, now);
            running += 1;
            cpus += node.given_cpus();
            memory += node.given_ram();
            load += usage.cpu_usage;
            disk += usage.disk_usage << 20;
        }
    }
    let short = world.pressure();
    let percent = if short.cpu { PERCENT_WHEN_SHORT } else { (1.5 + load / HOST_CORES as f64).min(100.0) };
    let used = |used: u64, total: u64, short: bool| if short { total - total / 100 } else { used.min(total) };
    let used_memory = used(OWN_MEMORY + (memory << 19), HOST_MEMORY, short.memory);
    let disk = used(disk, HOST_DISK, short.disk);
    let memory_part = json!({ "used": used_memory, "free": HOST_MEMORY - used_memory, "total": HOST_MEMORY });
    let disk_part = json!({ "used": disk, "free": HOST_DISK - disk, "total": HOST_DISK });
    json!({
        "computes": { world.compute_id.to_string(): {
            "hostname": "cml-controller",
            "is_controller": true,
            "stats": {
                "cpu": {
                    "count": HOST_CORES,
                    "percent": percent,
                    "model": "Simulated CPU",
                    "hyperthreading": false,
                    "predicted": cpus,
                    "load": [percent / 100.0, percent / 100.0, percent / 100.0],
                },
                "memory": memory_part,
                "disk": disk_part,
                "dominfo": {
                    "total_nodes": total,
                    "total_orphans": 0,
                    "running_nodes": running,
                    "running_orphans": 0,
                    "allocated_cpus": cpus,
                    // KiB, where a node's ram is MiB.
                    "allocated_memory": memory * 1024,
                },
            },
        }},
        "all": { "cpu": { "count": HOST_CORES, "percent": percent }, "memory": memory_part, "disk": disk_part },
        "controller": { "disk": disk_part },
    })
}

/// Nodes that wait for their launch, and what the worker is short of. For admins.
pub(super) async fn launch_queue(State(world): State<Shared>) -> Answer {
    let world = world.lock();
    if !world.admin {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "Access denied: only an administrator may see this."));
    }
    let now = world.now();
    let queued = |node: &&Node| node.definition.is_machine() && node.state(now) == NodeState::Queued;
    let entries = world.labs.iter().flat_map(|lab| lab.nodes.iter().filter(queued)).map(|node| {
        let since = match node.life {
            Life::Running(run) => seconds_between(run.queued_at, now) as u64,
            Life::Defined | Life::Stopped => 0,
        };
        let (cpus, cpu_limit) = (node.given_cpus(), node.given_cpu_limit());
        let entry = json!({
            "queued_time": since,
            "priority": node.priority,
            "dependencies": [],
            "resource_requirements": {
                "cpus": cpus,
                "cpu_limit": cpu_limit,
                "cpu_points": cpus * cpu_limit,
                "ram": node.given_ram(),
                "disk": node.definition.disk,
            },
        });
        (node.id, entry)
    });
    let entries = Pairs::from_pairs(entries);
    let short = world.pressure();
    json(&LaunchQueue { queue: entries, overload: Overload { cpu: short.cpu, memory: short.memory, disk: short.disk } })
}

#[derive(Serialize)]
struct LaunchQueue {
    queue: Pairs<Value>,
    overload: Overload,
}

#[derive(Serialize)]
struct Overload {
    cpu: bool,
    memory: bool,
    disk: bool,
}
