//! The API's description (OpenAPI 3.1), generated from the code that serves it.

use aide::axum::ApiRouter;
use aide::openapi::{ApiKeyLocation, Components, Info, OpenApi, ReferenceOr, SecurityScheme, Server, Tag};
use axum::Router;

use crate::problem::Problem;

const ABOUT: &str = "Sessions of hands-on labs on Cisco Modeling Labs, and what was observed of them.

* Errors are problem documents (RFC 9457) that name the field, what is wrong with it and what would be right.
* A write's answer carries its `position` in the log. A read that names it, as `?position=` or in the header \
  `Lablet-Position`, waits until the read models are there: you read what you wrote.
* Repeat a POST with the same `Idempotency-Key` and body, and the first answer comes again (`Idempotency-Replayed: true`).
* Lists are keyset pages: `?limit=` rows, then `?cursor=` with the page's `next_cursor`.
* `X-Correlation-Id` or `traceparent` ties a request to the events that it causes.";

/// Says in the description below which path everything is, where a proxy puts it below one.
pub(crate) fn below(api: &mut OpenApi, base_path: &str) {
    if !base_path.is_empty() {
        api.servers = vec![Server { url: base_path.to_owned(), ..Server::default() }];
    }
}

/// Finishes the router, and describes it.
pub(crate) fn describe<S: Clone + Send + Sync + 'static>(router: ApiRouter<S>) -> (Router<S>, OpenApi) {
    let mut api = OpenApi {
        info: Info {
            title: "Lablet".to_owned(),
            description: Some(ABOUT.to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Info::default()
        },
        tags: [
            ("sessions", "One run of a lab for one learner"),
            ("definitions", "What a lab is thought to need, and what it was seen to need"),
            ("advice", "How large a definition must be: recommendations, proposals, policies, and whether they held"),
            ("workers", "CML controllers on which labs run"),
            ("events", "The log: what happened, in order"),
            ("operations", "What keeps this running, and what got stuck"),
        ]
        .map(|(name, about)| Tag { name: name.to_owned(), description: Some(about.to_owned()), ..Tag::default() })
        .into(),
        components: Some(Components {
            security_schemes: [
                (
                    "internal_key".to_owned(),
                    ReferenceOr::Item(SecurityScheme::ApiKey {
                        location: ApiKeyLocation::Header,
                        name: "X-API-Key".to_owned(),
                        description: Some("The internal key of a service".to_owned()),
                        extensions: Default::default(),
                    }),
                ),
                (
                    "admin_token".to_owned(),
                    ReferenceOr::Item(SecurityScheme::Http {
                        scheme: "bearer".to_owned(),
                        bearer_format: None,
                        description: Some(
                            "An admin's token, in the role viewer, operator or admin: of the configuration, made with \
                             `lablet token create`, or an OpenID provider's JWT"
                                .to_owned(),
                        ),
                        extensions: Default::default(),
                    }),
                ),
                (
                    "browser_session".to_owned(),
                    ReferenceOr::Item(SecurityScheme::ApiKey {
                        location: ApiKeyLocation::Cookie,
                        name: "lablet_session".to_owned(),
                        description: Some(
                            "An admin's browser that signed in at `/sign-in`. The name goes on with a hash of the public \
                             address, and begins with `__Host-` or `__Secure-` over TLS. A change needs the session's token in \
                             `X-CSRF-Token`, too, and has to come from a page of this site"
                                .to_owned(),
                        ),
                        extensions: Default::default(),
                    }),
                ),
            ]
            .into_iter()
            .collect(),
            ..Components::default()
        }),
        ..OpenApi::default()
    };
    let router = router.finish_api_with(&mut api, |api| {
        api.default_response_with::<Problem, _>(|response| response.description("A problem document (RFC 9457)"))
    });
    (router, api)
}
