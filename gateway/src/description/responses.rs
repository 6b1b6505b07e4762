//! What every operation may answer beside what its handler says, named for generators.

use aide::openapi::{
    Components, Header, HeaderStyle, MediaType, Operation, ParameterSchemaOrContent, ReferenceOr, Response, Responses,
    SchemaObject, StatusCode,
};
use schemars::json_schema;

use crate::problem::{PROBLEM_JSON, ProblemKind};

/// The header that says after how many seconds another try is worthwhile, and its name among the components.
const RETRY_AFTER: &str = "Retry-After";

/// The problems that any operation may answer with, with the name of the response and the statuses that have
/// `Retry-After`.
const SHARED: [(&str, ProblemKind, bool); 5] = [
    ("BadRequest", ProblemKind::InvalidInput, false),
    ("NotFound", ProblemKind::NotFound, false),
    ("TooManyAtOnce", ProblemKind::TooManyAtOnce, true),
    ("Unavailable", ProblemKind::Unavailable, true),
    ("TimedOut", ProblemKind::TimedOut, true),
];

/// Describes the shared responses and their header.
pub(super) fn add_shared(components: &mut Components) {
    let seconds = json_schema!({ "type": "integer", "minimum": 1 });
    let header = Header {
        description: Some("After how many seconds another try is worthwhile".to_owned()),
        style: HeaderStyle::Simple,
        required: false,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema_object(seconds)),
        example: None,
        examples: Default::default(),
        extensions: Default::default(),
    };
    components.headers.insert(RETRY_AFTER.to_owned(), ReferenceOr::Item(header));
    for (name, kind, may_be_repeated) in SHARED {
        let problem = schema_object(json_schema!({ "$ref": "#/components/schemas/Problem" }));
        let mut response = Response { description: kind.title().to_owned(), ..Response::default() };
        response.content.insert(PROBLEM_JSON.to_owned(), MediaType { schema: Some(problem), ..MediaType::default() });
        if may_be_repeated {
            let reference = ReferenceOr::ref_(&format!("#/components/headers/{RETRY_AFTER}"));
            response.headers.insert(RETRY_AFTER.to_owned(), reference);
        }
        components.responses.insert(name.to_owned(), ReferenceOr::Item(response));
    }
}

/// Names the shared responses that an operation at this path may give.
pub(super) fn name_shared(path: &str, operation: &mut Operation) {
    let takes_input = !operation.parameters.is_empty() || operation.request_body.is_some();
    let responses = &mut operation.responses.get_or_insert_with(Responses::default).responses;
    for (name, kind, _) in SHARED {
        let applies = match kind {
            ProblemKind::InvalidInput => takes_input,
            ProblemKind::NotFound => path.contains('{') || takes_input,
            _ => true,
        };
        if applies {
            let status = StatusCode::Code(kind.status().as_u16());
            responses.entry(status).or_insert_with(|| ReferenceOr::ref_(&format!("#/components/responses/{name}")));
        }
    }
    responses.sort_keys();
}

fn schema_object(json_schema: schemars::Schema) -> SchemaObject {
    SchemaObject { json_schema, external_docs: None, example: None }
}
