//! The HTTP side: routes, and what every request passes through (counting, faults, sign-in).

mod control;
mod elements;
mod labs;
mod nodes;
mod readings;
mod socket;
mod system;

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, delete, get, patch, post, put},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    connection::Cut,
    defects::StatisticsDefect,
    faults::FaultKind,
    lab::Lab,
    world::{SharedWorld, World},
};

type Shared = Arc<SharedWorld>;
type Query = axum::extract::Query<HashMap<String, String>>;
type Answer = Result<Response, ApiError>;

/// Of everything but an import.
const LARGEST_BODY: usize = 64 * 1024;
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

pub(crate) fn router(world: Shared) -> Router {
    let lab = Router::new()
        .route("/", get(labs::show).patch(labs::revise).delete(labs::remove))
        .route("/state", get(labs::state))
        .route("/topology", get(labs::topology))
        .route("/download", get(labs::download))
        .route("/lab_element_state", get(labs::element_states))
        .route("/events", get(labs::events))
        .route("/check_if_converged", get(labs::converged))
        .route("/start", put(labs::start))
        .route("/stop", put(labs::stop))
        .route("/wipe", put(labs::wipe))
        .route("/resource_pools", get(system::nothing))
        .route("/simulation_stats", get(readings::statistics))
        .route("/layer3_addresses", get(readings::addresses))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{node}", get(nodes::show).patch(nodes::revise))
        .route("/nodes/{node}/state", get(nodes::state))
        .route("/nodes/{node}/state/start", put(nodes::start))
        .route("/nodes/{node}/state/stop", put(nodes::stop))
        .route("/nodes/{node}/check_if_converged", get(nodes::converged))
        .route("/nodes/{node}/layer3_addresses", get(readings::addresses_of_node))
        .route("/nodes/{node}/interfaces", get(elements::interfaces_of_node))
        .route("/interfaces", get(elements::interfaces).post(elements::create_interface))
        .route("/interfaces/{interface}", get(elements::interface))
        .route("/interfaces/{interface}/state", get(elements::interface_state))
        .route("/links", get(elements::links))
        .route("/links/{link}", get(elements::link))
        .route("/links/{link}/state", get(elements::link_state));
    let api = Router::new()
        .route("/system_information", get(system::information))
        .route("/authenticate", post(system::authenticate))
        .route("/authok", get(system::authok))
        .route("/authentication", get(system::authentication))
        .route("/logout", delete(system::logout))
        .route("/users", get(system::users))
        .route("/groups", get(system::nothing))
        .route("/resource_pools", get(system::nothing))
        .route("/resource_pool_usage", get(system::nothing))
        .route("/system_stats", get(system::statistics))
        .route("/diagnostics/node_launch_queue", get(system::launch_queue))
        .route("/simplified_node_definitions", get(system::definitions))
        .route("/labs", get(labs::list))
        .route("/import", post(labs::import))
        .nest("/labs/{lab}", lab);
    let control = Router::new()
        .route("/", get(control::show))
        .route("/ports", get(control::ports))
        .route("/requests", get(control::requests).delete(control::reset_requests))
        .route(
            "/faults",
            get(control::faults).put(control::replace_faults).post(control::add_fault).delete(control::clear_faults),
        )
        .route("/tokens", delete(control::expire_tokens))
        .route("/sockets", patch(control::change_sockets))
        .route("/pressure", put(control::set_pressure))
        .route("/user", patch(control::change_user))
        .route("/time", get(control::time).patch(control::change_time))
        .route("/labs/{lab}/tags", put(control::set_tags))
        .route("/labs/{lab}/ports", patch(control::move_port))
        .route("/labs/{lab}/state", put(control::set_state))
        .route("/labs/{lab}/restarts", post(control::restart))
        .route("/labs/{lab}/runaways", post(control::run_away))
        .route("/labs/{lab}/usage", get(control::usage));
    Router::new()
        .nest("/api/v0", api)
        .route("/ws/ui", any(socket::open))
        .nest("/simulator", control)
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "404: Not Found") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
        })
        .layer(from_fn_with_state(Arc::clone(&world), guard))
        .with_state(world)
}

/// What every request to the API passes: it is counted, struck by faults, and needs a token. A socket asks for its token
/// itself.
async fn guard(State(world): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if !path.starts_with("/api/") && !path.starts_with("/ws/") {
        return next.run(request).await;
    }
    let (faults, admitted, date) = {
        let mut world = world.lock();
        world.requests.record(request.method().as_str(), &path);
        let faults = world.faults.strike(request.method().as_str(), &path);
        (faults, admits(&world, &path, request.headers()), world.date_header())
    };
    let mut response = strike(faults, admitted, request, next).await;
    if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

async fn strike(faults: Vec<FaultKind>, admitted: bool, request: Request, next: Next) -> Response {
    let (mut truncate, mut defects) = (false, Vec::new());
    for fault in faults {
        match fault {
            FaultKind::Slow { milliseconds } => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            FaultKind::Status { code } => {
                let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return ApiError::new(status, "a fault that was asked for").into_response();
            }
            FaultKind::Redirect { location } => {
                return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response();
            }
            FaultKind::RefusePassword => return system::refused().into_response(),
            FaultKind::Booting => return bad_gateway(),
            FaultKind::DropConnection => {
                if let Some(cut) = request.extensions().get::<Cut>() {
                    cut.throw();
                }
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            FaultKind::InvalidBody => return as_json(Body::from("{\"nodes\": [<<\u{fffd} 0x1f ")),
            FaultKind::Truncate => truncate = true,
            FaultKind::Statistics { defect } => defects.push(defect),
            FaultKind::SilentSocket | FaultKind::LargeFrame { .. } | FaultKind::CutFrame => {}
        }
    }
    if !admitted {
        return ApiError::new(StatusCode::UNAUTHORIZED, "Authorization failed: no valid token was given.")
            .into_response();
    }
    let mut response = next.run(request).await;
    for defect in defects {
        response = defective(response, defect).await;
    }
    if truncate { halved(response).await } else { response }
}

/// Two calls need no token: one tells whether the controller is there, the other gives a token. A socket gets it later.
fn admits(world: &World, path: &str, headers: &HeaderMap) -> bool {
    matches!(path, "/api/v0/system_information" | "/api/v0/authenticate")
        || path.starts_with("/ws/")
        || bearer(headers).is_some_and(|token| world.knows_token(token))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// What the proxy in front of a booting controller says.
fn bad_gateway() -> Response {
    let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
    (StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

async fn defective(response: Response, defect: StatisticsDefect) -> Response {
    let (mut parts, body) = response.into_parts();
    let statistics = to_bytes(body, LARGEST_ANSWER).await.ok();
    let Some(mut statistics) = statistics.and_then(|bytes| serde_json::from_slice(&bytes).ok()) else {
        return Response::from_parts(parts, Body::empty());
    };
    defect.apply(&mut statistics);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(statistics.to_string()))
}

async fn halved(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    match to_bytes(body, LARGEST_ANSWER).await {
        Ok(bytes) => Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2))),
        Err(_) => Response::from_parts(parts, Body::empty()),
    }
}

/// `{"code","description"}`, as every error of the API.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    description: String,
}

impl ApiError {
    fn new(status: StatusCode, description: impl Into<String>) -> Self {
        Self { status, description: description.into() }
    }

    fn bad_request(reason: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Bad Request: {reason}."))
    }

    fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found: {id}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "code": self.status.as_u16(), "description": self.description });
        let mut response = as_json(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        response
    }
}

fn as_json(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn json(value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(as_json(Body::from(bytes)))
}

fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn body_of(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    to_bytes(request.into_body(), limit).await.map_err(|_| {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body could not be read, or has over {limit} bytes."))
    })
}

async fn json_of<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let body = body_of(request, LARGEST_BODY).await?;
    serde_json::from_slice(&body).map_err(ApiError::bad_request)
}

fn flag(query: &Query, name: &str) -> bool {
    query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

fn lab_id(id: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(id).map_err(|_| ApiError::not_found("Lab", id))
}

fn find_lab<'world>(world: &'world World, id: &str) -> Result<&'world Lab, ApiError> {
    world.lab(lab_id(id)?).ok_or_else(|| ApiError::not_found("Lab", id))
}

fn find_lab_mut<'world>(world: &'world mut World, id: &str) -> Result<&'world mut Lab, ApiError> {
    world.lab_mut(lab_id(id)?).ok_or_else(|| ApiError::not_found("Lab", id))
}
