//! Dashboards and alerts are files that nobody compiles: what they name exists, each alert fires where it has to, and each has
//! its runbook.

mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use sqlx::{Column as _, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, Statement as _};

use self::promql::{Selector, grouping_labels, selectors};
use crate::documents::is_made;
use crate::tidy::{repository, rust_files};

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];
/// Labels that Prometheus adds, or that belong to a histogram.
const LABELS_OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];
const SECTIONS: [&str; 4] = ["What it means", "What to look at", "What to do", "How to know that it is over"];

fn prometheus_folder() -> PathBuf {
    repository().join("monitoring/prometheus")
}

fn yaml(path: &str) -> Value {
    serde_norway::from_str(&fs::read_to_string(repository().join(path)).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is missing: {value}"))
}

fn rules() -> Vec<Value> {
    let groups = yaml("monitoring/prometheus/rules.yml");
    let groups = groups["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule["alert"].is_string()).collect()
}

fn names_of_alerts() -> BTreeSet<String> {
    alerts().iter().map(|alert| text(alert, "alert").to_owned()).collect()
}

/// `relay-late`, of `LabletRelayLate`.
fn page_of(alert: &str) -> String {
    let mut page = String::new();
    for letter in alert.strip_prefix("Lablet").unwrap().chars() {
        if letter.is_ascii_uppercase() && !page.is_empty() {
            page.push('-');
        }
        page.push(letter.to_ascii_lowercase());
    }
    page
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = repository().join("monitoring/grafana/dashboards");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let board = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (path.file_name().unwrap().to_string_lossy().into_owned(), board)
    };
    files.into_iter().map(read).collect()
}

/// Panels that show something, with the name of their dashboard.
fn panels() -> Vec<(String, Value)> {
    let all = dashboards().into_iter().flat_map(|(name, board)| {
        let panels = board["panels"].as_array().unwrap().clone();
        panels.into_iter().map(move |panel| (name.clone(), panel))
    });
    all.filter(|(_, panel)| panel["type"] != "row").collect()
}

/// Every expression for Prometheus, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let of_rules = rules().into_iter().map(|rule| {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap().to_owned();
        (name, text(&rule, "expr").to_owned())
    });
    let of_panels = panels().into_iter().flat_map(|(board, panel)| {
        let title = format!("{board}: {}", text(&panel, "title"));
        let targets = panel["targets"].as_array().unwrap().clone();
        let found = targets.into_iter().filter_map(|target| Some(target["expr"].as_str()?.to_owned()));
        found.map(move |expression| (title.clone(), expression)).collect::<Vec<_>>()
    });
    of_rules.chain(of_panels).collect()
}

fn promtool(arguments: &[&str]) {
    let found = Command::new("promtool").args(arguments).current_dir(prometheus_folder()).output().unwrap();
    let said = String::from_utf8_lossy(&[found.stdout, found.stderr].concat()).into_owned();
    assert!(found.status.success() && !said.contains("FAILED"), "promtool {}: {said}", arguments.join(" "));
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_hold() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "rules.yml"]);
    promtool(&["check", "config", "--syntax-only", "prometheus.yml"]);
    promtool(&["test", "rules", "rules.test.yml"]);
}

#[test]
fn every_alert_fires_in_a_test_and_is_quiet_where_all_is_well() {
    let tests = yaml("monitoring/prometheus/rules.test.yml");
    let (mut fires, mut is_quiet) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().unwrap() {
        let is_healthy = text(test, "name") == "nothing fires while all is well";
        for expected in test["alert_rule_test"].as_array().unwrap() {
            let name = text(expected, "alertname").to_owned();
            let fired = expected["exp_alerts"].as_array().map_or(&[][..], Vec::as_slice);
            assert_eq!(fired.is_empty(), is_healthy, "{name}");
            for alert in fired {
                fires.insert((name.clone(), text(&alert["exp_labels"], "severity").to_owned()));
            }
            if is_healthy {
                is_quiet.insert(name);
            }
        }
    }
    let all = alerts()
        .into_iter()
        .map(|alert| (text(&alert, "alert").to_owned(), text(&alert["labels"], "severity").to_owned()));
    assert_eq!(fires, all.collect());
    assert_eq!(is_quiet, names_of_alerts());
}

#[test]
fn every_alert_says_what_is_wrong_and_has_a_runbook_and_every_runbook_an_alert() {
    let folder = repository().join("docs/runbooks");
    for alert in alerts() {
        let name = text(&alert, "alert");
        assert!(SEVERITIES.contains(&text(&alert["labels"], "severity")), "{name}");
        let annotations = &alert["annotations"];
        assert!(text(annotations, "summary").len() < 100 && text(annotations, "description").len() > 20, "{name}");
        let page = page_of(name);
        let url = format!("{{{{ $externalLabels.runbooks }}}}docs/runbooks/{page}.md");
        assert_eq!(text(annotations, "runbook_url"), url);
        let written = fs::read_to_string(folder.join(format!("{page}.md"))).unwrap_or_default();
        let sections: Vec<&str> = written.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{page}");
        assert!(written.contains(&format!("`{name}`")), "{page} does not name its alert");
    }
    let pages: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".md").to_owned())
        .filter(|page| page != "index")
        .collect();
    assert_eq!(pages, names_of_alerts().iter().map(|name| page_of(name)).collect());
}

/// The page of all alerts, by severity.
fn index() -> String {
    let mut page = String::from(
        "# Runbooks\n\nA page for each alert of [rules.yml](../../monitoring/prometheus/rules.yml): what it means, what to look \
         at, what to do, and how to know that it is over. [Monitoring](../monitoring.md) says how alerts come about.\n\n\
         This page is made from the rules: `UPDATE_SNAPSHOTS=1 cargo test -p harness` writes it again.\n",
    );
    let meanings = [
        "something stands still, is lost, or is shown wrongly; somebody has to look now",
        "it will become so, or a part of the fleet is not seen; within the day",
        "it works, and somebody has to decide",
    ];
    for (severity, meaning) in SEVERITIES.into_iter().zip(meanings) {
        page.push_str(&format!(
            "\n## {severity}\n\nIt means: {meaning}.\n\n| alert | fires when | for |\n|---|---|---|\n"
        ));
        for alert in alerts().iter().filter(|alert| alert["labels"]["severity"] == severity) {
            let name = text(alert, "alert");
            let expression = text(alert, "expr").split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            let lasting = alert["for"].as_str().unwrap_or("at once");
            page.push_str(&format!("| [{name}]({}.md) | `{expression}` | {lasting} |\n", page_of(name)));
        }
    }
    page.push_str("\n```{toctree}\n:hidden:\n:glob:\n:maxdepth: 1\n\n*\n```\n");
    page
}

#[test]
fn the_page_of_all_alerts_is_made_from_the_rules() {
    is_made("runbooks/index.md", &index());
}

/// What stands in backticks in the runbooks, with the page.
fn quoted_in_runbooks() -> Vec<(String, String)> {
    let mut quoted = Vec::new();
    for name in names_of_alerts() {
        let page = page_of(&name);
        let written = fs::read_to_string(repository().join(format!("docs/runbooks/{page}.md"))).unwrap();
        quoted.extend(written.split('`').skip(1).step_by(2).map(|code| (page.clone(), code.to_owned())));
    }
    quoted
}

#[test]
fn every_command_of_a_runbook_is_one_and_every_page_is_there() {
    let reference = fs::read_to_string(repository().join("docs/command.md")).unwrap();
    let commands: BTreeSet<&str> =
        reference.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    let options: BTreeSet<&str> =
        reference.split("`--").skip(1).filter_map(|rest| rest.split([' ', '`']).next()).collect();
    let routes =
        ["pages.rs", "router.rs"].map(|file| fs::read_to_string(repository().join("gateway/src").join(file)).unwrap());
    let mut looked_at = 0;
    for (page, code) in quoted_in_runbooks() {
        if code.starts_with("lablet ") {
            looked_at += 1;
            let lower = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_lowercase());
            let words: Vec<&str> = code.split(' ').take_while(lower).collect();
            assert!(commands.contains(&*words.join(" ")), "{page}: {code} is no command");
            for option in code.split(' ').filter_map(|word| word.strip_prefix("--")) {
                assert!(options.contains(option), "{page}: --{option} of {code} is no option");
            }
        } else if let Some(path) = code.strip_prefix('/').and_then(|path| path.split(['?', '#']).next()) {
            looked_at += 1;
            let route = format!("\"/{path}\"");
            assert!(routes.iter().any(|text| text.contains(&route)), "{page}: {code} is no page");
            if let Some(part) = code.strip_prefix("/operations#") {
                assert!(is_part_of_operations(part), "{page}: {code} is no part of the page");
            }
        }
    }
    assert!(looked_at > 100, "{looked_at}");
}

/// Whether the page of operations has a part with this id.
fn is_part_of_operations(id: &str) -> bool {
    let templates = repository().join("gateway/templates");
    let parts = fs::read_dir(templates.join("operations")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = parts.chain([templates.join("operations.html")]);
    files.any(|file| fs::read_to_string(file).unwrap().contains(&format!("id=\"{id}\"")))
}

/// What the code says of its metrics: the text of each file, and the metrics that are described in any.
struct Code {
    files: Vec<String>,
    described: BTreeSet<String>,
}

impl Code {
    fn read() -> Self {
        let mut paths = Vec::new();
        for member in ["app", "bus", "cli", "controller", "domain", "gateway", "projections", "proposer", "webhooks"] {
            rust_files(&repository().join(member).join("src"), &mut paths);
        }
        let files: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let described = files.iter().flat_map(|file| {
            let calls =
                ["describe_counter!(", "describe_gauge!(", "describe_histogram!("].map(|call| file.split(call).skip(1));
            let rests = calls.into_iter().flatten();
            rests.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect::<Vec<_>>()
        });
        let described = described.map(str::to_owned).collect();
        Self { files, described }
    }

    /// Whether a file that has the metric has the label, too.
    fn has_label(&self, metric: &str, label: &str) -> bool {
        let (metric, label) = (format!("\"{metric}\""), format!("\"{label}\""));
        self.files.iter().any(|file| file.contains(&metric) && file.contains(&label))
    }

    fn has_word(&self, word: &str) -> bool {
        let word = format!("\"{word}\"");
        self.files.iter().any(|file| file.contains(&word))
    }
}

/// The metric that a series belongs to: those of a histogram have an end of their own.
fn metric(series: &str, described: &BTreeSet<String>) -> String {
    let ends = ["_bucket", "_sum", "_count"];
    let whole = ends.into_iter().filter_map(|end| series.strip_suffix(end)).find(|whole| described.contains(*whole));
    whole.unwrap_or(series).to_owned()
}

#[test]
fn every_metric_that_a_rule_or_a_panel_names_is_described_in_the_code_with_its_labels() {
    let code = Code::read();
    assert!(code.described.len() > 60, "{:?}", code.described);
    let recorded: BTreeSet<String> =
        rules().iter().filter_map(|rule| Some(rule["record"].as_str()?.to_owned())).collect();
    let mut looked_at = BTreeSet::new();
    for (place, expression) in expressions() {
        let found = selectors(&expression);
        assert!(!found.is_empty(), "{place}: {expression} names no metric");
        let mut known_labels = BTreeSet::from(LABELS_OF_PROMETHEUS.map(str::to_owned));
        for Selector { name, matchers } in found {
            if recorded.contains(&name) || name == "up" || name.starts_with("process_") {
                assert!(matchers.iter().all(|matcher| LABELS_OF_PROMETHEUS.contains(&&*matcher.label)), "{place}");
                continue;
            }
            let metric = metric(&name, &code.described);
            assert!(code.described.contains(&metric), "{place}: nothing in the code is called {metric}");
            for matcher in matchers {
                let is_label =
                    LABELS_OF_PROMETHEUS.contains(&&*matcher.label) || code.has_label(&metric, &matcher.label);
                assert!(is_label, "{place}: {metric} has no label {}", matcher.label);
                if matcher.label == "le" {
                    continue;
                }
                for word in matcher
                    .value
                    .split('|')
                    .filter(|word| word.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()))
                {
                    assert!(code.has_word(word), "{place}: no {} of {metric} is {word}", matcher.label);
                }
            }
            for label in grouping_labels(&expression) {
                if code.has_label(&metric, &label) {
                    known_labels.insert(label);
                }
            }
            looked_at.insert(metric);
        }
        for label in grouping_labels(&expression) {
            assert!(known_labels.contains(&label), "{place}: nothing in {expression} has the label {label}");
        }
    }
    assert!(looked_at.len() > 40, "{looked_at:?}");
}

/// What every process tells of itself is among what was scraped: those metrics are described by another's code.
pub(crate) fn metrics_of_processes_are_in(scraped: &str) {
    let mut looked_at = 0;
    for (place, expression) in expressions() {
        for Selector { name, .. } in
            selectors(&expression).into_iter().filter(|found| found.name.starts_with("process_"))
        {
            assert!(scraped.contains(&format!("\n{name} ")), "{place}: no process tells of {name}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 5, "{looked_at}");
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_and_from_where() {
    let variables = ["${prometheus}", "${postgres}"];
    let mut uids = BTreeSet::new();
    for (name, board) in dashboards() {
        assert!(uids.insert(text(&board, "uid").to_owned()), "{name}");
        assert!(board["id"].is_null() && board["schemaVersion"].as_u64().unwrap() >= 42, "{name}");
        let mut places = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title} has the id of another");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= 24, "{name}: {title}");
            for square in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = places.insert(square, title.to_owned());
                assert_eq!(other, None, "{name}: {title} lies on another");
            }
        }
    }
    assert_eq!(uids, ["lablet-core", "lablet-fleet"].map(str::to_owned).into());
    for (name, panel) in panels() {
        let title = format!("{name}: {}", text(&panel, "title"));
        assert!(text(&panel, "description").len() > 20, "{title}");
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(!text(defaults, "unit").is_empty(), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert!(variables.contains(&text(&target["datasource"], "uid")), "{title}");
            let is_drawn = panel["type"] == "timeseries" && target["expr"].is_string();
            assert!(!is_drawn || text(target, "legendFormat") != "__auto", "{title} has no legend");
        }
    }
}

#[test]
fn prometheus_scrapes_services_that_are_there_in_the_one_job_of_the_rules() {
    let services = yaml("docker-compose.yml")["services"].clone();
    let jobs = yaml("monitoring/prometheus/prometheus.yml")["scrape_configs"].clone();
    let [job] = jobs.as_array().unwrap().as_slice() else { panic!("{jobs}") };
    assert_eq!(text(job, "job_name"), "lablet");
    for target in job["static_configs"][0]["targets"].as_array().unwrap() {
        let (service, port) = target.as_str().unwrap().split_once(':').unwrap();
        assert!(services[service].is_object() && services[service]["profiles"].is_null(), "{target}");
        assert!(port.parse::<u16>().is_ok(), "{target}");
    }
}

#[test]
fn no_secret_stands_in_what_is_mounted() {
    for file in [
        "monitoring/grafana/provisioning/datasources/lablet.yml",
        "monitoring/grafana/provisioning/dashboards/lablet.yml",
    ] {
        assert_eq!(yaml(file)["apiVersion"], 1, "{file}");
    }
    let sources = yaml("monitoring/grafana/provisioning/datasources/lablet.yml");
    for source in sources["datasources"].as_array().unwrap() {
        let password = source["secureJsonData"]["password"].as_str();
        assert!(password.is_none_or(|password| password == "$__file{/run/secrets/analyst-password}"), "{source}");
    }
}

/// What Grafana makes of its macros for the last fortnight.
fn with_macros_expanded(sql: &str) -> String {
    let mut expanded = String::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("$__timeFilter(") {
        let (column, after) = after.split_once(')').unwrap();
        expanded.push_str(&format!("{before}{column} BETWEEN now() - interval '14 days' AND now()"));
        rest = after;
    }
    expanded.push_str(rest);
    assert!(!expanded.contains('$'), "a macro or variable that this test does not know: {sql}");
    expanded
}

/// Every query of the dashboards runs with the rights of an analyst, and has the columns that Grafana draws.
pub(crate) async fn every_query_runs_as_an_analyst(url: &str) {
    let mut analyst = PgConnection::connect(url).await.unwrap();
    let mut looked_at = 0;
    for (name, panel) in panels() {
        for target in panel["targets"].as_array().unwrap() {
            let Some(sql) = target["rawSql"].as_str() else { continue };
            let title = format!("{name}: {}", text(&panel, "title"));
            assert!(!sql.contains(';') && sql.contains("analytics_v1."), "{title}");
            let sql = sqlx::AssertSqlSafe(with_macros_expanded(sql)).into_sql_str();
            let prepared = analyst.prepare(sql.clone()).await.unwrap_or_else(|error| panic!("{title}: {error}"));
            let columns: Vec<&str> = prepared.columns().iter().map(|column| column.name()).collect();
            if target["format"] == "time_series" {
                assert_eq!(columns, ["time", "metric", "value"], "{title}");
            }
            for changed in
                panel["fieldConfig"]["overrides"].as_array().unwrap().iter().filter(|_| target["format"] == "table")
            {
                let column = text(&changed["matcher"], "options");
                assert!(columns.contains(&column), "{title}: there is no column {column}");
            }
            sqlx::query(sql).fetch_all(&mut analyst).await.unwrap_or_else(|error| panic!("{title}: {error}"));
            looked_at += 1;
        }
    }
    assert!(looked_at > 12, "{looked_at}");
    analyst.close().await.unwrap();
}
