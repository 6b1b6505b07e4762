//! `GET /definitions/{id}/back-test`: a size, or the sizes of two promises, tried on the sessions of the past.

use advice::recommendation::Explanation;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::advice_policy::{Policy, Promise};
use domain::demand::ByResource;
use domain::lablet_definition::ResourceRequirements;
use domain::phases::Phases;
use domain::resource::Resource;
use domain::{DefinitionId, Invalid};
use projections::read_models::definitions::DefinitionRow;
use projections::{ReadError, ReadModel};
use serde::{Deserialize, Serialize};

use super::amounts::of_a_hundred;
use super::back_test::BackTestTable;
use super::section::whole_or;
use crate::caller::{Caller, Viewing};
use crate::lablet_definitions::show::row;
use crate::pages::definition::draft::Draft;
use crate::pages::query::{PageQuery, address};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::Visit;
use crate::path::Id;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// What is tried. What is absent is as configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackTestQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_cores: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_gb: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_gb: Option<String>,
    /// A promise whose sizes are tried,
    #[serde(skip_serializing_if = "Option::is_none")]
    promise: Option<Promise>,
    /// beside those of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<Promise>,
}

#[derive(Template)]
#[template(path = "advice/back_test_page.html")]
struct BackTestPage {
    shell: Shell,
    definition: DefinitionRow,
    fields: [(&'static str, &'static str, String); 3],
    /// Why nothing was tried.
    wrong: Vec<Invalid>,
    table: Option<BackTestTable>,
    compared: Option<BackTestTable>,
    promises: [f64; 2],
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(query): PageQuery<BackTestQuery>,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Definitions, ReadModel::Advice]).await?;
    let definition = row(&queries, &id).await?;
    let needs = &definition.resource_requirements;
    let draft = Draft {
        cpu_cores: Some(query.cpu_cores.clone().unwrap_or_else(|| needs.cpu_cores.to_string())),
        memory_gb: Some(query.memory_gb.clone().unwrap_or_else(|| needs.memory_gb.to_string())),
        storage_gb: Some(query.storage_gb.clone().unwrap_or_else(|| needs.storage_gb.to_string())),
        ..Draft::default()
    };
    let (size, wrong) = match draft.parse(&definition) {
        Ok(parsed) => (Some(parsed.resource_requirements), Vec::new()),
        Err(wrong) => (None, wrong),
    };
    let table = match size {
        Some(size) => tried(&queries, &id, size).await?,
        None => None,
    };
    let policy = queries.policy_in_force(&id).await?.unwrap_or_default();
    let promises = [query.promise.unwrap_or(policy.promise), query.beside.unwrap_or(policy.promise)];
    let compared = if query.promise.is_some() || query.beside.is_some() {
        let of = |promise| (of_a_hundred(promise), Policy { promise, ..policy });
        compared(&queries, &id, &promises.map(of)).await?
    } else {
        None
    };
    let typed = |text: &Option<String>| text.clone().unwrap_or_default();
    page(&BackTestPage {
        shell: Shell::new(&visit, Section::Definitions).twin(address(
            &format!("/api/lablet-definitions/{id}/back-test"),
            &BackTestQuery { promise: None, beside: None, ..query },
        )),
        fields: [
            ("cpu_cores", "CPU cores", typed(&draft.cpu_cores)),
            ("memory_gb", "Memory, GB", typed(&draft.memory_gb)),
            ("storage_gb", "Storage, GB", typed(&draft.storage_gb)),
        ],
        definition,
        wrong,
        table,
        compared,
        promises: promises.map(Promise::share),
    })
}

/// What a size would have meant. `None`: the read model does not know the definition yet.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn tried(
    queries: &Queries,
    id: &DefinitionId,
    size: ResourceRequirements,
) -> Result<Option<BackTestTable>, ReadError> {
    let report = queries.back_test(id, None, |_| size).await?;
    match report {
        Some(report) => Ok(Some(BackTestTable::of_report(queries, &report).await?)),
        None => Ok(None),
    }
}

/// What the sizes would have meant that each of two policies recommends now, on the same past: with what sessions needed while
/// booting, where one of them includes it.
///
/// # Errors
/// The database does not answer.
pub(crate) async fn compared(
    queries: &Queries,
    id: &DefinitionId,
    policies: &[(String, Policy); 2],
) -> Result<Option<BackTestTable>, ReadError> {
    let Some(explained) = queries.explanations_under(id, &policies.each_ref().map(|(_, policy)| *policy)).await? else {
        return Ok(None);
    };
    let include_boot = policies.iter().any(|(_, policy)| policy.include_boot);
    let phases = Some(Phases::including_boot(include_boot));
    let mut reports = Vec::with_capacity(policies.len());
    for ((name, _), explained) in policies.iter().zip(&explained) {
        let size = |stated| sizes(explained, stated);
        let Some(report) = queries.back_test(id, phases, size).await? else { return Ok(None) };
        reports.push((name.clone(), report.resources));
    }
    Ok(Some(BackTestTable::beside(&reports).including_boot(include_boot).named(queries).await?))
}

/// The sizes that are explained, and the stated ones where nothing is known.
fn sizes(explained: &ByResource<Explanation>, stated: ResourceRequirements) -> ResourceRequirements {
    let of = |resource: Resource| resource.part(explained).requirement.map(|requirement| requirement.value);
    ResourceRequirements {
        cpu_cores: whole_or(of(Resource::CpuCores), stated.cpu_cores),
        memory_gb: whole_or(of(Resource::MemoryMb), stated.memory_gb),
        storage_gb: whole_or(of(Resource::StorageMb), stated.storage_gb),
    }
}
