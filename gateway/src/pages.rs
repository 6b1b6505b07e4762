//! The admins' pages: rendered here from typed templates, on the same queries as the API.
//!
//! One file per page holds what its template shows and the handler that asks for it. What all share: who visits and in
//! what state the read models are ([`visit`]), the frame around every page ([`shell`]), pieces of pages ([`parts`]),
//! changes that come from forms ([`form`]). A page works without its script, which adds live updates: it listens to
//! `/api/stream` and asks for the page again.

pub(crate) mod activity;
pub(crate) mod advice;
pub(crate) mod cells;
pub(crate) mod charts;
pub(crate) mod confirmation;
pub(crate) mod contact;
pub(crate) mod definition;
pub(crate) mod definitions;
pub(crate) mod elsewhere;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod excerpt;
pub(crate) mod first_steps;
pub(crate) mod form;
pub(crate) mod freshness;
pub(crate) mod meter;
pub(crate) mod named_row;
pub(crate) mod new_definition;
pub(crate) mod new_worker;
pub(crate) mod operations;
pub(crate) mod overview;
pub(crate) mod parts;
pub(crate) mod port_drift;
pub(crate) mod pressure;
pub(crate) mod query;
pub(crate) mod request_file;
pub(crate) mod requests;
pub(crate) mod saved_views;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod shell;
pub(crate) mod short_position;
pub(crate) mod sizing;
pub(crate) mod table;
pub(crate) mod text_field;
pub(crate) mod usage_bars;
pub(crate) mod verdict;
pub(crate) mod visit;
pub(crate) mod worker;
pub(crate) mod workers;

use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderName, HeaderValue};

use crate::caller::authenticate_page;
use crate::permits::{self, Permits};
use crate::sign_in;
use crate::sign_in::form::LongestForm;
use crate::state::GatewayState;

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Every page that needs somebody who is signed in.
pub(crate) fn router(state: &GatewayState, permits: &Permits) -> Router<GatewayState> {
    let long_forms = Router::new()
        .route("/definitions", get(definitions::list).post(new_definition::create))
        .route("/definitions/import", post(new_definition::import))
        .route_layer(from_fn_with_state(permits.clone(), permits::queue))
        .route_layer(from_fn_with_state(state.clone(), authenticate_page))
        // Outermost, so that whoever reads the form knows of it.
        .route_layer(Extension(LongestForm(new_definition::LONGEST_FORM)));
    Router::new()
        .route("/", get(overview::show))
        .route("/activity", get(activity::list))
        .route("/cells", get(cells::show))
        .route("/advice", get(advice::score_page::show))
        .route("/advice/policy", get(advice::policy::show_default).post(advice::policy::set_default))
        .route("/advice/policy/review", get(advice::policy::review_default))
        .route("/proposals", get(advice::proposals::list))
        .route("/proposals/{id}", get(advice::proposal::show))
        .route("/proposals/{id}/apply", get(definition::apply_proposal::show).post(definition::apply_proposal::apply))
        .route("/proposals/{id}/claim", post(advice::proposal::claim))
        .route("/proposals/{id}/dismiss", post(advice::proposal::dismiss))
        .route("/proposals/{id}/fail", post(advice::proposal::fail))
        .route("/definitions/{id}/back-test", get(advice::back_test_page::show))
        .route("/definitions/{id}/advice", get(advice::explanation::show))
        .route("/definitions/{id}/evidence", get(advice::evidence::list))
        .route("/sessions/{id}/evidence", post(advice::evidence::change))
        .route("/definitions/{id}/policy", get(advice::policy::show_own).post(advice::policy::set_own))
        .route("/definitions/{id}/policy/review", get(advice::policy::review_own))
        .route("/drift", get(port_drift::list))
        .route("/events/{id}", get(event::show))
        .route("/operations", get(operations::show))
        .route("/operations/dead-letters", get(operations::letter_groups::list))
        .route("/operations/dead-letters/discarded", get(operations::discarded::list))
        .route("/operations/dead-letters/groups/{id}", get(operations::letter_groups::show))
        .route("/operations/dead-letters/groups/{id}/discard", post(operations::letter_groups::discard))
        .route("/operations/dead-letters/groups/{id}/retry", post(operations::letter_groups::retry))
        .route("/requests", get(requests::list))
        .route("/operations/dead-letters/{id}", get(operations::dead_letters::show))
        .route("/operations/dead-letters/{id}/discard", post(operations::dead_letters::discard))
        .route("/operations/dead-letters/{id}/retry", post(operations::dead_letters::retry))
        .route("/operations/sign-ins", get(operations::sign_ins::list))
        .route("/operations/sign-ins/{id}/end", post(operations::sign_ins::end))
        .route("/saved-views", post(saved_views::save))
        .route("/saved-views/{id}/remove", post(saved_views::remove))
        .route("/search", get(search::show))
        .route("/sizing", get(sizing::show))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", get(session::show))
        .route("/sessions/{id}/nodes/{node_id}", get(session::show_node))
        .route("/sessions/{id}/usage", get(session::show_usage))
        .route("/sessions/{id}/compare", get(session::compare::show))
        .route("/sessions/{id}/observe", post(session::observe))
        .route("/sessions/{id}/port-drift", post(session::acknowledge_drift))
        .route(
            "/sessions/{id}/port-drift/withdraw",
            get(session::review_withdrawal).post(session::withdraw_acknowledgement),
        )
        .route("/sessions/{id}/allocation", get(session::review_allocation).post(session::correct_allocation))
        .route("/definitions/new", get(new_definition::show))
        .route("/definitions/{id}", get(definition::show))
        .route("/definitions/{id}/edit", get(definition::edit::show))
        .route("/definitions/{id}/review", get(definition::review::show).post(definition::review::fill_in))
        .route("/definitions/{id}/revise", post(definition::revise::revise))
        .route("/first-steps", get(first_steps::show))
        .route("/workers", get(workers::list).post(new_worker::register))
        .route("/workers/new", get(new_worker::show))
        .route("/workers/{id}", get(worker::show))
        .route_layer(from_fn_with_state(permits.clone(), permits::queue))
        .route_layer(from_fn_with_state(state.clone(), authenticate_page))
        .merge(long_forms)
}

/// The pages on which one signs in and out. All are open, as those who use them are not signed in yet; signing out is a
/// change like any other.
pub(crate) fn signing_in(state: &GatewayState) -> Router<GatewayState> {
    use sign_in::{by_provider, link_page, page};
    let sign_out = post(page::sign_out).route_layer(from_fn_with_state(state.clone(), authenticate_page));
    Router::new()
        .route("/sign-in", get(page::show))
        .route("/sign-in/link", get(link_page::show).post(link_page::sign_in))
        .route("/sign-in/token", post(page::by_token))
        .route("/sign-in/oidc", get(by_provider::begin))
        .route("/sign-in/oidc/callback", get(by_provider::come_back))
        .route("/sign-out", sign_out)
}

/// What every answer with a page needs, whoever asks: errors as pages, and what browsers are told to forbid.
pub(crate) fn dressed(router: Router<GatewayState>, state: &GatewayState) -> Router<GatewayState> {
    router.layer(from_fn_with_state(state.clone(), error::as_page)).layer(from_fn(forbid))
}

async fn forbid(request: Request, next: Next) -> Response {
    forbidding(next.run(request).await)
}

/// The response with what browsers are told to forbid.
fn forbidding(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    response
}
