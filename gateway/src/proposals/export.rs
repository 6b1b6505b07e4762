//! `GET /api/proposals/{id}/export`: a proposal as a file, for whoever keeps definitions elsewhere.

use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Described, SchemaObject};
use aide::operation::OperationOutput;
use aide::transform::TransformOperation;
use app::commands::Commands;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::ProposalId;
use domain::lab_topology::LabTopology;
use domain::lablet_definition::{DefinitionVersion, PortTemplate, PresentDefinition, ResourceRequirements};
use http::header::CONTENT_TYPE;
use projections::ReadModel;
use projections::read_models::advice::proposals::ProposalRow;
use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::caller::{Caller, Viewing};
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;
use crate::query::Query;

const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";

/// What a proposal is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportFormat {
    /// The revised definition as YAML.
    #[default]
    Yaml,
    /// What changes of it, by RFC 6902.
    JsonPatch,
}

/// What the proposal is written as.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// `yaml` unless stated.
    format: Option<ExportFormat>,
}

/// A definition in the shape in which it is created.
#[derive(Serialize)]
struct DefinitionFile<'a> {
    name: &'a str,
    version: &'a DefinitionVersion,
    resource_requirements: &'a ResourceRequirements,
    port_template: &'a PortTemplate,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topology: Option<&'a LabTopology>,
}

/// A proposal as a file.
pub(crate) struct Export {
    media_type: &'static str,
    text: String,
}

impl IntoResponse for Export {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, self.media_type)], self.text).into_response()
    }
}

impl OperationOutput for Export {
    type Inner = String;

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<Described> {
        let media_type = |json_schema| MediaType {
            schema: Some(SchemaObject { json_schema, external_docs: None, example: None }),
            ..MediaType::default()
        };
        let operation = json_schema!({
            "type": "object", "required": ["op", "path", "value"],
            "properties": { "op": { "enum": ["test", "replace"] }, "path": { "type": "string" }, "value": {} }
        });
        let content = [
            (YAML.to_owned(), media_type(json_schema!({ "type": "string" }))),
            (JSON_PATCH.to_owned(), media_type(json_schema!({ "type": "array", "items": operation }))),
        ];
        Some(Described {
            description: "The file".to_owned(),
            content: content.into_iter().collect(),
            ..Described::default()
        })
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        Self::operation_response(context, operation).map(|described| (Some(200), described)).into_iter().collect()
    }
}

pub(crate) async fn export(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Viewing>,
    since: Since,
    Id(id): Id<ProposalId>,
    Query(ExportQuery { format }): Query<ExportQuery>,
) -> Result<Export, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let row = super::show::row(&queries, &id).await?;
    let definition = commands.definition(&row.definition_id).await?;
    match format.unwrap_or_default() {
        ExportFormat::Yaml => yaml(&row, &definition),
        ExportFormat::JsonPatch => json_patch(&row, &definition),
    }
}

fn yaml(row: &ProposalRow, definition: &PresentDefinition) -> Result<Export, Problem> {
    let proposal = &row.proposal;
    let content = &definition.content;
    let file = DefinitionFile {
        name: &definition.name,
        version: &definition.version,
        resource_requirements: &proposal.after,
        port_template: &content.port_template,
        node_count: definition.node_count,
        description: content.description.as_deref(),
        topology: content.topology.as_ref(),
    };
    let yaml =
        serde_norway::to_string(&file).map_err(|error| Problem::internal("a definition cannot be written", &error))?;
    let text = format!(
        "# Lablet's proposal {} ({}) for the definition {} in its revision {}, as of {}.\n{yaml}",
        proposal.proposal_id, row.status, row.definition_id, definition.revision, proposal.as_of
    );
    Ok(Export { media_type: YAML, text })
}

/// The change of each requirement, after tests that it is this definition, and that it states what the proposal rests on.
fn json_patch(row: &ProposalRow, definition: &PresentDefinition) -> Result<Export, Problem> {
    let unwritable = |error: serde_json::Error| Problem::internal("a proposal cannot be written", &error);
    let before = serde_json::to_value(row.proposal.before).map_err(unwritable)?;
    let after = serde_json::to_value(row.proposal.after).map_err(unwritable)?;
    let test = |path: &str, value: Value| json!({ "op": "test", "path": path, "value": value });
    let mut operations = vec![
        test("/name", definition.name.as_str().into()),
        test("/version", definition.version.as_str().into()),
        test("/resource_requirements", before.clone()),
    ];
    for member in ["cpu_cores", "memory_gb", "storage_gb"] {
        if before[member] != after[member] {
            let path = format!("/resource_requirements/{member}");
            operations.push(json!({ "op": "replace", "path": path, "value": after[member] }));
        }
    }
    let text = serde_json::to_string_pretty(&operations).map_err(unwritable)?;
    Ok(Export { media_type: JSON_PATCH, text: text + "\n" })
}

pub(crate) fn describe(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("export_proposal")
        .tag("advice")
        .summary("A proposal as a file")
        .description(
            "As YAML the revised definition, in the shape in which it is created; as a JSON patch (RFC 6902) what changes, which \
             applies to nothing else than what the proposal rests on.",
        )
}
