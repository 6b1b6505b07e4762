//! The API's description (OpenAPI 3.1), generated from the code that serves it, and made plain for generators of clients.

mod parameters;
mod responses;

use std::collections::BTreeSet;

use aide::axum::ApiRouter;
use aide::openapi::{
    ApiKeyLocation, Components, Info, MediaType, OpenApi, Operation, PathItem, ReferenceOr, SchemaObject,
    SecurityScheme, Server, Tag,
};
use app::schemas::{name_forms, simplify};
use axum::Router;
use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// Where the schemas of the description stand in it.
const SCHEMAS: &str = "#/components/schemas/";

const ABOUT: &str = "Sessions of hands-on labs on Cisco Modeling Labs, and what was observed of them.

* Errors are problem documents (RFC 9457) that name the field, what is wrong with it and what would be right.
* A write's answer carries its `position` in the log. A read that names it, as `?position=` or in the header \
  `Lablet-Position`, waits until the read models are there: you read what you wrote.
* Where a replica is configured, lists and searches are read from it while it is near: `Lablet-Read-From` says `primary`, or \
  `replica; lag=0.412`, in seconds.
* Repeat a POST with the same `Idempotency-Key` and body, and the first answer comes again (`Idempotency-Replayed: true`).
* Lists are keyset pages: `?limit=` rows, then `?cursor=` with the page's `next_cursor`.
* `X-Correlation-Id` or `traceparent` ties a request to the events that it causes.";

/// Says in the description below which path everything is, where a proxy puts it below one.
pub(crate) fn below(api: &mut OpenApi, base_path: &str) {
    let url = if base_path.is_empty() { "/".to_owned() } else { base_path.to_owned() };
    let description = Some("The gateway that serves this description".to_owned());
    api.servers = vec![Server { url, description, ..Server::default() }];
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
    make_plain(&mut api);
    below(&mut api, "");
    (router, api)
}

/// Rewrites the description so that generators of clients read all of it, and names what they would leave unnamed.
fn make_plain(api: &mut OpenApi) {
    let components = api.components.get_or_insert_default();
    responses::add_shared(components);
    for object in components.schemas.values_mut() {
        simplify(&mut object.json_schema);
    }
    for (path, item) in api.paths.iter_mut().flat_map(|paths| &mut paths.paths) {
        let ReferenceOr::Item(item) = item else { continue };
        for operation in operations_mut(item) {
            simplify_operation(operation);
            responses::name_shared(path, operation);
        }
    }
    name_all_forms(components);
    drop_unused(api);
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn simplify_operation(operation: &mut Operation) {
    for parameter in &mut operation.parameters {
        if let ReferenceOr::Item(parameter) = parameter {
            parameters::simplify_parameter(parameter);
        }
    }
    let body = operation.request_body.iter_mut().filter_map(ReferenceOr::as_item_mut);
    body.for_each(|body| body.content.values_mut().for_each(simplify_media_type));
    for response in operation.responses.iter_mut().flat_map(|responses| responses.responses.values_mut()) {
        if let Some(response) = response.as_item_mut() {
            response.content.values_mut().for_each(simplify_media_type);
        }
    }
}

fn simplify_media_type(media_type: &mut MediaType) {
    if let Some(object) = &mut media_type.schema {
        simplify(&mut object.json_schema);
    }
}

fn name_all_forms(components: &mut Components) {
    let mut schemas: Map<String, Value> =
        components.schemas.iter().map(|(name, object)| (name.clone(), object.json_schema.clone().to_value())).collect();
    for (name, forms) in name_forms(&mut schemas, SCHEMAS) {
        let mapping: Map<String, Value> =
            forms.schemas.iter().map(|(tag, name, _)| (tag.clone(), format!("{SCHEMAS}{name}").into())).collect();
        schemas[&name]["discriminator"] = json!({ "propertyName": forms.member, "mapping": mapping });
    }
    components.schemas = schemas
        .into_iter()
        .filter_map(|(name, schema)| {
            let json_schema = Schema::try_from(schema).ok()?;
            Some((name, SchemaObject { json_schema, external_docs: None, example: None }))
        })
        .collect();
}

/// Drops schemas that nothing refers to: those of queries, whose parameters stand in the operations.
fn drop_unused(api: &mut OpenApi) {
    let mut used = BTreeSet::new();
    let mut open = vec![json!(api.paths), json!(api.components.as_ref().map(|components| &components.responses))];
    while let Some(value) = open.pop() {
        let mut references = Vec::new();
        find_references(&value, &mut references);
        for name in references {
            let components = api.components.as_ref();
            let schema = components.and_then(|components| components.schemas.get(&name));
            if let Some(schema) = schema
                && used.insert(name)
            {
                open.push(schema.json_schema.clone().to_value());
            }
        }
    }
    if let Some(components) = &mut api.components {
        components.schemas.retain(|name, _| used.contains(name));
    }
}

fn find_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(|reference| reference.as_str()?.strip_prefix(SCHEMAS));
            found.extend(name.map(str::to_owned));
            members.values().for_each(|member| find_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| find_references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
