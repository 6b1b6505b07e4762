//! An empty installation: what the pages lead to, and the forms of a worker and a definition.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::page_forms::{fields, html, page, submit};
use crate::world::{ADMIN, OPERATOR, VIEWER, World, observation};

const LAB: &str = "lab: {title: OSPF in one area, description: About OSPF}\nnodes:\n\
    - {id: n0, label: PC, node_definition: desktop, cpus: 1, ram: 700, boot_disk_size: 9, tags: ['serial:5041']}\n\
    - {id: n1, label: R1, node_definition: iosv, cpus: 1, ram: 700, boot_disk_size: 2, tags: ['pat:x:22']}\n";

/// The ids of the steps that are done.
fn done(page: &str) -> Vec<&str> {
    let steps = page.split("<li id=\"step-").skip(1);
    steps.filter(|step| step.contains("class=\"done\"")).filter_map(|step| step.split('"').next()).collect()
}

fn typed(form: &BTreeMap<String, String>, values: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut form = form.clone();
    form.extend(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    form
}

#[tokio::test]
async fn the_overview_leads_from_nothing_to_the_first_observation_and_then_no_more() {
    let mut world = World::start().await;
    world.project();
    let empty = page(&world, ADMIN, "/").await;
    assert!(empty.contains("0 of 5 done") && done(&empty).is_empty(), "{empty}");
    assert!(empty.contains("href=\"/workers/new?first_steps=true\""), "{empty}");
    for (token, role) in [(VIEWER, "viewer"), (OPERATOR, "operator")] {
        let seen = page(&world, token, "/first-steps").await;
        assert!(seen.contains(&format!("This needs the role admin; you are signed in as {role}.")), "{seen}");
        assert!(!seen.contains("href=\"/workers/new"), "{seen}");
    }

    world.session("s1", "running").await;
    world.settle().await;
    let running = page(&world, VIEWER, "/first-steps").await;
    assert_eq!(done(&running), ["worker", "definition", "session"], "{running}");
    assert!(running.contains("This needs the role operator"), "{running}");
    assert!(page(&world, OPERATOR, "/").await.contains("action=\"/sessions/s1/observe\""));

    let report = observation(1, &serde_json::json!({}));
    world.post("/api/internal/lablet-sessions/s1/resource-observations", &report).await.expect(200);
    world.settle().await;
    let observed = page(&world, ADMIN, "/first-steps").await;
    assert_eq!(done(&observed), ["worker", "definition", "session", "observation"], "{observed}");
    crate::world::until("the overview without the steps", async || {
        let overview = page(&world, ADMIN, "/").await;
        if overview.contains("id=\"first-steps\"") { Err(overview) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_worker_is_registered_by_a_form_that_says_beside_each_field_what_is_wrong() {
    let mut world = World::start().await;
    world.project();
    let form = fields(&page(&world, ADMIN, "/workers/new").await, "/workers");
    let wrong = typed(&form, &[("name", "CML 1"), ("address", "cml-1"), ("cpu_cores", "many"), ("memory_gb", "64")]);
    let refused = submit(&world, ADMIN, "/workers", &wrong).await.expect(400);
    let refused = html(&refused);
    assert!(refused.contains("4 fields cannot be taken as typed"), "{refused}");
    for text in ["Address is no URL; expected an https URL", "value=\"many\"", "Storage, GB is missing"] {
        assert!(refused.contains(text), "{text}: {refused}");
    }
    // The first of them has the focus.
    let focused = refused.split("<input").find(|input| input.contains("autofocus")).unwrap();
    assert!(focused.contains("id=\"address\""), "{focused}");

    let right = [
        ("id", "cml-1"),
        ("address", "https://cml-1.example.org"),
        ("cpu_cores", "32"),
        ("storage_gb", "500"),
        ("max_nodes", "100"),
    ];
    let right = typed(&wrong, &right);
    let made = submit(&world, ADMIN, "/workers", &right).await.expect(303);
    let to = made.header("location").to_owned();
    assert!(to.starts_with("/workers/cml-1?position="), "{to}");
    assert!(page(&world, ADMIN, &to).await.contains("CML 1"));
    let worker = world.get("/api/workers/cml-1").await.expect(200).body;
    assert_eq!(worker["capacity"]["cpu_cores"], 32);
    assert_eq!(worker["port_range"], serde_json::json!({"first": 2000, "last": 7999}));

    // A form that is sent twice is one command; another with the same id is refused at its field.
    submit(&world, ADMIN, "/workers", &right).await.expect(303);
    let again = typed(&right, &[("idempotency_key", "another"), ("name", "CML 2")]);
    let taken = submit(&world, ADMIN, "/workers", &again).await.expect(400);
    assert!(html(&taken).contains("Id &#34;cml-1&#34; is taken"), "{}", html(&taken));
    for token in [VIEWER, OPERATOR] {
        let again = typed(&right, &[("idempotency_key", "third"), ("id", "cml-3")]);
        submit(&world, token, "/workers", &again).await.expect(403);
        assert!(page(&world, token, "/workers/new").await.contains("This needs the role admin"));
    }
}

#[tokio::test]
async fn a_topology_of_cml_fills_the_form_of_a_definition_in() {
    let mut world = World::start().await;
    world.project();
    let import = fields(&page(&world, ADMIN, "/definitions/new").await, "/definitions/import");
    for (yaml, told) in [
        ("", "The topology is empty"),
        ("nodes: [{node_definition: iosv, ram: 4000000000}]", "nodes[0].ram is"),
        ("nodes: [", "The topology cannot be read"),
    ] {
        let refused = submit(&world, ADMIN, "/definitions/import", &typed(&import, &[("cml_yaml", yaml)])).await;
        let refused = refused.expect(400);
        assert!(html(&refused).contains(told), "{told}: {}", html(&refused));
        assert!(html(&refused).contains("aria-invalid=\"true\" autofocus"), "{}", html(&refused));
    }
    let read = submit(&world, ADMIN, "/definitions/import", &typed(&import, &[("cml_yaml", LAB)])).await.expect(200);
    let read = html(&read);
    assert!(read.contains("2 nodes of 2 node definitions, 1 port.") && read.contains("pat:x:22"), "{read}");
    let form = fields(read, "/definitions");
    assert_eq!(
        (form["name"].as_str(), form["cpu_cores"].as_str(), form["memory_gb"].as_str(), form["storage_gb"].as_str()),
        ("OSPF in one area", "2", "2", "11")
    );
    assert_eq!(form["ports"], "PC_serial serial");
    assert!(world.get("/api/lablet-definitions").await.body["items"].as_array().unwrap().is_empty());

    let wrong = typed(&form, &[("ports", "PC_serial serial\nR1"), ("memory_gb", "0")]);
    let refused = submit(&world, ADMIN, "/definitions", &wrong).await.expect(400);
    assert!(html(&refused).contains("Ports of line 2 is &#34;R1&#34;"), "{}", html(&refused));
    let made = submit(&world, ADMIN, "/definitions", &typed(&form, &[("id", "ospf")])).await.expect(303);
    assert!(made.header("location").starts_with("/definitions/ospf?position="));
    let definition = world.get("/api/lablet-definitions/ospf").await.expect(200).body;
    assert_eq!((&definition["node_count"], &definition["version"]), (&2.into(), &"1.0".into()));
    assert_eq!(definition["topology"]["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(definition["port_template"]["ports"][0]["name"], "PC_serial");
    submit(&world, VIEWER, "/definitions", &typed(&form, &[("idempotency_key", "v")])).await.expect(403);
    submit(&world, VIEWER, "/definitions/import", &typed(&import, &[("cml_yaml", LAB)])).await.expect(403);
}

#[tokio::test]
async fn a_topology_as_large_as_the_largest_real_ones_is_taken_from_a_form_and_a_larger_one_is_not() {
    let world = World::start().await;
    let import = fields(&page(&world, ADMIN, "/definitions/new").await, "/definitions/import");
    let mut yaml = "lab: {title: Large}\nnodes:\n".to_owned();
    for node in 0..300 {
        let configuration = "interface: GigabitEthernet0/0 ".repeat(110);
        writeln!(yaml, "- {{id: n{node}, label: R{node}, node_definition: iosv, configuration: '{configuration}'}}")
            .unwrap();
    }
    assert!(yaml.len() > 900_000);
    let read = submit(&world, ADMIN, "/definitions/import", &typed(&import, &[("cml_yaml", &yaml)])).await.expect(200);
    assert!(html(&read).contains("300 nodes of 1 node definition, 0 ports"));
    let too_large = "x".repeat(13 * 1024 * 1024);
    submit(&world, ADMIN, "/definitions/import", &typed(&import, &[("cml_yaml", &too_large)])).await.expect(413);
}
