//! Every CSV file that the pages offer, found by following their links: numbers are numbers, units are in the headers, times
//! are times, and names stand beside ids.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde_json::json;

use crate::page_forms::{attribute, html, look, page};
use crate::world::{ADMIN, World, observation};

const PAGES: [&str; 14] = [
    "/",
    "/sessions",
    "/sessions/s1",
    "/sessions/s1/usage",
    "/drift",
    "/definitions",
    "/definitions/d1",
    "/sizing",
    "/workers",
    "/workers/w1",
    "/requests",
    "/search?text=1",
    "/operations",
    "/operations/dead-letters",
];

/// The tables of which each is offered somewhere: a file by the first word of its name.
const FILES: [&str; 19] = [
    "requests",
    "freshness",
    "sessions",
    "ports",
    "nodes",
    "life",
    "observations",
    "events",
    "port-drift",
    "definitions",
    "definition-d1-sessions",
    "definition-d1-revisions",
    "sizing-gaps",
    "workers",
    "port-map",
    "search",
    "controllers",
    "read-models",
    "consumers",
];

fn is_amount(header: &str) -> bool {
    ["_cores", "_mb", "_gb", "_percent", "_seconds", "_count", "_sessions"].iter().any(|unit| header.ends_with(unit))
}

fn is_time(header: &str) -> bool {
    ["_at", "_since", "_until"].iter().any(|end| header.ends_with(end)) || matches!(header, "at" | "since")
}

/// What is wrong with a file.
fn faults(content: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(table) = content.strip_prefix('\u{feff}') else { return vec!["no byte order mark".to_owned()] };
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let headers: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let all: BTreeSet<&str> = headers.iter().map(String::as_str).collect();
    if all.len() != headers.len() {
        faults.push("a header is there twice".to_owned());
    }
    for header in &headers {
        let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
        let of_resource = ["cpu", "memory", "storage"].iter().any(|word| header.contains(word));
        let is_other = ["_id", "_source", "_verdict"].iter().any(|end| header.ends_with(end));
        if !header.bytes().all(plain) || (of_resource && !is_other && !is_amount(header)) {
            faults.push(format!("the header {header} has no unit"));
        }
        let named = match header.as_str() {
            "definition_id" => ["definition_name", "name", "name"],
            "worker_id" => ["worker_name", "name", "title"],
            "session_id" => ["session_starts_at", "definition_name", "title"],
            _ => continue,
        };
        if !named.iter().any(|name| all.contains(name)) {
            faults.push(format!("no name beside {header}"));
        }
    }
    for row in reader.records() {
        let row = row.unwrap();
        for (header, cell) in headers.iter().zip(&row).filter(|(_, cell)| !cell.is_empty()) {
            let is_number = || cell.parse::<f64>().is_ok();
            if (is_amount(header) && !is_number())
                || (is_time(header) && DateTime::parse_from_rfc3339(cell).is_err())
                || (cell.contains(',') && cell.replace(',', "").parse::<f64>().is_ok())
            {
                faults.push(format!("{header} is {cell:?}"));
            }
        }
    }
    faults
}

async fn world() -> World {
    let mut world = World::start().await;
    world.project();
    world.session("s1", "running").await;
    let mut report = observation(3, &json!({"PC_serial": 5999, "PC_vnc": 5042}));
    report["observed_resources"]["total_cpu_cores"] = json!(1_234.5);
    world.post("/api/internal/lablet-sessions/s1/resource-observations", &report).await.expect(200);
    world.post("/api/lablet-sessions/s1/observe-resources", &json!({})).await.expect(202);
    world.settle().await;
    world
}

#[tokio::test]
async fn every_file_has_numbers_as_numbers_units_in_its_headers_and_names_beside_ids() {
    let world = world().await;
    let mut links = BTreeSet::new();
    for path in PAGES {
        let shown = page(&world, ADMIN, path).await;
        let found = shown.split("<a ").skip(1).filter_map(|tag| attribute(tag, "href"));
        links.extend(found.filter(|link| link.contains("format=csv")));
    }
    let mut wrong = BTreeMap::new();
    let mut names = BTreeSet::new();
    for link in links {
        let answer = look(&world, ADMIN, &link).await.expect(200);
        assert!(answer.header("content-type").starts_with("text/csv"), "{link}");
        let name = answer.header("content-disposition").split('"').nth(1).unwrap().trim_end_matches(".csv").to_owned();
        let faults = faults(html(&answer));
        if !faults.is_empty() {
            wrong.insert(format!("{link} {name}"), faults);
        }
        names.insert(name);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let missing: Vec<&str> =
        FILES.into_iter().filter(|file| !names.iter().any(|name| name.starts_with(file))).collect();
    assert!(missing.is_empty(), "{missing:?} is offered nowhere, only {names:?}");
}

#[tokio::test]
async fn a_file_says_the_same_numbers_in_the_same_units_as_the_api() {
    let world = world().await;
    let content = look(&world, ADMIN, "/sessions?format=csv").await.expect(200);
    let mut reader = csv::Reader::from_reader(html(&content).trim_start_matches('\u{feff}').as_bytes());
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().collect::<Result<_, _>>().unwrap();
    let session = world.get("/api/lablet-sessions/s1").await.expect(200).body;
    let row = &rows[0];
    assert_eq!(row["nominal_cpu_cores"], "1234.5");
    for amount in ["nominal_cpu_cores", "nominal_memory_mb"] {
        assert_eq!(row[amount].parse::<f64>().ok(), session[amount].as_f64(), "{amount}");
    }
    assert_eq!((row["definition_name"].as_str(), row["worker_name"].as_str()), ("Routing basics", "CML one"));
    assert_eq!(row["allocated_ports"], "PC_serial=5041 PC_vnc=5042");
    assert_eq!(row["observed_ports"], "PC_serial=5999 PC_vnc=5042");
    let requests = look(&world, ADMIN, "/requests?format=csv").await.expect(200);
    assert!(html(&requests).contains(",Routing basics,w1,CML one,"), "{}", html(&requests));
}
