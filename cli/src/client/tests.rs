//! What the commands offer, beside what the API describes.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory as _;
use serde_json::Value;

use super::output::Column;
use super::{advice, definition, drift, event, observation, session, worker};
use crate::arguments::Arguments;
use crate::operations::dead_letters;

/// Every command that reads, the path that it reads, and the columns in which its rows are shown.
const READS: &[(&str, &str, &[Column])] = &[
    ("definition list", "/api/lablet-definitions", definition::COLUMNS),
    ("definition show", "/api/lablet-definitions/{id}", definition::COLUMNS),
    ("definition revisions", "/api/lablet-definitions/{id}/revisions", definition::REVISION_COLUMNS),
    ("definition observations", "/api/lablet-definitions/{id}/resource-observations", &[]),
    ("definition evidence", "/api/lablet-definitions/{id}/evidence", definition::EVIDENCE_COLUMNS),
    ("definition deviations", "/api/definition-deviations", definition::DEVIATION_COLUMNS),
    ("definition sizing-gaps", "/api/sizing-gaps", definition::GAP_COLUMNS),
    ("definition recommend", "/api/lablet-definitions/{id}/recommendation", &[]),
    ("definition explain", "/api/lablet-definitions/{id}/recommendation/explanation", &[]),
    ("definition back-test", "/api/lablet-definitions/{id}/back-test", &[]),
    ("session list", "/api/lablet-sessions", session::COLUMNS),
    ("session counts", "/api/lablet-session-counts", session::COUNT_COLUMNS),
    ("session show", "/api/lablet-sessions/{id}", session::COLUMNS),
    ("session events", "/api/lablet-sessions/{id}/events", session::HISTORY_COLUMNS),
    ("session life", "/api/lablet-sessions/{id}/life", &[]),
    ("session observations", "/api/lablet-sessions/{id}/resource-observations", observation::COLUMNS),
    ("session nodes", "/api/lablet-sessions/{id}/nodes", session::NODE_COLUMNS),
    ("session node", "/api/lablet-sessions/{id}/nodes/{node_id}", &[]),
    ("session profile", "/api/lablet-sessions/{id}/profile", &[]),
    ("session profile", "/api/lablet-sessions/{id}/nodes/{node_id}/profile", &[]),
    ("worker list", "/api/workers", worker::COLUMNS),
    ("worker show", "/api/workers/{id}", worker::COLUMNS),
    ("worker loads", "/api/worker-loads", worker::LOAD_COLUMNS),
    ("worker load", "/api/workers/{id}/load", worker::LOAD_COLUMNS),
    ("worker port-map", "/api/workers/{id}/port-map", &[]),
    ("worker pressure", "/api/workers/{id}/pressure", worker::PRESSURE_COLUMNS),
    ("controller list", "/api/controllers", super::controller::COLUMNS),
    ("observation failures", "/api/observation-failures", observation::FAILURE_COLUMNS),
    ("observation requests", "/api/observation-requests", observation::REQUEST_COLUMNS),
    ("drift show", "/api/lablet-sessions/{id}", drift::COLUMNS),
    ("drift ports", "/api/port-drift", drift::PORT_COLUMNS),
    ("activity", "/api/activity", super::activity::COLUMNS),
    ("event list", "/api/events", event::COLUMNS),
    ("event show", "/api/events/{id}", &[]),
    ("event data", "/api/events/{id}/data", &[]),
    ("event relations", "/api/events/{id}/relations", &[]),
    ("event watch", "/api/stream", &[]),
    ("event follow", "/api/stream", &[]),
    ("topology size", "/api/topology-recommendations", &[]),
    ("advice score", "/api/advice-score", &[]),
    ("advice policy show", "/api/advice-policy", &[]),
    ("advice policy show", "/api/lablet-definitions/{id}/advice-policy", &[]),
    ("proposal list", "/api/proposals", advice::PROPOSAL_COLUMNS),
    ("proposal show", "/api/proposals/{id}", advice::PROPOSAL_COLUMNS),
    ("proposal export", "/api/proposals/{id}/export", &[]),
    ("dead-letters list", "/api/dead-letters", dead_letters::COLUMNS),
    ("dead-letters groups", "/api/dead-letter-groups", dead_letters::GROUP_COLUMNS),
    ("dead-letters discarded", "/api/discarded-letters", dead_letters::DISCARDED_COLUMNS),
    ("dead-letters show", "/api/dead-letters/{id}", &[]),
    ("sign-in list", "/api/sign-ins", super::sign_in::COLUMNS),
    ("view list", "/api/saved-views", super::view::COLUMNS),
    ("cell list", "/api/cells", super::cell::COLUMNS),
    ("cell search", "/api/cell-hits", &[]),
    ("search", "/api/search", &[]),
    ("attention", "/api/attention", super::attention::COLUMNS),
    ("overview", "/api/overview", &[]),
    ("operations", "/api/operations", &[]),
];

/// Every command that changes something, and what it asks of the API.
const WRITES: &[(&str, &str)] = &[
    ("session create", "post /api/internal/lablet-sessions"),
    ("session transition", "post /api/internal/lablet-sessions/{id}/transition"),
    ("session record-observation", "post /api/internal/lablet-sessions/{id}/resource-observations"),
    ("session observe", "post /api/lablet-sessions/{id}/observe-resources"),
    ("session exclude-evidence", "post /api/lablet-sessions/{id}/evidence-exclusion"),
    ("session include-evidence", "post /api/lablet-sessions/{id}/evidence-inclusion"),
    ("drift acknowledge", "post /api/lablet-sessions/{id}/port-drift/acknowledge"),
    ("drift withdraw", "post /api/lablet-sessions/{id}/port-drift/withdraw"),
    ("drift correct", "post /api/lablet-sessions/{id}/allocation"),
    ("definition create", "post /api/lablet-definitions"),
    ("definition revise", "patch /api/lablet-definitions/{id}"),
    ("advice policy set", "put /api/lablet-definitions/{id}/advice-policy"),
    ("advice policy set", "put /api/advice-policy"),
    ("topology size", "post /api/topology-recommendations"),
    ("proposal claim", "post /api/proposals/{id}/claim"),
    ("proposal apply", "post /api/proposals/{id}/apply"),
    ("proposal fail", "post /api/proposals/{id}/fail"),
    ("proposal dismiss", "post /api/proposals/{id}/dismiss"),
    ("worker register", "post /api/workers"),
    ("worker change", "patch /api/workers/{id}"),
    ("dead-letters retry", "post /api/dead-letters/{id}/retry"),
    ("dead-letters discard", "post /api/dead-letters/{id}/discard"),
    ("dead-letters retry-group", "post /api/dead-letter-groups/{id}/retry"),
    ("dead-letters discard-group", "post /api/dead-letter-groups/{id}/discard"),
    ("view save", "post /api/saved-views"),
    ("view remove", "delete /api/saved-views/{id}"),
    ("sign-in end", "delete /api/sign-ins/{id}"),
];

/// What people at a terminal have no reason to change: a controller alone knows how much of a worker is free.
const NOT_CHANGED_BY_PEOPLE: [&str; 1] = ["post /api/internal/workers/{id}/pressure"];

/// Paths that people at a terminal have no use for.
const NOT_FOR_PEOPLE: [&str; 2] = [
    // What a text may mean while it is typed; `search` says it of a whole one.
    "/api/search/suggestions",
    // A stream of what a session uses this second, for a page that draws it.
    "/api/lablet-sessions/{id}/samples",
];

fn description() -> Value {
    serde_json::from_str(include_str!("../../../gateway/openapi.json")).unwrap()
}

/// What a command takes, those of the commands that it belongs to included, by the name of each.
fn arguments(words: &str) -> BTreeSet<String> {
    let mut command = Arguments::command();
    let mut known = BTreeSet::new();
    for word in words.split(' ') {
        command = command.find_subcommand(word).unwrap_or_else(|| panic!("there is no lablet {words}")).clone();
        known.extend(command.get_arguments().map(|argument| argument.get_id().to_string()));
    }
    known
}

#[test]
fn every_filter_of_the_api_is_one_of_the_command_that_reads_it() {
    let description = description();
    let mut missing = BTreeMap::new();
    for (words, path, _) in READS {
        let operations = description["paths"][path].as_object().unwrap_or_else(|| panic!("{path} is not described"));
        let operation = operations.get("get").unwrap_or_else(|| &operations["post"]);
        let offered = arguments(words);
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let filters = parameters.filter(|parameter| parameter["in"] == "query").map(|parameter| &parameter["name"]);
        // Pages are fetched as needed.
        for name in filters.filter_map(Value::as_str).filter(|name| *name != "cursor" && !offered.contains(*name)) {
            missing.entry(*words).or_insert_with(Vec::new).push(name.to_owned());
        }
    }
    assert!(missing.is_empty(), "filters of the API that a command does not offer: {missing:?}");
}

#[test]
fn everything_that_the_api_shows_has_a_command() {
    let description = description();
    let known: BTreeSet<&str> = READS.iter().map(|(_, path, _)| *path).chain(NOT_FOR_PEOPLE).collect();
    let shown =
        description["paths"].as_object().unwrap().iter().filter(|(_, operations)| operations["get"].is_object());
    let missing: Vec<&String> = shown
        .map(|(path, _)| path)
        .filter(|path| !path.starts_with("/api/internal/") && !known.contains(path.as_str()))
        .collect();
    assert!(missing.is_empty(), "give these a command and a line in READS, or a reason: {missing:?}");
}

#[test]
fn everything_that_the_api_changes_has_a_command() {
    let description = description();
    let known: BTreeSet<&str> = WRITES.iter().map(|(_, asked)| *asked).chain(NOT_CHANGED_BY_PEOPLE).collect();
    let paths = description["paths"].as_object().unwrap();
    let changes = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys().filter(|method| *method != "get");
        methods.map(move |method| format!("{method} {path}"))
    });
    let changes: BTreeSet<String> = changes.collect();
    let missing: Vec<&String> = changes.iter().filter(|change| !known.contains(change.as_str())).collect();
    assert!(missing.is_empty(), "give these a command and a line in WRITES, or a reason: {missing:?}");
    let gone: Vec<&&str> = known.iter().filter(|change| !changes.contains(**change)).collect();
    assert!(gone.is_empty(), "the API does not have these: {gone:?}");
    for (words, _) in WRITES {
        arguments(words);
    }
}

#[test]
fn every_column_shows_something_that_the_api_answers() {
    let description = description();
    let mut unknown = Vec::new();
    for (words, path, columns) in READS.iter().filter(|(_, _, columns)| !columns.is_empty()) {
        let answer = &description["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = &answer.as_object().unwrap().values().next().unwrap()["schema"];
        let list = resolved(&description, schema);
        let rows = if list["items"].is_object() { &list["items"] } else { &list["properties"]["items"]["items"] };
        let row = if rows.is_object() { rows } else { schema };
        for column in *columns {
            if column.name().split('.').try_fold(row, |schema, member| part(&description, schema, member)).is_none() {
                unknown.push(format!("{words}: {}", column.name()));
            }
        }
    }
    assert!(unknown.is_empty(), "columns that are always empty: {unknown:?}");
}

/// The schema itself, where another one is named.
fn resolved<'a>(description: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => description.pointer(name.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// The schema of a member, which may be one of an alternative or any name of a map.
fn part<'a>(description: &'a Value, schema: &'a Value, member: &str) -> Option<&'a Value> {
    let schema = resolved(description, schema);
    if let Some(found) = schema["properties"].get(member) {
        return Some(found);
    }
    let alternatives = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten();
    alternatives.into_iter().find_map(|alternative| part(description, alternative, member))
}
