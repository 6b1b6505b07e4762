//! A topology as a body: JSON, or the YAML that CML exports.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, RequestBody as DescribedBody, Response as Described, SchemaObject};
use aide::operation::set_body;
use app::body::Handling;
use app::commands::Commands;
use app::warning::Warning;
use axum::extract::{FromRef, FromRequest, Request};
use domain::lab_topology::{LONGEST_YAML, LabTopology};
use schemars::json_schema;

use crate::body::{self, LONGEST_WITH_TOPOLOGY};
use crate::caller::described_problems;
use crate::preferences::Preferences;
use crate::problem::{Problem, ProblemKind};

/// The media types of YAML: the registered one, and those that were used before it.
const YAML: [&str; 3] = ["application/yaml", "application/x-yaml", "text/yaml"];

/// A topology that was sent, with what its sender should look at.
pub(crate) struct SentTopology {
    /// The topology.
    pub(crate) topology: LabTopology,
    /// Members that were not used.
    pub(crate) warnings: Vec<Warning>,
}

impl<S> FromRequest<S> for SentTopology
where
    S: Send + Sync,
    Commands: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let handling = Commands::from_ref(state).handling();
        let (parts, body) = request.into_parts();
        let preferred = parts.extensions.get::<Preferences>().map(Preferences::handling).unwrap_or_default();
        let handling = handling.or_strict(preferred == Handling::Strict);
        let is_yaml = body::media_type(&parts).is_some_and(|declared| YAML.contains(&declared.as_str()));
        let bytes = if is_yaml {
            body::read_any(&parts, body, LONGEST_YAML).await?
        } else {
            body::read(&parts, body, LONGEST_WITH_TOPOLOGY).await?
        };
        // A large document takes a while, in which this thread would serve nobody.
        let parsed = tokio::task::spawn_blocking(move || -> Result<Self, Problem> {
            if is_yaml {
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| Problem::new(ProblemKind::InvalidInput, "The body is not UTF-8."))?;
                return Ok(Self { topology: LabTopology::from_yaml(text)?, warnings: Vec::new() });
            }
            let (topology, warnings) = app::body::from_bytes::<LabTopology>(&bytes)?.handled(handling)?;
            Ok(Self { topology, warnings })
        });
        parsed.await.map_err(|error| Problem::internal("a topology could not be read", &error))?
    }
}

impl OperationInput for SentTopology {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let media_type = |json_schema| MediaType {
            schema: Some(SchemaObject { json_schema, external_docs: None, example: None }),
            ..MediaType::default()
        };
        let json = media_type(context.schema.subschema_for::<LabTopology>());
        let yaml = || media_type(json_schema!({ "type": "string", "description": "A topology, as CML exports it." }));
        let content = std::iter::once(("application/json".to_owned(), json))
            .chain(YAML.map(|media_type| (media_type.to_owned(), yaml())));
        set_body(
            context,
            operation,
            DescribedBody { content: content.collect(), required: true, ..DescribedBody::default() },
        );
    }

    fn inferred_early_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        described_problems(
            context,
            operation,
            &[
                (400, "The topology is not valid"),
                (413, "The body is too large"),
                (415, "The body is neither JSON nor YAML"),
            ],
        )
    }
}
