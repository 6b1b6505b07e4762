//! Topologies of all kinds are loaded, run and read.

use std::path::{Path, PathBuf};

use serde_json::Value;
use simulator::{Simulator, SimulatorError, SimulatorOptions};

use crate::client::{Controller, options, real_topologies, samples};

/// Every lab of a folder answers every read, before it runs, while it boots and when it has stopped.
async fn run_all_of(folder: PathBuf) -> Vec<(String, usize)> {
    let controller = Controller::with(SimulatorOptions { topologies: Some(folder), ..options() }).await;
    let mut labs = Vec::new();
    for (id, title) in controller.simulator.labs() {
        let mut nodes = 0;
        for step in 0..3 {
            for path in ["topology", "lab_element_state", "simulation_stats", "layer3_addresses"] {
                controller.get(&format!("/labs/{id}/{path}?exclude_configurations=true")).await;
            }
            let path = format!("/labs/{id}/nodes?data=true&operational=true&exclude_configurations=true");
            let list = controller.get(&path).await;
            nodes = list.as_array().unwrap().len();
            let started = list.as_array().unwrap().iter().filter(|node| node["operational"] != Value::Null).count();
            assert_eq!(started, if step == 1 { nodes } else { 0 }, "{title} in step {step}");
            match step {
                0 => controller.boot(&id),
                1 => controller.simulator.stop_lab(&id).unwrap(),
                _ => {}
            }
        }
        labs.push((title, nodes));
    }
    labs
}

#[tokio::test]
async fn the_samples_run() {
    let labs = run_all_of(samples()).await;
    assert_eq!(labs, [("Empty".into(), 0), ("Oldest form".into(), 2), ("Three tiers".into(), 5)]);
}

#[tokio::test]
async fn the_labs_of_the_demo_run() {
    let labs = run_all_of(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")).await;
    assert_eq!(labs.len(), 7);
    assert!(labs.iter().all(|(_, nodes)| (2..=40).contains(nodes)), "{labs:?}");
}

#[tokio::test]
async fn real_topologies_run() {
    let Some(folder) = real_topologies() else { return };
    let labs = run_all_of(folder).await;
    assert!(labs.iter().any(|(_, nodes)| *nodes == 302), "{labs:?}");
}

#[tokio::test]
async fn a_file_of_a_folder_that_is_no_topology_is_named_and_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write("a.yaml", b"{lab: {title: first}, nodes: []}");
    write("broken.yaml", b"nodes: [{id: n0}]");
    write("latin-1.yml", b"lab: {title: caf\xe9}\nnodes: []");
    write("notes.txt", b"not looked at");
    write("z.yaml", b"{lab: {title: last}, nodes: null}");
    std::fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("gone.yaml")).unwrap();
    let with = |topologies: PathBuf| SimulatorOptions { topologies: Some(topologies), ..options() };
    let simulator = Simulator::start(with(folder.path().to_owned())).await.unwrap();
    let titles: Vec<String> = simulator.labs().into_iter().map(|(_, title)| title).collect();
    assert_eq!(titles, ["first", "last"]);
    let unreadable = simulator.unreadable_topologies();
    let names: Vec<&str> = unreadable.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["broken.yaml", "folder.yaml", "gone.yaml", "latin-1.yml"]);
    assert!(unreadable[0].reason.contains("label"), "{unreadable:?}");
    simulator.stop().await;

    // Alone, the same file is an error, and so is a folder of which nothing is left.
    let error = Simulator::start(with(folder.path().join("broken.yaml"))).await.err().expect("it does not start");
    assert!(matches!(error, SimulatorError::File { .. }), "{error}");
    for good in ["a.yaml", "z.yaml"] {
        std::fs::remove_file(folder.path().join(good)).unwrap();
    }
    let error = Simulator::start(with(folder.path().to_owned())).await.err().expect("it does not start");
    assert!(matches!(error, SimulatorError::NoneLoaded { count: 4, .. }), "{error}");
    assert!(error.to_string().contains("broken.yaml"), "{error}");
}
