//! An empty installation leads from the first sign-in to the first observation, with a bound on clicks.

use harness::{Browser, Lablet, LabletOptions, eventually, sign_in_by_link};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{SOON, look_at, options};
use crate::journeys::outcomes::{TOPOLOGY, credentials, simulator};

/// Clicks from the link that signs in to the first observation.
const MOST_CLICKS: u32 = 9;

/// What the commands use of curl, which not every machine has that runs the tests.
const CURL: &str = "
import sys, urllib.request
arguments, headers, method, body = sys.argv[1:], {}, None, None
while arguments:
    argument = arguments.pop(0)
    if argument == \"-X\": method = arguments.pop(0)
    elif argument == \"-H\": headers.update([arguments.pop(0).split(\": \", 1)])
    elif argument == \"-d\": body = arguments.pop(0).encode()
    else: url = argument
urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))
";

#[tokio::test]
async fn an_empty_installation_leads_to_its_first_observation() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, lab) = simulator().await;
    let environment = credentials(&simulator, folder.path());
    let lablet = Lablet::start(LabletOptions { environment, ..options() }).await.unwrap();
    let browser = lablet.browser().await.unwrap();
    a_viewer_sees_the_steps_and_why_they_are_not_theirs(&lablet, &browser).await;

    let before = browser.clicks();
    sign_in_by_link(&browser, lablet.ready().sign_in_url.as_deref().unwrap()).await.unwrap();
    // The controller has its credentials, and says so by itself.
    let steps = browser.part("First steps").await.unwrap();
    steps.wait_until_text("1 of 5 done").await.unwrap();
    register_a_worker(&browser, &simulator.url()).await;
    create_a_definition(&browser).await;
    create_a_session_and_observe_it(&lablet, &browser, &lab).await;
    let clicks = browser.clicks() - before;
    assert!(clicks <= MOST_CLICKS, "{clicks} clicks from the first sign-in to the first observation");

    // What is done leads no longer, and is to be had by a link.
    browser.goto("/").await.unwrap();
    browser.heading("Running sessions").await.unwrap();
    assert!(!browser.text().await.unwrap().contains("of 5 done"));
    browser.follow("First steps").await.unwrap();
    browser.wait_until_text("5 of 5 done").await.unwrap();
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

async fn a_viewer_sees_the_steps_and_why_they_are_not_theirs(lablet: &Lablet, browser: &Browser) {
    lablet.sign_in(browser, "Vera", "viewer").await.unwrap();
    browser.part("First steps").await.unwrap().wait_until_text("1 of 5 done").await.unwrap();
    for action in ["New worker", "New definition"] {
        let button = browser.button(action).await.unwrap();
        assert!(!button.enabled && button.description.contains("admin"), "{action}: {}", button.description);
    }
    look_at(browser, "first-steps-viewer").await;
    browser.forget_cookies().await.unwrap();
}

async fn register_a_worker(browser: &Browser, address: &str) {
    browser.follow("New worker").await.unwrap();
    browser.heading("New worker").await.unwrap();
    assert_eq!(browser.focus().await.unwrap().name, "Name");
    browser.fill("Name", "CML 1").await.unwrap();
    browser.fill("Address", "cml-1").await.unwrap();
    browser.fill("Id (optional)", "cml-1").await.unwrap();
    for (field, amount) in
        [("CPU cores", "64"), ("Memory, GB", "256"), ("Storage, GB", "1000"), ("Nodes at most", "320")]
    {
        browser.fill(field, amount).await.unwrap();
    }
    browser.expect_console("status of 400");
    browser.press_button("Register the worker").await.unwrap();
    browser.notice("1 field cannot be taken as typed").await.unwrap();
    assert_eq!(browser.focus().await.unwrap().name, "Address");
    look_at(browser, "new-worker-refused").await;
    browser.fill("Address", address).await.unwrap();
    browser.press_button("Register the worker").await.unwrap();
    browser.wait_until_text("2 of 5 done").await.unwrap();
}

async fn create_a_definition(browser: &Browser) {
    browser.follow("New definition").await.unwrap();
    browser.heading("New definition").await.unwrap();
    look_at(browser, "new-definition").await;
    choose_a_file(browser, TOPOLOGY).await;
    browser.press_button("Read the topology").await.unwrap();
    browser.notice("2 nodes of 2 node definitions, 1 port").await.unwrap();
    assert_eq!(browser.field("Name").await.unwrap().value().await.unwrap(), "Small");
    look_at(browser, "new-definition-imported").await;
    for (field, amount) in [("Id (optional)", "small"), ("CPU cores", "2"), ("Memory, GB", "4"), ("Storage, GB", "10")]
    {
        browser.fill(field, amount).await.unwrap();
    }
    browser.press_button("Create the definition").await.unwrap();
    browser.wait_until_text("3 of 5 done").await.unwrap();
}

/// As a person does it in the dialog of their system.
async fn choose_a_file(browser: &Browser, content: &str) {
    let choose = "const input = document.querySelector('input[type=file]');
        const files = new DataTransfer();
        files.items.add(new File([arguments[0]], 'small.yaml'));
        input.files = files.files;
        input.dispatchEvent(new Event('change', { bubbles: true }));";
    browser.run::<Value>(choose, vec![json!(content)]).await.unwrap();
    browser
        .wait_until("the file in the text", async || {
            let text = browser.run::<String>("return document.querySelector('#cml_yaml').value", vec![]).await?;
            Ok((text == content).then_some(()))
        })
        .await
        .unwrap();
}

/// The commands are those of the page, as they stand there; each step ticks itself off without loading the page again.
async fn create_a_session_and_observe_it(lablet: &Lablet, browser: &Browser, lab: &str) {
    let load = browser.page_load().await.unwrap();
    look_at(browser, "first-steps").await;
    let (by_command, by_curl) = commands_of(browser, "session").await;
    type_into_a_shell(lablet, &by_command, lab).await;
    type_into_a_shell(lablet, &by_curl, lab).await;
    browser.wait_until_text("4 of 5 done").await.unwrap();
    let (by_command, by_curl) = commands_of(browser, "observation").await;
    let ids = eventually("both sessions", SOON, async || {
        let sessions = lablet.get("/api/lablet-sessions").await.unwrap();
        let ids = sessions["items"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
        <[String; 2]>::try_from(ids.collect::<Vec<_>>()).ok()
    })
    .await;
    let [shown, other] = if by_curl.contains(&ids[0]) { ids } else { [ids[1].clone(), ids[0].clone()] };
    type_into_a_shell(lablet, &by_curl, lab).await;
    type_into_a_shell(lablet, &by_command.replace(&shown, &other), lab).await;
    browser.button("Observe now").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "the page was loaded again");
    browser.press_button("Observe now").await.unwrap();
    browser.heading("Lifecycle").await.unwrap();
    browser.follow("First steps").await.unwrap();
    browser.wait_until_text("5 of 5 done").await.unwrap();
}

/// What stands at a step to be copied: by `lablet`, and by curl.
async fn commands_of(browser: &Browser, step: &str) -> (String, String) {
    let selector = format!("#step-{step} button[data-copy]");
    let commands: Vec<String> = browser
        .wait_until("commands to copy", async || {
            let find = "return [...document.querySelectorAll(arguments[0])].map((button) => button.dataset.copy)";
            let found = browser.run::<Vec<String>>(find, vec![json!(selector)]).await?;
            Ok((!found.is_empty()).then_some(found))
        })
        .await
        .unwrap();
    let [by_command, by_curl] = commands.as_slice() else { panic!("{commands:?}") };
    assert!(by_command.starts_with("lablet session ") && by_curl.contains("curl -X POST"), "{commands:?}");
    (by_command.clone(), by_curl.clone())
}

/// Into one that knows the key and the lab, and nothing else of this installation.
async fn type_into_a_shell(lablet: &Lablet, command: &str, lab: &str) {
    let key = &lablet.ready().internal_api_key;
    assert!(!command.contains(key), "a secret on the page");
    let known = format!("curl() {{ python3 -c '{CURL}' \"$@\"; }}; lablet() {{ \"$LABLET\" \"$@\"; }}");
    let done = Command::new("sh")
        .args(["-c", &format!("{known}; set -e; {command}")])
        .env("LABLET", lablet.program())
        .env("LABLET_DATA_DIR", lablet.data_dir().join("none"))
        .env("LABLET_INTERNAL_API_KEY", key)
        .env("CML_LAB_ID", lab)
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}
