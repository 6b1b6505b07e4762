//! `lablet definition`.

use ::advice::scope::SessionScope;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::advice::{self, AdviceArguments, BackTestArguments};
use super::connection::Parameters;
use super::output::{Column, column, wide_column};
use super::watch::{Noun, WatchArguments};
use super::{Client, Paging, Since, example, read_json};

#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionCommand {
    /// List definitions.
    List(DefinitionList),
    /// Show one definition.
    Show {
        /// The definition.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// Print definitions as they change, a row a change, until interrupted.
    Watch {
        /// Which; all unless stated.
        id: Option<String>,
        #[command(flatten)]
        watch: WatchArguments,
    },
    /// Create a definition.
    #[command(after_long_help = example::help(&example::DEFINITION))]
    Create {
        /// A JSON file with the definition, `-` for standard input.
        file: String,
    },
    /// Revise the newest revision of a definition.
    #[command(after_long_help = example::help(&example::REVISION))]
    Revise {
        /// The definition.
        id: String,
        /// A JSON file with what changes, `reason` and `evidence`, `-` for standard input.
        file: String,
    },
    /// List revisions of a definition, the newest first.
    Revisions {
        /// The definition.
        id: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// What was observed of the sessions of a definition, and the aggregate over those that count.
    Observations {
        /// The definition.
        id: String,
        #[command(flatten)]
        counted: CountedSessions,
        #[command(flatten)]
        since: Since,
    },
    /// Sessions that are evidence of what a definition needs, the one that ended last first.
    Evidence {
        /// The definition.
        id: String,
        #[command(flatten)]
        filters: EvidenceFilters,
        #[command(flatten)]
        paging: Paging,
    },
    /// Definitions that are off by most.
    Deviations {
        /// Most definitions, 1 to 200.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// Which sessions of each count: `current` (of its revision and topology), `all`, or `newest-20` and the like.
        #[arg(long, default_value_t)]
        scope: SessionScope,
        #[command(flatten)]
        since: Since,
    },
    /// Sizes that are too small or too large, by what that costs.
    SizingGaps(SizingGapArguments),
    /// How large a definition must be to keep its promise.
    Recommend(AdviceArguments),
    /// How a recommendation came about, with the readings that set it.
    Explain(AdviceArguments),
    /// What a size would have meant for the sessions of the past.
    BackTest(BackTestArguments),
}

/// Which sessions of a definition count, and how many are listed.
#[derive(Debug, Args, Serialize)]
pub(crate) struct CountedSessions {
    /// How many of the newest sessions in scope to list, 1 to 200.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Which sessions count: `current` (of the definition's revision and topology), `all`, or `newest-20` and the like.
    #[arg(long, default_value_t)]
    scope: SessionScope,
}

/// Which definitions, in which order.
#[derive(Debug, Args)]
pub(crate) struct DefinitionList {
    #[command(flatten)]
    filters: DefinitionFilters,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args, Serialize)]
struct DefinitionFilters {
    /// Whose id, name, version or description contains this, in whatever case.
    #[arg(long)]
    text: Option<String>,
    /// True: with a session whose ports drifted. False: without.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    drift: Option<bool>,
    /// True: with observations. False: without.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    observed: Option<bool>,
    /// In this order; newest first unless stated.
    #[arg(long, value_enum)]
    sort: Option<DefinitionOrder>,
}

/// Which sizes, in which order.
#[derive(Debug, Args)]
pub(crate) struct SizingGapArguments {
    #[command(flatten)]
    filters: SizingGapFilters,
    #[command(flatten)]
    since: Since,
}

#[derive(Debug, Args, Serialize)]
struct SizingGapFilters {
    /// With this verdict; those that are too small or too large unless stated.
    #[arg(long, value_enum)]
    verdict: Option<SizeVerdict>,
    /// Of this resource.
    #[arg(long, value_enum)]
    resource: Option<GapResource>,
    /// Of definitions whose id, name, version or description contains this, in whatever case.
    #[arg(long)]
    text: Option<String>,
    /// In this order, what is too small first.
    #[arg(long, value_enum)]
    sort: Option<GapOrder>,
    /// Most gaps, 1 to 200.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// How a size compares with what sessions used.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum SizeVerdict {
    /// Sessions use more than is configured, or soon will.
    TooSmall,
    /// More is configured than sessions use.
    TooLarge,
    /// It is what sessions use, or near enough.
    Fits,
    /// What sessions use is unknown.
    Unknown,
}

/// A resource that a definition states.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum GapResource {
    /// CPU, in cores.
    CpuCores,
    /// Memory, in MB.
    MemoryMb,
    /// Disk, in MB.
    StorageMb,
}

/// The order of sizing gaps.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum GapOrder {
    /// The costliest first.
    Cost,
    /// CPU, memory, storage.
    Resource,
    /// The one with most sessions first.
    Sessions,
    /// By the definition's name.
    Name,
}

/// The order of a list of definitions.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum DefinitionOrder {
    /// The one created last comes first.
    Newest,
    /// By name, in whatever case.
    Name,
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct EvidenceFilters {
    /// Those that a recommendation leaves out for this reason, as its `left_out` names it, e.g. `excluded`.
    #[arg(long)]
    left_out: Option<String>,
    /// Those that count, of one value of this condition, as its `mixed` names it, e.g. `workers`.
    #[arg(long)]
    mixed: Option<String>,
    /// The value of `--mixed`; absent: of which it is unknown.
    #[arg(long, requires = "mixed")]
    value: Option<String>,
}

pub(super) async fn run(client: &Client, command: DefinitionCommand) -> anyhow::Result<()> {
    match command {
        DefinitionCommand::List(DefinitionList { filters, paging }) => {
            client.list(COLUMNS, "/api/lablet-definitions", &paging.with(&filters)?, &paging.limit).await
        }
        DefinitionCommand::Show { id, since } => {
            client.show(&format!("/api/lablet-definitions/{id}"), &Parameters::new(&since)?).await
        }
        DefinitionCommand::Watch { id, watch } => {
            let only = Parameters::new(&[("definition_id", id.clone())])?;
            watch.run(client, &NOUN, id.as_deref(), only).await
        }
        DefinitionCommand::Create { file } => {
            client.output.one(&client.connection.post("/api/lablet-definitions", &read_json(&file)?).await?)
        }
        DefinitionCommand::Revise { id, file } => {
            let path = format!("/api/lablet-definitions/{id}");
            client.output.one(&client.connection.patch_newest(&path, &read_json(&file)?).await?)
        }
        DefinitionCommand::Revisions { id, paging } => {
            let path = format!("/api/lablet-definitions/{id}/revisions");
            client.list(REVISION_COLUMNS, &path, &Parameters::new(&paging.since)?, &paging.limit).await
        }
        DefinitionCommand::Observations { id, counted, since } => observations(client, &id, &counted, &since).await,
        DefinitionCommand::Evidence { id, filters, paging } => {
            let path = format!("/api/lablet-definitions/{id}/evidence");
            client.list(EVIDENCE_COLUMNS, &path, &paging.with(&filters)?, &paging.limit).await
        }
        DefinitionCommand::Deviations { limit, scope, since } => {
            let asked = Parameters::new(&since)?.and(&[("limit", limit)])?.and(&[("scope", scope)])?;
            client.items(DEVIATION_COLUMNS, "/api/definition-deviations", &asked).await
        }
        DefinitionCommand::SizingGaps(SizingGapArguments { filters, since }) => {
            client.items(GAP_COLUMNS, "/api/sizing-gaps", &Parameters::new(&since)?.and(&filters)?).await
        }
        DefinitionCommand::Recommend(arguments) => advice::recommend(client, arguments).await,
        DefinitionCommand::Explain(arguments) => advice::explain(client, arguments).await,
        DefinitionCommand::BackTest(arguments) => advice::back_test(client, arguments).await,
    }
}

async fn observations(client: &Client, id: &str, counted: &CountedSessions, since: &Since) -> anyhow::Result<()> {
    let path = format!("/api/lablet-definitions/{id}/resource-observations");
    let answer = client.connection.get_with(&path, &Parameters::new(since)?.and(counted)?).await?;
    let output = client.output;
    if output.is_document() {
        return output.one(&answer);
    }
    if output.is_for_people() {
        let scope = &answer["scope"];
        output.rows(SCOPE_COLUMNS, std::slice::from_ref(scope))?;
        output.rows(AGGREGATE_COLUMNS, &aggregate_rows(&answer))?;
    }
    output.rows(SESSION_OBSERVATION_COLUMNS, answer["sessions"].as_array().map_or(&[], Vec::as_slice))
}

/// The aggregate of a definition as rows: one a quantity.
fn aggregate_rows(answer: &Value) -> Vec<Value> {
    let row = |quantity: String, aggregate: &Value| {
        json!({ "quantity": quantity, "max": aggregate["max"], "p95": aggregate["p95"], "avg": aggregate["avg"],
                "latest": aggregate["latest"] })
    };
    let aggregate = &answer["aggregate"];
    let given = ["cpu_cores", "memory_mb", "storage_mb", "node_count"];
    let given = given.iter().map(|quantity| row((*quantity).to_owned(), &aggregate[quantity]));
    let used = ["cpu_cores", "memory_mb", "storage_mb"];
    let used = used.iter().map(|quantity| row(format!("used_{quantity}"), &aggregate["used"][quantity]));
    given.chain(used).collect()
}

const NOUN: Noun = Noun { path: "/api/lablet-definitions", aggregate: "lablet_definition", columns: COLUMNS };

pub(super) const COLUMNS: &[Column] = &[
    column("ID", "/id"),
    column("NAME", "/name"),
    column("VERSION", "/version"),
    column("REVISION", "/revision"),
    column("CORES", "/resource_requirements/cpu_cores"),
    column("MEMORY GB", "/resource_requirements/memory_gb"),
    column("STORAGE GB", "/resource_requirements/storage_gb"),
    column("VERDICT", "/verdict"),
    column("OBSERVATIONS", "/observations/observation_count"),
    column("DRIFTED SESSIONS", "/observations/drift_sessions"),
    wide_column("CORES USED MAX", "/used/cpu_cores/max"),
    wide_column("CORES USED P95", "/used/cpu_cores/p95"),
    wide_column("MEMORY MB USED MAX", "/used/memory_mb/max"),
    wide_column("MEMORY MB USED P95", "/used/memory_mb/p95"),
    wide_column("STORAGE MB USED MAX", "/used/storage_mb/max"),
    wide_column("NODES", "/node_count"),
    wide_column("CREATED AT", "/created_at"),
    wide_column("UPDATED AT", "/updated_at"),
    wide_column("DESCRIPTION", "/description"),
];
pub(super) const REVISION_COLUMNS: &[Column] = &[
    column("REVISION", "/revision"),
    column("CORES", "/after/resource_requirements/cpu_cores"),
    column("MEMORY GB", "/after/resource_requirements/memory_gb"),
    column("STORAGE GB", "/after/resource_requirements/storage_gb"),
    column("REVISED BY", "/revised_by"),
    column("REVISED AT", "/revised_at"),
    column("REASON", "/reason"),
    wide_column("EVENT ID", "/event_id"),
    wide_column("EVIDENCE", "/evidence"),
];
const SCOPE_COLUMNS: &[Column] = &[
    column("SCOPE", "/scope"),
    column("SESSIONS", "/sessions"),
    column("OF", "/of_sessions"),
    column("THAT IS", "/description"),
];
const AGGREGATE_COLUMNS: &[Column] = &[
    column("QUANTITY", "/quantity"),
    column("MAX", "/max"),
    column("P95", "/p95"),
    column("AVERAGE", "/avg"),
    column("LATEST", "/latest"),
];
const SESSION_OBSERVATION_COLUMNS: &[Column] = &[
    column("SESSION", "/session_id"),
    column("OBSERVED AT", "/observed_at"),
    column("CORES", "/cpu_cores"),
    column("MEMORY MB", "/memory_mb"),
    column("STORAGE MB", "/storage_mb"),
    column("NODES", "/node_count"),
    column("DRIFT", "/port_drift_detected"),
];
pub(super) const EVIDENCE_COLUMNS: &[Column] = &[
    column("SESSION", "/session_id"),
    column("REVISION", "/definition_revision"),
    column("WORKER", "/worker_id"),
    column("ENDED AT", "/ended_at"),
    column("CORES", "/demands/cpu_cores/demand"),
    column("MEMORY MB", "/demands/memory_mb/demand"),
    column("STORAGE MB", "/demands/storage_mb/demand"),
    column("EXCLUDED BECAUSE", "/exclusion/reason"),
    wide_column("NODES", "/node_count"),
    wide_column("OBSERVATIONS", "/observation_count"),
    wide_column("CML VERSION", "/cml_version"),
    wide_column("WORKER SHORT", "/worker_short"),
    wide_column("EVENT ID", "/ended_event_id"),
];
pub(super) const GAP_COLUMNS: &[Column] = &[
    column("DEFINITION", "/definition_name"),
    column("RESOURCE", "/resource"),
    column("VERDICT", "/sizing/verdict"),
    column("CONFIGURED", "/sizing/configured"),
    column("ENOUGH", "/sizing/sufficient"),
    column("LARGEST USE", "/largest_use/value"),
    column("SESSIONS A WEEK", "/sessions_a_week"),
    column("GAP A WEEK", "/weekly_gap"),
    column("SHARE", "/share"),
    wide_column("ID", "/definition_id"),
    wide_column("REVISION", "/revision"),
    wide_column("DIFFERENCE", "/sizing/difference"),
    wide_column("BASIS", "/sizing/basis"),
    wide_column("UNKNOWN BECAUSE", "/sizing/unknown_because"),
    wide_column("KNOWN SESSIONS", "/sizing/known_sessions"),
    wide_column("EVENT ID", "/largest_use/event_id"),
];
pub(super) const DEVIATION_COLUMNS: &[Column] = &[
    column("DEFINITION", "/definition_id"),
    column("RESOURCE", "/resource"),
    column("RATIO", "/ratio"),
    column("SESSIONS", "/sessions"),
    column("CORES", "/cpu_cores/configured"),
    column("CORES NOMINAL", "/cpu_cores/needed"),
    column("MEMORY GB", "/memory_gb/configured"),
    column("MEMORY GB NOMINAL", "/memory_gb/needed"),
    column("STORAGE GB", "/storage_gb/configured"),
    column("STORAGE GB MEASURED", "/storage_gb/needed"),
    wide_column("NAME", "/name"),
    wide_column("REVISION", "/revision"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregate_becomes_a_row_a_quantity() {
        let answer = json!({"aggregate": {"cpu_cores": {"max": 2.0, "p95": 2.0, "avg": 1.5, "latest": 2.0}, "memory_mb": {"max": null}}});
        let rows = aggregate_rows(&answer);
        assert_eq!(rows[0], json!({"quantity": "cpu_cores", "max": 2.0, "p95": 2.0, "avg": 1.5, "latest": 2.0}));
        assert_eq!(rows[1]["max"], Value::Null);
    }
}
