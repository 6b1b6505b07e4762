//! Descriptions of the API and of the messages on the bus, and the index at `/api`.

use std::sync::Arc;

use app::notice::PublicUrl;
use app::schemas;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::path::{Id, Name};
use crate::problem::Problem;
use crate::sign_in::Site;

/// The API's description, rendered once.
#[derive(Clone)]
pub(crate) struct OpenApiDocument(pub(crate) Arc<Bytes>);

/// `GET /api/openapi.json`.
pub(crate) async fn openapi(Extension(document): Extension<OpenApiDocument>) -> Response {
    ([(CONTENT_TYPE, "application/json")], Bytes::clone(&document.0)).into_response()
}

/// `GET /api/asyncapi.json`.
pub(crate) async fn asyncapi(State(public_url): State<PublicUrl>) -> Json<Value> {
    Json(schemas::asyncapi(&public_url))
}

/// `GET /api/schemas`: the names of all schemas.
pub(crate) async fn schema_names(State(public_url): State<PublicUrl>, State(site): State<Site>) -> Json<Value> {
    let (all, base) = (schemas::all(&public_url), site.base_path());
    let items: Vec<Value> = all
        .into_iter()
        .map(|message| {
            json!({ "name": message.name, "type": message.cloud_event_type, "says": message.says,
                    "href": format!("{base}/api/schemas/{}", message.name) })
        })
        .collect();
    Json(json!({ "items": items }))
}

/// `GET /api/schemas/{name}`.
pub(crate) async fn schema(State(public_url): State<PublicUrl>, Id(name): Id<Name>) -> Result<Response, Problem> {
    let schema =
        schemas::find(name.as_str(), &public_url).ok_or_else(|| Problem::not_found("schema", name.as_str()))?;
    Ok(([(CONTENT_TYPE, "application/schema+json")], schema.to_string()).into_response())
}

/// `GET /api`: where everything is.
pub(crate) async fn index(State(site): State<Site>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", site.base_path());
    Json(json!({
        "name": "lablet",
        "version": env!("CARGO_PKG_VERSION"),
        "links": {
            "openapi": at("/api/openapi.json"),
            "asyncapi": at("/api/asyncapi.json"),
            "schemas": at("/api/schemas"),
            "sessions": at("/api/lablet-sessions"),
            "definitions": at("/api/lablet-definitions"),
            "workers": at("/api/workers"),
            "observation_requests": at("/api/observation-requests"),
            "operations": at("/api/operations"),
            "stream": at("/api/stream"),
            "ready": at("/readyz"),
        },
    }))
}
