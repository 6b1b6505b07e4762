//! What a running session uses, in a browser: the chart grows, and the observation afterwards has the same peak.

use harness::{Browser, Lablet, LabletOptions, eventually, sign_in_by_link};
use serde_json::Value;

use super::{SOON, look_at, options};

/// A definition of the demonstration with several nodes that compute.
const DEFINITION: &str = "demo-web";
/// Sessions that are watched at most: a page that was opened too late for the first sample cannot know every peak.
const MOST_SESSIONS: usize = 5;
/// What a spread may err, as it is made of a sketch, and what two decimals hide.
const TOLERANCE: f64 = 0.011;

#[tokio::test]
async fn a_running_sessions_chart_grows_and_its_observation_has_the_same_peak() {
    let lablet = Lablet::start(LabletOptions { demo: true, ..options() }).await.unwrap();
    // The line of a page may be waited for as long as a session's timeslot takes.
    let browser = lablet.browser().await.unwrap().with_timeout(std::time::Duration::from_secs(120));
    sign_in_by_link(&browser, lablet.ready().sign_in_url.as_deref().unwrap()).await.unwrap();
    let mut known = Vec::new();
    loop {
        assert!(known.len() < MOST_SESSIONS, "no page was open before the first sample of its session");
        let session = new_session(&lablet, &known).await;
        known.push(session.clone());
        watch_it_grow(&browser, &session).await;
        if compare(&lablet, &browser, &session).await {
            break;
        }
    }
    for name in ["Nodes by peak", "As a table"] {
        let script = "for (const part of document.querySelectorAll('details')) \
                      if (part.querySelector('summary').textContent === arguments[0]) part.open = true;";
        browser.run::<Value>(script, vec![name.into()]).await.unwrap();
    }
    browser.wait_until_text("95th percentile").await.unwrap();
    look_at(&browser, "session-used").await;
    browser.follow("observation").await.unwrap();
    browser.back().await.unwrap();
    let session = known.pop().unwrap();
    browser.goto(&format!("/sessions/{session}/usage")).await.unwrap();
    browser.heading("Nodes by peak").await.unwrap();
    look_at(&browser, "session-usage").await;
    browser.goto(&format!("/definitions/{DEFINITION}")).await.unwrap();
    look_at(&browser, "definition-used").await;
    browser.finish().await.unwrap();
    lablet.stop().await.unwrap();
}

/// A session that is none of these and does not run yet.
async fn new_session(lablet: &Lablet, known: &[String]) -> String {
    eventually("a session that does not run yet", SOON, async || {
        for status in ["pending", "scheduled", "instantiating"] {
            let path = format!("/api/lablet-sessions?definition_id={DEFINITION}&status={status}&limit=20");
            let page = lablet.get(&path).await.ok()?;
            let mut ids = page["items"].as_array()?.iter().filter_map(|row| row["id"].as_str());
            if let Some(id) = ids.find(|id| known.iter().all(|known| known != id)) {
                return Some(id.to_owned());
            }
        }
        None
    })
    .await
}

async fn points(browser: &Browser) -> anyhow::Result<u64> {
    let script = "return Number(document.querySelector('#live-use figure').dataset.points || 0)";
    browser.run(script, vec![]).await
}

async fn watch_it_grow(browser: &Browser, session: &str) {
    browser.goto(&format!("/sessions/{session}")).await.unwrap();
    browser.heading("Use now").await.unwrap();
    let load = browser.page_load().await.unwrap();
    for wanted in [1, 3, 5] {
        browser
            .wait_until("the chart to grow", async || Ok((points(browser).await? >= wanted).then_some(())))
            .await
            .unwrap();
    }
    browser.wait_until_text("no longer sampled").await.unwrap();
    browser.heading("Use: boot and steady").await.unwrap();
    assert_eq!(browser.page_load().await.unwrap(), load, "the page was loaded again");
}

/// Whether the page heard every sample of the session, and then that both have the same peak.
async fn compare(lablet: &Lablet, browser: &Browser, session: &str) -> bool {
    let path = format!("/api/lablet-sessions/{session}/resource-observations?limit=1");
    let observations = lablet.get(&path).await.unwrap();
    let event_id = observations["items"][0]["event_id"].as_str().unwrap().to_owned();
    let event = lablet.get(&format!("/api/events/{event_id}")).await.unwrap();
    let profile = &event["data"]["observed_resources"]["profile"];
    let clock = |name: &str| profile[name].as_str().expect("it was sampled")[11..19].to_owned();
    let script = "document.querySelector('#live-use [data-rows]').closest('details').open = true; \
                  return [...document.querySelectorAll('#live-use [data-rows] tr')].map(row => \
                      [row.cells[0].textContent, row.cells[1].textContent, row.cells[2].textContent])";
    let shown = async || {
        let rows: Vec<[String; 3]> = browser.run(script, vec![]).await?;
        Ok((!rows.is_empty()).then_some(rows))
    };
    let rows = browser.wait_until("the samples as a table", shown).await.unwrap();
    let heard = rows.iter().filter(|[at, ..]| *at <= clock("to")).count();
    if u64::try_from(heard).unwrap() < profile["samples"].as_u64().expect("it was sampled") {
        return false;
    }
    for phase in ["boot", "steady"] {
        let of_phase = rows.iter().filter(|[at, row, _]| row == phase && *at <= clock("to"));
        let seen = of_phase.filter_map(|[_, _, cores]| cores.parse::<f64>().ok()).reduce(f64::max);
        let told = profile[phase]["cpu_cores"]["peak"].as_f64();
        let same = match (seen, told) {
            (Some(seen), Some(told)) => (seen - told).abs() <= told * TOLERANCE + 0.005,
            (seen, told) => seen.is_none() && told.is_none(),
        };
        assert!(same, "{phase}: the page saw {seen:?}, the observation says {told:?}: {rows:?}");
    }
    true
}
