//! Every route, with who may use it.
//!
//! Three parts: what is open, what is open on this machine (`/metrics`), and everything else, which nobody reaches
//! without a valid key, token or session. Each handler's `Caller` then says how much authority it needs.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, patch_with, post_with};
use aide::openapi::OpenApi;
use axum::extract::{FromRef as _, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use bus::clock::Clock;
use http::request::Parts;

use crate::authentication::Authenticator;
use crate::caller::authenticate;
use crate::documents::{self, OpenApiDocument};
use crate::exchange::Exchange;
use crate::permits::{self, Permits};
use crate::problem::{Problem, ProblemKind};
use crate::sign_in::Site;
use crate::state::GatewayState;
use crate::{
    activity, advice, advice_policies, assets, attention, cells, controllers, dead_letters, description, events,
    exchange, health, lablet_definitions, lablet_sessions, observation_failures, observation_requests, operations,
    overview, pages, proposals, public_path, saved_views, search, sign_ins, stream, workers,
};

/// The whole API, ready to be served.
pub(crate) fn router(state: &GatewayState, exchange: &Exchange, permits: &Permits) -> Router {
    let (api, mut document) = api();
    let site = Site::from_ref(state);
    description::below(&mut document, site.base_path());
    let guarded = api
        .route_layer(from_fn_with_state(permits.clone(), permits::queue))
        .route_layer(from_fn_with_state(state.clone(), authenticate));
    let rendered = serde_json::to_vec(&document).unwrap_or_default();
    let router = Router::new()
        .merge(guarded)
        .merge(pages::dressed(pages::router(state, permits).merge(pages::signing_in(state)), state))
        .merge(open(OpenApiDocument(Arc::new(rendered.into()))))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(exchange.clone(), exchange::account));
    let router = if site.base_path().is_empty() {
        router
    } else {
        router.layer(from_fn_with_state(state.clone(), public_path::below))
    };
    router.with_state(state.clone())
}

/// The API's description.
pub(crate) fn document() -> OpenApi {
    api().1
}

fn open(document: OpenApiDocument) -> Router<GatewayState> {
    Router::new()
        .route("/api", get(documents::index))
        .route("/assets/{file}", get(assets::serve))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/api/openapi.json", get(documents::openapi).layer(Extension(document)))
        .route("/api/asyncapi.json", get(documents::asyncapi))
        .route("/api/schemas", get(documents::schema_names))
        .route("/api/schemas/{name}", get(documents::schema))
}

fn api() -> (Router<GatewayState>, OpenApi) {
    description::describe(
        ApiRouter::new()
            .merge(sessions())
            .merge(definitions_and_workers())
            .merge(sizing())
            .merge(proposing())
            .merge(operators()),
    )
}

fn sessions() -> ApiRouter<GatewayState> {
    use lablet_sessions::{
        create, events, evidence, life, list, node, node_profile, nodes, observations, port_drift, profile,
        record_observation, request_observation, samples, show, status_counts, transition,
    };
    ApiRouter::new()
        .api_route(
            "/api/internal/lablet-sessions",
            get_with(list::list_internally, list::describe_internal).post_with(create::create, create::describe),
        )
        .api_route("/api/internal/lablet-sessions/{id}", get_with(show::show_internally, show::describe_internal))
        .api_route(
            "/api/internal/lablet-sessions/{id}/transition",
            post_with(transition::transition, transition::describe),
        )
        .api_route(
            "/api/internal/lablet-sessions/{id}/resource-observations",
            post_with(record_observation::record_observation, record_observation::describe),
        )
        .api_route("/api/lablet-sessions", get_with(list::list, list::describe))
        .api_route("/api/lablet-session-counts", get_with(status_counts::count, status_counts::describe))
        .api_route("/api/lablet-sessions/{id}", get_with(show::show, show::describe))
        .api_route("/api/lablet-sessions/{id}/events", get_with(events::events, events::describe))
        .api_route("/api/lablet-sessions/{id}/life", get_with(life::life, life::describe))
        .api_route("/api/lablet-sessions/{id}/nodes", get_with(nodes::nodes, nodes::describe))
        .api_route("/api/lablet-sessions/{id}/nodes/{node_id}", get_with(node::node, node::describe))
        .api_route(
            "/api/lablet-sessions/{id}/nodes/{node_id}/profile",
            get_with(node_profile::node_profile, node_profile::describe),
        )
        .api_route("/api/lablet-sessions/{id}/profile", get_with(profile::profile, profile::describe))
        .api_route(
            "/api/lablet-sessions/{id}/resource-observations",
            get_with(observations::observations, observations::describe),
        )
        .api_route(
            "/api/lablet-sessions/{id}/observe-resources",
            post_with(request_observation::request_observation, request_observation::describe),
        )
        .api_route(
            "/api/lablet-sessions/{id}/evidence-exclusion",
            post_with(evidence::exclude, evidence::describe_exclusion),
        )
        .api_route(
            "/api/lablet-sessions/{id}/evidence-inclusion",
            post_with(evidence::include, evidence::describe_inclusion),
        )
        .api_route(
            "/api/lablet-sessions/{id}/port-drift/acknowledge",
            post_with(port_drift::acknowledge, port_drift::describe_acknowledgement),
        )
        .api_route(
            "/api/lablet-sessions/{id}/port-drift/withdraw",
            post_with(port_drift::withdraw, port_drift::describe_withdrawal),
        )
        .api_route(
            "/api/lablet-sessions/{id}/allocation",
            post_with(port_drift::correct, port_drift::describe_correction),
        )
        .api_route("/api/port-drift", get_with(crate::port_drift::list, crate::port_drift::describe))
        .api_route("/api/lablet-sessions/{id}/samples", get_with(samples::samples, samples::describe))
        .api_route("/api/observation-failures", get_with(observation_failures::list, observation_failures::describe))
        .api_route("/api/observation-requests", get_with(observation_requests::list, observation_requests::describe))
}

fn definitions_and_workers() -> ApiRouter<GatewayState> {
    use lablet_definitions::{create, deviations, list, observations, revise, revisions, show, sizing_gaps};
    use workers::{
        change, list as list_workers, load, port_map, pressure, record_pressure, register, shortage,
        show as show_worker,
    };
    ApiRouter::new()
        .api_route(
            "/api/lablet-definitions",
            get_with(list::list, list::describe).post_with(create::create, create::describe),
        )
        .api_route(
            "/api/lablet-definitions/{id}",
            get_with(show::show, show::describe).merge(patch_with(revise::revise, revise::describe)),
        )
        .api_route("/api/lablet-definitions/{id}/revisions", get_with(revisions::revisions, revisions::describe))
        .api_route(
            "/api/lablet-definitions/{id}/resource-observations",
            get_with(observations::observations, observations::describe),
        )
        .api_route("/api/definition-deviations", get_with(deviations::deviations, deviations::describe))
        .api_route("/api/sizing-gaps", get_with(sizing_gaps::list, sizing_gaps::describe))
        .api_route(
            "/api/workers",
            get_with(list_workers::list, list_workers::describe).post_with(register::register, register::describe),
        )
        .api_route(
            "/api/workers/{id}",
            get_with(show_worker::show, show_worker::describe).merge(patch_with(change::change, change::describe)),
        )
        .api_route("/api/workers/{id}/load", get_with(load::load, load::describe))
        .api_route("/api/workers/{id}/port-map", get_with(port_map::port_map, port_map::describe))
        .api_route("/api/workers/{id}/pressure", get_with(pressure::pressure, pressure::describe))
        .api_route("/api/controllers", get_with(controllers::list, controllers::describe))
        .api_route("/api/worker-loads", get_with(load::list, load::describe_list))
        .api_route("/api/internal/workers", get_with(list_workers::list_internally, list_workers::describe_internal))
        .api_route(
            "/api/internal/workers/{id}/pressure",
            post_with(record_pressure::record_pressure, record_pressure::describe),
        )
        .api_route("/api/internal/workers/{id}/shortage", get_with(shortage::shortage, shortage::describe))
}

fn sizing() -> ApiRouter<GatewayState> {
    use advice::{back_test, evidence, explanation, recommendation, score, topology_recommendation};
    ApiRouter::new()
        .api_route(
            "/api/lablet-definitions/{id}/recommendation",
            get_with(recommendation::recommendation, recommendation::describe),
        )
        .api_route(
            "/api/lablet-definitions/{id}/recommendation/explanation",
            get_with(explanation::explanation, explanation::describe),
        )
        .api_route("/api/lablet-definitions/{id}/back-test", get_with(back_test::back_test, back_test::describe))
        .api_route("/api/lablet-definitions/{id}/evidence", get_with(evidence::evidence, evidence::describe))
        .api_route(
            "/api/topology-recommendations",
            post_with(topology_recommendation::recommend, topology_recommendation::describe),
        )
        .api_route("/api/advice-score", get_with(score::score, score::describe))
}

fn proposing() -> ApiRouter<GatewayState> {
    use advice_policies::{of_all, of_definition};
    use proposals::steps::{self, ProposalApplication, ProposalClaim, ProposalDismissal, ProposalFailure};
    use proposals::{export, list, show};
    ApiRouter::new()
        .api_route(
            "/api/advice-policy",
            get_with(of_all::show, of_all::describe).put_with(of_all::set, of_all::describe_setting),
        )
        .api_route(
            "/api/lablet-definitions/{id}/advice-policy",
            get_with(of_definition::show, of_definition::describe)
                .put_with(of_definition::set, of_definition::describe_setting),
        )
        .api_route("/api/proposals", get_with(list::list, list::describe))
        .api_route("/api/proposals/{id}", get_with(show::show, show::describe))
        .api_route("/api/proposals/{id}/export", get_with(export::export, export::describe))
        .api_route(
            "/api/proposals/{id}/claim",
            post_with(steps::take::<ProposalClaim>, steps::describe::<ProposalClaim>),
        )
        .api_route(
            "/api/proposals/{id}/apply",
            post_with(steps::take::<ProposalApplication>, steps::describe::<ProposalApplication>),
        )
        .api_route(
            "/api/proposals/{id}/fail",
            post_with(steps::take::<ProposalFailure>, steps::describe::<ProposalFailure>),
        )
        .api_route(
            "/api/proposals/{id}/dismiss",
            post_with(steps::take::<ProposalDismissal>, steps::describe::<ProposalDismissal>),
        )
}

fn operators() -> ApiRouter<GatewayState> {
    use dead_letters::{discard, discarded, groups, list, retry, show};
    ApiRouter::new()
        .api_route("/api/events", get_with(events::list::list, events::list::describe))
        .api_route("/api/activity", get_with(activity::list, activity::describe))
        .api_route("/api/events/{id}/data", get_with(events::data::show, events::data::describe))
        .api_route("/api/events/{id}", get_with(events::show, events::describe))
        .api_route("/api/events/{id}/relations", get_with(events::relations::relations, events::relations::describe))
        .api_route("/api/stream", get_with(stream::open, stream::describe))
        .api_route("/api/attention", get_with(attention::show, attention::describe))
        .api_route("/api/cells", get_with(cells::list, cells::describe))
        .api_route("/api/cell-hits", get_with(cells::search, cells::describe_search))
        .api_route("/api/overview", get_with(overview::show, overview::describe))
        .api_route("/api/search", get_with(search::search, search::describe))
        .api_route("/api/search/suggestions", get_with(search::suggestions::suggest, search::suggestions::describe))
        .api_route("/api/operations", get_with(operations::show, operations::describe))
        .api_route("/api/sign-ins", get_with(sign_ins::list::list, sign_ins::list::describe))
        .api_route("/api/sign-ins/{id}", delete_with(sign_ins::end::end, sign_ins::end::describe))
        .api_route(
            "/api/saved-views",
            get_with(saved_views::list::list, saved_views::list::describe)
                .post_with(saved_views::save::save, saved_views::save::describe),
        )
        .api_route("/api/saved-views/{id}", delete_with(saved_views::remove::remove, saved_views::remove::describe))
        .api_route("/api/dead-letters", get_with(list::list, list::describe))
        .api_route("/api/dead-letter-groups", get_with(groups::list, groups::describe))
        .api_route("/api/dead-letter-groups/{id}/retry", post_with(groups::retry, groups::describe_retry))
        .api_route("/api/dead-letter-groups/{id}/discard", post_with(groups::discard, groups::describe_discard))
        .api_route("/api/discarded-letters", get_with(discarded::list, discarded::describe))
        .api_route("/api/dead-letters/{id}", get_with(show::show, show::describe))
        .api_route("/api/dead-letters/{id}/retry", post_with(retry::retry, retry::describe))
        .api_route("/api/dead-letters/{id}/discard", post_with(discard::discard, discard::describe))
}

async fn nothing_here(
    State(authenticator): State<Authenticator>,
    State(clock): State<Clock>,
    request: Parts,
) -> Response {
    let problem = Problem::new(ProblemKind::NotFound, format!("There is nothing at {}.", shown(&request)));
    pages::error::answer((&authenticator, &clock), &request, problem).await
}

async fn other_method(
    State(authenticator): State<Authenticator>,
    State(clock): State<Clock>,
    request: Parts,
) -> Response {
    let (shown, method) = (shown(&request), &request.method);
    let detail = format!("{shown} does not take {method}; see the Allow header.");
    pages::error::answer((&authenticator, &clock), &request, Problem::new(ProblemKind::MethodNotAllowed, detail)).await
}

fn shown(request: &Parts) -> String {
    request.uri.path().chars().take(200).collect()
}
