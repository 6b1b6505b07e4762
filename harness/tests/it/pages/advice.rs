//! Advice in a browser: from the number that is recommended to the reading that set it, and from a proposal to its revision.

use harness::{Browser, Lablet, eventually};
use serde_json::{Value, json};

use super::{SOON, look_at};

/// A session of `ospf` that needed this much memory, and ended.
async fn ended(lablet: &Lablet, id: &str, memory_mb: f64) {
    let lab = format!("lab-{id}");
    lablet.running_session(id, "ospf", "cml-1", &lab).await.unwrap();
    let path = format!("/api/internal/lablet-sessions/{id}");
    let node = |number: u32| {
        json!({"node_id": format!("n{number}"), "label": format!("R{number}"), "node_definition": "iosv", "state": "BOOTED",
               "cpu_limit": 100, "ram_mb": 2048, "tags": [], "interfaces": []})
    };
    let report = json!({
        "observed_resources": {
            "observed_at": "2026-03-01T10:00:00Z", "observer": "grading", "total_cpu_cores": 2.0, "total_memory_mb": 4096.0,
            "total_storage_mb": null, "actual_node_count": 2, "nodes": [node(1), node(2)],
            "usage": {"memory_mb": memory_mb, "cpu_cores": 0.5},
        },
        "observed_ports": {},
    });
    lablet.post(&format!("{path}/resource-observations"), report).await.unwrap();
    for step in ["collecting", "grading"] {
        lablet.post(&format!("{path}/transition"), json!({ "new_status": step })).await.unwrap();
    }
}

pub(super) async fn world() -> Lablet {
    let lablet = super::start().await;
    lablet.define("ospf").await.unwrap();
    lablet.register_worker("cml-1", "https://cml-1.example.org").await.unwrap();
    for (number, memory) in [1200.0, 1500.0, 1300.0, 1400.0].into_iter().enumerate() {
        ended(&lablet, &format!("s{number}"), memory).await;
    }
    lablet
}

#[tokio::test]
async fn two_clicks_lead_from_a_number_to_the_reading_that_set_it_and_a_slider_shows_what_a_promise_costs() {
    let lablet = world().await;
    let browser = lablet.browser_of("Ada", "admin").await.unwrap();
    browser.goto("/definitions/ospf").await.unwrap();
    let advice = browser.part("Advice").await.unwrap();
    advice.wait_until_text("seen 4 sessions; the largest used 1.46 GB").await.unwrap();
    look_at(&browser, "definition-advice").await;

    let row = browser.part("Advice").await.unwrap().row("Memory").await.unwrap();
    let recommended = row.links().await.unwrap().remove(0).name;
    row.follow(&recommended).await.unwrap();
    browser.heading("Step by step").await.unwrap();
    let readings = browser.part("Readings that set it").await.unwrap();
    let greatest = readings.row("1.46 GB").await.unwrap();
    look_at(&browser, "explanation").await;
    let link = greatest.links().await.unwrap().into_iter().find(|link| link.name.starts_with("observed")).unwrap();
    link.click().await.unwrap();
    browser.heading("lablet_session.resources_observed.v1").await.unwrap();
    browser.wait_until_text("1500").await.unwrap();

    slide(&browser).await;
    as_it_was(&browser).await;
    exclude(&browser).await;
    policy(&browser).await;
    for (page, path, heading) in [
        ("advice", "/advice", "Score"),
        (
            "back-test",
            "/definitions/ospf/back-test?memory_gb=1&promise=0.5&beside=0.99",
            "Two promises on the same past",
        ),
        ("proposals", "/proposals", "Proposals"),
    ] {
        browser.goto(path).await.unwrap();
        browser.heading(heading).await.unwrap();
        look_at(&browser, page).await;
    }
    typed(&browser).await;
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

/// Without loading the page again: the section follows the slider, and so does the address.
async fn slide(browser: &Browser) {
    browser.goto("/definitions/ospf").await.unwrap();
    let load = browser.page_load().await.unwrap();
    let move_it = "const it = document.getElementById('promise'); it.value = '0.8';
                   it.dispatchEvent(new Event('input', { bubbles: true })); return true;";
    browser.run::<bool>(move_it, vec![]).await.unwrap();
    browser.wait_until_text("80 of 100 sessions within their memory").await.unwrap();
    browser.wait_until_url("promise=0.8").await.unwrap();
    browser.wait_until_text("the policy promises 95 of 100").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "nothing was loaded again");
}

async fn as_it_was(browser: &Browser) {
    browser.goto("/definitions/ospf/advice?resource=memory_mb&after=2").await.unwrap();
    browser.wait_until_text("after 2 of 4").await.unwrap();
    browser.wait_until_text("The mean of 2 sessions.").await.unwrap();
    look_at(browser, "explanation-as-of").await;
}

async fn exclude(browser: &Browser) {
    browser.goto("/definitions/ospf/evidence").await.unwrap();
    let open = "document.querySelector('#e-s1 details').open = true; return true;";
    browser.run::<bool>(open, vec![]).await.unwrap();
    let row = browser.row("s1").await.unwrap();
    row.fill("Why", "a stress test").await.unwrap();
    row.press_button("Exclude").await.unwrap();
    browser.wait_until_text("excluded by admin:Ada: a stress test").await.unwrap();
    look_at(browser, "evidence").await;
    browser.goto("/definitions/ospf").await.unwrap();
    browser.wait_until_text("seen 3 sessions; the largest used 1.37 GB").await.unwrap();
}

async fn policy(browser: &Browser) {
    browser.follow("Policy").await.unwrap();
    browser.fill("Promise, %", "many").await.unwrap();
    browser.expect_console("status of 400");
    browser.press_button("Review").await.unwrap();
    browser.notice("cannot be taken as typed").await.unwrap();
    look_at(browser, "policy-refused").await;
    browser.fill("Promise, %", "90").await.unwrap();
    browser.choose("Proposals are applied by", "itself, at once").await.unwrap();
    browser.press_button("Review").await.unwrap();
    browser.wait_until_text("Proposals apply by themselves").await.unwrap();
    browser.heading("Both on the same past").await.unwrap();
    look_at(browser, "policy-review").await;
}

/// The back-test of the form follows what is typed.
async fn typed(browser: &Browser) {
    browser.goto("/definitions/ospf/edit?from=custom").await.unwrap();
    browser.wait_until_text("none short").await.unwrap();
    browser.fill("Memory, GB", "1").await.unwrap();
    browser.wait_until_text("3 short").await.unwrap();
    look_at(browser, "edit-back-test").await;
    browser.press_button("Review").await.unwrap();
    browser.heading("This size on past sessions").await.unwrap();
    look_at(browser, "review-back-test").await;
}

#[tokio::test]
async fn a_proposal_is_applied_through_its_review_and_waits_for_the_sessions_that_verify_it() {
    let lablet = world().await;
    let browser = lablet.browser_of("Ada", "admin").await.unwrap();
    browser.goto("/definitions/ospf").await.unwrap();
    let proposal = browser.part("Proposal").await.unwrap();
    proposal.wait_until_text("2 GB").await.unwrap();
    proposal.press_button("Claim").await.unwrap();
    browser.wait_until_text("Claimed by admin:Ada").await.unwrap();
    look_at(&browser, "proposal").await;
    browser.follow("Apply").await.unwrap();
    browser.heading("This size on past sessions").await.unwrap();
    look_at(&browser, "proposal-review").await;
    browser.press_button("Apply this revision").await.unwrap();
    browser.notice("Revision 2 is recorded").await.unwrap();
    browser.wait_until_text("to be verified: 0 of 3 sessions").await.unwrap();
    browser.goto("/").await.unwrap();
    browser.part("Proposed sizes").await.unwrap().wait_until_text("Nothing is proposed").await.unwrap();
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn a_proposal_that_did_not_hold_leads_to_one_that_goes_back_and_is_applied_through_its_review() {
    let lablet = world().await;
    let browser = lablet.browser_of("Ada", "admin").await.unwrap();
    let open = eventually("a proposal", SOON, || async {
        let page = lablet.get("/api/proposals?definition_id=ospf&status=open").await.unwrap();
        page["items"][0]["proposal_id"].as_str().map(str::to_owned)
    })
    .await;
    let (applied, output) = lablet.run(&["proposal", "apply", &open]).await.unwrap();
    assert!(applied, "{output}");
    // Little more than what was applied: what the first of them asks for, where the proposer looks between them, is another
    // size than the one before, to which it leads back.
    for number in 0..2 {
        ended(&lablet, &format!("short{number}"), 2060.0).await;
    }
    browser.goto("/definitions/ospf").await.unwrap();
    browser.wait_until_text("Proposal to go back").await.unwrap();
    look_at(&browser, "proposal-to-go-back").await;
    let back = browser.part("Proposal to go back").await.unwrap();
    back.wait_until_text("4 GB").await.unwrap();
    back.follow("the proposal that did not hold").await.unwrap();
    browser.wait_until_text("did not hold over 2 sessions").await.unwrap();
    browser.wait_until_text("The size before is proposed again.").await.unwrap();
    look_at(&browser, "proposal-that-did-not-hold").await;
    browser.back().await.unwrap();
    browser.part("Proposal to go back").await.unwrap().follow("Apply").await.unwrap();
    browser.heading("This size on past sessions").await.unwrap();
    browser.press_button("Apply this revision").await.unwrap();
    browser.notice("Revision 3 is recorded").await.unwrap();
    let definition = lablet.get("/api/lablet-definitions/ospf").await.unwrap();
    assert_eq!(definition["resource_requirements"]["memory_gb"], 4);
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn the_pages_assets_are_light() {
    let lablet = super::start().await;
    let browser = lablet.browser_of("Ada", "admin").await.unwrap();
    browser.goto("/advice").await.unwrap();
    let weight = browser.weight().await.unwrap();
    assert!(weight.total - weight.html < 150_000, "{weight:?}");
    let told: Value = lablet.get("/api/advice-score").await.unwrap();
    assert!(told["totals"].is_array(), "{told}");
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}
