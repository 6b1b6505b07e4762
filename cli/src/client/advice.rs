//! `lablet definition recommend|explain|back-test`, `lablet topology`, `lablet advice` and `lablet proposal`.

use advice::proposer::sentence;
use advice::recommendation::ResourceRecommendation;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use domain::resource::Resource;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::connection::Parameters;
use super::output::{Column, OutputFormat, column, wide_column};
use super::{Client, Paging, Since, example, read_json, read_text};

/// Which advice about a definition.
#[derive(Debug, Args)]
pub(crate) struct AdviceArguments {
    /// The definition.
    id: String,
    #[command(flatten)]
    filters: AdviceFilters,
    #[command(flatten)]
    since: Since,
}

#[derive(Debug, Args, Serialize)]
struct AdviceFilters {
    /// The share of future sessions to cover, e.g. 0.95; that of the policy unless stated.
    #[arg(long)]
    promise: Option<f64>,
    /// A position of the log: what was advised then.
    #[arg(long)]
    as_of: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BackTestArguments {
    /// The definition.
    id: String,
    #[command(flatten)]
    size: BackTestSize,
    #[command(flatten)]
    since: Since,
}

#[derive(Debug, Args, Serialize)]
struct BackTestSize {
    /// Whole cores; as configured unless stated.
    #[arg(long)]
    cpu_cores: Option<u32>,
    /// Whole GB of memory; as configured unless stated.
    #[arg(long)]
    memory_gb: Option<u32>,
    /// Whole GB of storage; as configured unless stated.
    #[arg(long)]
    storage_gb: Option<u32>,
    /// Whether what sessions needed while booting counts: true or false; as the policy says unless stated.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    include_boot: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopologyCommand {
    /// How large a lab of a topology must be.
    #[command(after_long_help = example::help(&example::TOPOLOGY))]
    Size {
        /// A file with a CML topology in YAML, or a list of nodes in JSON, `-` for standard input.
        file: String,
        /// The share of future sessions to cover, e.g. 0.95; that of the default policy unless stated.
        #[arg(long)]
        promise: Option<f64>,
        #[command(flatten)]
        since: Since,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdviceCommand {
    /// Whether advice held: what was promised beside what was achieved.
    Score {
        #[command(flatten)]
        filters: ScoreFilters,
        #[command(flatten)]
        since: Since,
    },
    /// The policy by which advice is given and applied.
    Policy(PolicyArguments),
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct ScoreFilters {
    /// Of this definition: of its newest 1,000 sessions.
    #[arg(long = "definition")]
    definition_id: Option<String>,
    /// Of this resource: cpu_cores, memory_mb or storage_mb.
    #[arg(long)]
    resource: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    /// Of this definition; without it, the policy of definitions that have none of their own.
    #[arg(long, global = true)]
    definition: Option<String>,
    #[command(subcommand)]
    command: Option<PolicyCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show the policy.
    Show,
    /// Set the policy. Needs the role admin.
    #[command(after_long_help = example::help(&example::POLICY))]
    Set {
        /// A JSON file with what differs from the usual policy, or `null` to give it up; `-` for standard input.
        file: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProposalCommand {
    /// List proposals, newest first.
    List(ProposalList),
    /// Show one proposal with its life.
    Show {
        /// The proposal.
        id: String,
        #[command(flatten)]
        since: Since,
    },
    /// Take care of a proposal: it changes no more.
    Claim {
        /// The proposal.
        id: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Make a revision of a proposal, where the policy lets your role.
    Apply {
        /// The proposal.
        id: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say that a claimed proposal could not be applied.
    Fail {
        /// The proposal.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Say that a proposal is not wanted.
    Dismiss {
        /// The proposal.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Write the revised definition as YAML, or what changes of it as a JSON patch (RFC 6902), to standard output.
    Export {
        /// The proposal.
        id: String,
        /// What it is written as.
        #[arg(long, value_enum, default_value_t = ExportFormat::Yaml)]
        format: ExportFormat,
        #[command(flatten)]
        since: Since,
    },
}

/// Which proposals.
#[derive(Debug, Args)]
pub(crate) struct ProposalList {
    #[command(flatten)]
    filters: ProposalFilters,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args, Serialize)]
struct ProposalFilters {
    /// In this state: open, claimed, applied, failed, dismissed or superseded.
    #[arg(long)]
    status: Option<String>,
    /// Of this definition.
    #[arg(long = "definition")]
    definition_id: Option<String>,
}

/// What a proposal is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportFormat {
    /// The revised definition, as YAML.
    Yaml,
    /// What changes of the definition, as a JSON patch.
    JsonPatch,
}

pub(super) async fn recommend(client: &Client, arguments: AdviceArguments) -> anyhow::Result<()> {
    let AdviceArguments { id, filters, since } = arguments;
    let path = format!("/api/lablet-definitions/{id}/recommendation");
    let answer = client.connection.get_with(&path, &Parameters::new(&filters)?.and(&since)?).await?;
    show_recommendation(&answer, client.output)
}

fn show_recommendation(answer: &Value, output: OutputFormat) -> anyhow::Result<()> {
    if output.is_document() {
        return output.one(answer);
    }
    output.rows(SIZE_COLUMNS, &size_rows(answer))?;
    let promise = answer["promise"].as_f64().context("the answer names no promise")?;
    for resource in Resource::ALL {
        let of: ResourceRecommendation = serde_json::from_value(answer["resources"][resource.as_str()].clone())
            .context("the answer is no recommendation")?;
        output.remark(&sentence(resource, &of, promise))?;
        for reason in &of.reasons {
            output.remark(&format!("  {}", reason.text))?;
        }
    }
    for part in ["mixed", "left_out"] {
        for entry in answer[part].as_array().into_iter().flatten() {
            output.remark(entry["text"].as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// The sizes beside each other, a row a resource, in cores and GB.
fn size_rows(answer: &Value) -> Vec<Value> {
    let row = |resource: Resource| {
        let of = &answer["resources"][resource.as_str()];
        let amount = |amount: &Value| {
            amount.as_f64().map(|amount| json!((amount / resource.unit() * 10.0).round() / 10.0)).unwrap_or_default()
        };
        json!({
            "resource": resource.as_str().trim_end_matches("_cores").trim_end_matches("_mb"),
            "unit": resource.unit_name(), "configured": amount(&of["configured"]), "nominal": amount(&of["nominal"]),
            "largest": amount(&of["demand"]["max"]), "recommended": of["requirement"], "finding": of["finding"],
            "sessions": of["sessions"], "kind": of["kind"]
        })
    };
    Resource::ALL.into_iter().map(row).collect()
}

pub(super) async fn explain(client: &Client, arguments: AdviceArguments) -> anyhow::Result<()> {
    let AdviceArguments { id, filters, since } = arguments;
    let path = format!("/api/lablet-definitions/{id}/recommendation/explanation");
    let answer = client.connection.get_with(&path, &Parameters::new(&filters)?.and(&since)?).await?;
    let output = client.output;
    if output.is_document() {
        return output.one(&answer);
    }
    let rows: Vec<Value> = Resource::ALL
        .into_iter()
        .map(|resource| {
            let of = &answer["resources"][resource.as_str()];
            let mut row = json!({ "resource": resource.as_str() });
            row["estimate"] = of["estimate"].clone();
            row["requirement"] = of["requirement"].clone();
            row
        })
        .collect();
    output.rows(STEP_COLUMNS, &rows)?;
    let readings: Vec<Value> = Resource::ALL
        .into_iter()
        .flat_map(|resource| {
            let found = answer["resources"][resource.as_str()]["readings"].as_array().cloned().unwrap_or_default();
            found.into_iter().map(move |mut reading| {
                reading["resource"] = resource.as_str().into();
                reading
            })
        })
        .collect();
    if output.is_for_people() { output.rows(READING_COLUMNS, &readings) } else { Ok(()) }
}

pub(super) async fn back_test(client: &Client, arguments: BackTestArguments) -> anyhow::Result<()> {
    let BackTestArguments { id, size, since } = arguments;
    let path = format!("/api/lablet-definitions/{id}/back-test");
    let answer = client.connection.get_with(&path, &Parameters::new(&size)?.and(&since)?).await?;
    let output = client.output;
    if output.is_document() {
        return output.one(&answer);
    }
    let rows: Vec<Value> = Resource::ALL.into_iter().map(|resource| named(resource, &answer["resources"])).collect();
    output.rows(BACK_TEST_COLUMNS, &rows)?;
    if answer["include_boot"] == true { output.remark("What sessions needed, boot included.") } else { Ok(()) }
}

/// What the answer holds of a resource, with the resource's name.
fn named(resource: Resource, resources: &Value) -> Value {
    let mut row = resources[resource.as_str()].clone();
    row["resource"] = resource.as_str().into();
    row
}

pub(super) async fn topology(client: &Client, command: TopologyCommand) -> anyhow::Result<()> {
    let TopologyCommand::Size { file, promise, since } = command;
    let text = read_text(&file)?;
    let media_type = if text.trim_start().starts_with('{') { "application/json" } else { "application/yaml" };
    let asked = Parameters::new(&[("promise", promise)])?.and(&since)?;
    let answer = client.connection.post_as("/api/topology-recommendations", &asked, media_type, text).await?;
    show_recommendation(&answer, client.output)
}

pub(super) async fn advice(client: &Client, command: AdviceCommand) -> anyhow::Result<()> {
    match command {
        AdviceCommand::Score { filters, since } => {
            let asked = Parameters::new(&filters)?.and(&since)?;
            let answer = client.connection.get_with("/api/advice-score", &asked).await?;
            let rows = |part: &str| answer[part].as_array().cloned().unwrap_or_default();
            let output = client.output;
            if output.is_document() {
                return output.one(&answer);
            }
            if !output.is_for_people() {
                return output.rows(SCORE_BY_SESSIONS_COLUMNS, &rows("by_sessions"));
            }
            output.rows(SCORE_COLUMNS, &rows("totals"))?;
            output.rows(SCORE_BY_SESSIONS_COLUMNS, &rows("by_sessions"))?;
            output.rows(MISS_COLUMNS, &rows("misses"))
        }
        AdviceCommand::Policy(PolicyArguments { definition, command }) => {
            let path = match definition {
                Some(id) => format!("/api/lablet-definitions/{id}/advice-policy"),
                None => "/api/advice-policy".to_owned(),
            };
            match command.unwrap_or(PolicyCommand::Show) {
                PolicyCommand::Show => client.output.one(&client.connection.get(&path).await?),
                PolicyCommand::Set { file, reason } => {
                    let body = json!({ "policy": read_json(&file)?, "reason": reason });
                    client.output.one(&client.connection.put_newest(&path, &body).await?)
                }
            }
        }
    }
}

pub(super) async fn proposal(client: &Client, command: ProposalCommand) -> anyhow::Result<()> {
    let path = |id: &str| format!("/api/proposals/{id}");
    let (id, step, reason) = match command {
        ProposalCommand::List(ProposalList { filters, paging }) => {
            return client.list(PROPOSAL_COLUMNS, "/api/proposals", &paging.with(&filters)?, &paging.limit).await;
        }
        ProposalCommand::Show { id, since } => return client.show(&path(&id), &Parameters::new(&since)?).await,
        ProposalCommand::Export { id, format, since } => {
            let asked = Parameters::new(&[("format", format)])?.and(&since)?;
            let file = client.connection.get_text(&format!("{}/export", path(&id)), &asked).await?;
            return client.output.file(&file);
        }
        ProposalCommand::Claim { id, reason } => (id, "claim", reason),
        ProposalCommand::Apply { id, reason } => (id, "apply", reason),
        ProposalCommand::Fail { id, reason } => (id, "fail", Some(reason)),
        ProposalCommand::Dismiss { id, reason } => (id, "dismiss", Some(reason)),
    };
    let mut body = Map::new();
    body.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
    client.output.one(&client.connection.post_newest(&path(&id), step, &Value::Object(body)).await?)
}

const SIZE_COLUMNS: &[Column] = &[
    column("RESOURCE", "/resource"),
    column("UNIT", "/unit"),
    column("CONFIGURED", "/configured"),
    column("NOMINAL", "/nominal"),
    column("LARGEST USED", "/largest"),
    column("RECOMMENDED", "/recommended"),
    column("FINDING", "/finding"),
    column("SESSIONS", "/sessions"),
    column("BY", "/kind"),
];
const STEP_COLUMNS: &[Column] = &[
    column("RESOURCE", "/resource"),
    column("NODES", "/estimate/base/value"),
    column("RATIO (LN)", "/estimate/prediction/location"),
    column("SPREAD (LN)", "/estimate/prediction/spread"),
    column("SPREADS ABOVE", "/estimate/calibration/score"),
    column("SCORES", "/estimate/calibration/scores"),
    column("AMOUNT", "/estimate/value"),
    column("ROUNDED", "/requirement/rounded"),
    column("BOUND", "/requirement/bound"),
    column("REQUIREMENT", "/requirement/value"),
];
const READING_COLUMNS: &[Column] = &[
    column("RESOURCE", "/resource"),
    column("SESSION", "/session_id"),
    column("DEMAND", "/demand"),
    column("BY", "/source"),
    column("OBSERVED AT", "/observed_at"),
    column("EVENT ID", "/event_id"),
];
const BACK_TEST_COLUMNS: &[Column] = &[
    column("RESOURCE", "/resource"),
    column("SIZE", "/size"),
    column("SESSIONS", "/sessions"),
    column("UNKNOWN", "/unknown_sessions"),
    column("SHORT", "/sessions_short"),
    column("WORST SHORTFALL", "/worst_shortfall"),
    column("MEDIAN UNUSED", "/median_unused"),
];
const SCORE_COLUMNS: &[Column] = &[
    column("RESOURCE", "/resource"),
    column("ADVISED", "/count"),
    column("PROMISED", "/promised"),
    column("ACHIEVED", "/achieved"),
    column("WASTE", "/waste"),
    column("WASTE CONFIGURED", "/configured_waste"),
    column("WASTE NOMINAL", "/nominal_waste"),
];
const SCORE_BY_SESSIONS_COLUMNS: &[Column] = &[
    column("SESSIONS KNOWN", "/sessions_before"),
    column("RESOURCE", "/resource"),
    column("ADVISED", "/count"),
    column("PROMISED", "/promised"),
    column("ACHIEVED", "/achieved"),
    column("WASTE", "/waste"),
];
const MISS_COLUMNS: &[Column] = &[
    column("MISSED BY", "/session_id"),
    column("DEFINITION", "/definition_id"),
    column("RESOURCE", "/resource"),
    column("ADVISED", "/advised"),
    column("NEEDED", "/demand"),
    column("ENDED AT", "/ended_at"),
];
pub(super) const PROPOSAL_COLUMNS: &[Column] = &[
    column("ID", "/proposal_id"),
    column("DEFINITION", "/definition_id"),
    column("STATUS", "/status"),
    column("KIND", "/kind"),
    column("FINDING", "/finding"),
    column("CORES", "/before/cpu_cores"),
    column("TO", "/after/cpu_cores"),
    column("MEMORY GB", "/before/memory_gb"),
    column("TO", "/after/memory_gb"),
    column("STORAGE GB", "/before/storage_gb"),
    column("TO", "/after/storage_gb"),
    column("SESSIONS", "/sessions"),
    column("HELD", "/verification/held"),
    column("OPENED AT", "/opened_at"),
    wide_column("OPENED BY", "/opened_by"),
    wide_column("CLAIMED BY", "/claimed_by"),
    wide_column("ENDED BY", "/ended_by"),
    wide_column("ENDED AT", "/ended_at"),
    wide_column("REVISION", "/revision"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stand_beside_each_other_in_the_units_of_a_definition() {
        let answer = json!({"resources": {
            "cpu_cores": {"configured": 4.0, "requirement": 2, "demand": {"max": 1.25}},
            "memory_mb": {"configured": 16384.0, "nominal": 8192.0, "requirement": 6, "demand": {"max": 5530.0}},
            "storage_mb": {"configured": 20480.0, "requirement": null, "demand": {"max": null}}
        }});
        let rows = size_rows(&answer);
        assert_eq!((&rows[0]["resource"], &rows[0]["largest"]), (&json!("cpu"), &json!(1.3)));
        assert_eq!(
            (&rows[1]["configured"], &rows[1]["largest"], &rows[1]["nominal"]),
            (&json!(16.0), &json!(5.4), &json!(8.0))
        );
        assert_eq!((&rows[2]["largest"], &rows[2]["recommended"]), (&Value::Null, &Value::Null));
    }
}
