//! What leaves the pages: a session on paper, and tables that a spreadsheet or a script reads.

use std::path::Path;

use harness::{Browser, DESKTOP, Lablet};
use serde_json::{Value, json};
use tokio::process::Command;

/// Sessions of the past, of which nothing changes any more.
const OF_THE_PAST: &str = "definition_id=bgp-edge&status=archived";

/// Nodes of a large lab.
const NODES: usize = 302;

/// Reads a file as any program does, and gives its rows as JSON.
const READ: &str = "
import csv, json, sys
with open(sys.argv[1], newline=\"\", encoding=\"utf-8-sig\") as file:
    json.dump(list(csv.DictReader(file)), sys.stdout)
";

/// What is exported says the same as the API, and what is printed has its evidence and is not cut off.
pub(super) async fn printed_and_exported(lablet: &Lablet, browser: &Browser) {
    let folder = tempfile::tempdir().unwrap();
    let sessions = lablet.get(&format!("/api/lablet-sessions?{OF_THE_PAST}&limit=200")).await.unwrap();
    let sessions = sessions["items"].as_array().unwrap();
    let rows = rows(lablet, folder.path(), &format!("/sessions?{OF_THE_PAST}&format=csv")).await;
    let observed = sessions.iter().filter(|session| session["nominal_memory_mb"].is_number());
    let mut compared = 0;
    for session in observed.clone() {
        let row = rows.iter().find(|row| row["session_id"] == session["id"]).unwrap();
        equal(
            row,
            session,
            &[("nominal_cpu_cores", "/nominal_cpu_cores"), ("nominal_memory_mb", "/nominal_memory_mb")],
        );
        assert_eq!(row["definition_name"], session["definition_name"]);
        compared += 1;
    }
    assert!(compared > 0, "no session of the past was observed");
    let id = observed.clone().next().unwrap()["id"].as_str().unwrap();
    tables_of_a_session(lablet, folder.path(), id).await;
    on_paper(browser, id).await;
    every_node_on_paper(lablet, browser).await;
}

async fn tables_of_a_session(lablet: &Lablet, folder: &Path, id: &str) {
    let table = async |table: &str| rows(lablet, folder, &format!("/sessions/{id}?table={table}&format=csv")).await;
    let listed = async |part: &str| {
        let answer = lablet.get(&format!("/api/lablet-sessions/{id}/{part}?limit=200")).await.unwrap();
        answer["items"].as_array().unwrap().clone()
    };
    let (rows, observations) = (table("observations").await, listed("resource-observations").await);
    assert_eq!(rows.len(), observations.len());
    for (row, observation) in rows.iter().zip(&observations) {
        assert_eq!(row["event_id"], observation["event_id"]);
        equal(
            row,
            observation,
            &[
                ("nominal_cpu_cores", "/nominal/cpu_cores"),
                ("nominal_memory_mb", "/nominal/memory_mb"),
                ("used_memory_mb", "/used/memory_mb"),
                ("used_storage_mb", "/used/storage_mb"),
                ("node_count", "/node_count"),
            ],
        );
    }
    let (rows, nodes) = (table("nodes").await, listed("nodes").await);
    assert!(!rows.is_empty() && rows.len() == nodes.len());
    for (row, node) in rows.iter().zip(&nodes) {
        assert_eq!(row["node_id"], node["node_id"]);
        equal(row, node, &[("nominal_memory_mb", "/nominal_memory_mb"), ("used_memory_mb", "/used_memory_mb")]);
    }
}

/// The same number, or unknown in both.
fn equal(row: &Value, answer: &Value, columns: &[(&str, &str)]) {
    for (column, pointer) in columns {
        let cell = row[column].as_str().unwrap();
        let told = answer.pointer(pointer).and_then(Value::as_f64);
        assert_eq!(cell.parse::<f64>().ok(), told, "{column} is {cell:?} in {row}, and in {answer}");
    }
}

async fn rows(lablet: &Lablet, folder: &Path, path: &str) -> Vec<Value> {
    let url = format!("{}{path}", lablet.ready().http);
    let answer = reqwest::Client::new().get(url).bearer_auth(&lablet.ready().admin_token).send().await.unwrap();
    let file = folder.join("table.csv");
    std::fs::write(&file, answer.error_for_status().unwrap().bytes().await.unwrap()).unwrap();
    let read = Command::new("python3").args(["-c", READ]).arg(&file).output().await.unwrap();
    assert!(read.status.success(), "{path}: {}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

/// A lab of more nodes than a page shows has all of them on paper.
async fn every_node_on_paper(lablet: &Lablet, browser: &Browser) {
    let workers = lablet.get("/api/workers?limit=1").await.unwrap();
    lablet.define("many-nodes").await.unwrap();
    let worker = workers["items"][0]["id"].as_str().unwrap();
    lablet.running_session("on-paper", "many-nodes", worker, "lab-of-many").await.unwrap();
    let node = |number: usize| json!({"node_id": format!("n{number}"), "label": format!("router-{number}"), "state": "BOOTED"});
    let nodes: Vec<Value> = (1..=NODES).map(node).collect();
    let seen = json!({"observed_resources": {"observer": "grading", "actual_node_count": NODES, "nodes": nodes}});
    let path = "/api/internal/lablet-sessions/on-paper";
    lablet.post(&format!("{path}/resource-observations"), seen).await.unwrap();
    let ended = json!({"new_status": "terminated", "reason": "it is printed only"});
    let position = lablet.post(&format!("{path}/transition"), ended).await.unwrap()["position"].clone();
    browser.goto(&format!("/sessions/on-paper?position={}", position.as_str().unwrap())).await.unwrap();
    let before = browser.clicks();
    browser.follow(&format!("Print with all {NODES} nodes")).await.unwrap();
    browser.wait_until_text(&format!("All {NODES} nodes are on this page")).await.unwrap();
    assert_eq!(browser.clicks() - before, 1);
    browser.appear_on_paper("session-all-nodes").await.unwrap();
    let text = browser.text().await.unwrap();
    for number in 1..=NODES {
        assert!(text.contains(&format!("router-{number}")), "node {number} is not on paper");
    }
    assert!(text.contains(&format!("{NODES} of {NODES} nodes")), "the evidence does not say that these are all");
    assert_eq!(browser.overflow().await.unwrap(), 0, "it is wider than the paper");
    browser.appear(DESKTOP).await.unwrap();
}

async fn on_paper(browser: &Browser, id: &str) {
    browser.goto(&format!("/sessions/{id}")).await.unwrap();
    browser.heading("Lifecycle").await.unwrap();
    let sheets = browser.print().await.unwrap().sheets_of_a4().unwrap();
    assert!((1..=8).contains(&sheets), "{sheets} sheets");
    browser.appear_on_paper("session").await.unwrap();
    let text = browser.text().await.unwrap();
    for evidence in [id, "BGP at the edge", "revision", "Its event", "As of position", "Printed", "observation"] {
        assert!(text.contains(evidence), "{evidence}: {text}");
    }
    assert!(!text.contains("Observe now") && !text.contains("CSV"), "{text}");
    assert_eq!(browser.overflow().await.unwrap(), 0, "it is wider than the paper");
    let cut = "return [...document.querySelectorAll('main *')].filter(part => part.scrollWidth > part.clientWidth + 1
        && getComputedStyle(part).overflowX !== 'visible' && !part.closest('.unseen')).map(part => part.outerHTML.slice(0, 200))";
    let cut: Vec<String> = browser.run(cut, vec![]).await.unwrap();
    assert!(cut.is_empty(), "cut off on paper: {cut:#?}");
    browser.appear(DESKTOP).await.unwrap();
}
