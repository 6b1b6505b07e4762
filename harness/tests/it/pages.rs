//! The admin's pages, as people meet them in a browser.

mod advice;
mod attention;
mod crowd;
mod dead_letters;
mod demo;
mod elsewhere;
mod export;
mod first_steps;
mod openid;
mod own_lab;
mod port_drift;
mod samples;
mod scope;
mod search;
mod sign_in;
mod sizing;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Appearance, Browser, DESKTOP, Lablet, LabletOptions};

/// How long anything may take to go through the whole system on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn options() -> LabletOptions {
    LabletOptions { program: env!("CARGO_BIN_EXE_lablet-under-test").into(), ..LabletOptions::default() }
}

async fn start() -> Lablet {
    Lablet::start(options()).await.unwrap()
}

/// Most windows of a phone that a page is long before its "More".
const MOST_SCREENS: f64 = 5.0;

/// The page in all appearances: nothing that axe-core forbids, nothing wider than the window or too long for a phone, a
/// picture of each.
pub(crate) async fn look_at(browser: &Browser, page: &str) {
    let mut faults = BTreeMap::<String, Vec<String>>::new();
    for appearance in Appearance::ALL {
        browser.screenshot(page, appearance).await.unwrap();
        let shade = if appearance.dark { "dark" } else { "light" };
        let mut found: Vec<String> = browser.axe().await.unwrap().iter().map(ToString::to_string).collect();
        let overflow = browser.overflow().await.unwrap();
        if overflow > 0 {
            found.push(format!("{overflow} pixels wider than the window\n"));
        }
        let screens = browser.screens().await.unwrap();
        if appearance.phone && screens > MOST_SCREENS {
            found.push(format!("{screens:.1} screens long\n"));
        }
        for fault in found {
            faults.entry(fault).or_default().push(format!("{} {shade}", appearance.name));
        }
    }
    browser.appear(DESKTOP).await.unwrap();
    let violations: Vec<String> =
        faults.into_iter().map(|(fault, appearances)| format!("[{}] {fault}", appearances.join(", "))).collect();
    assert!(violations.is_empty(), "{page}, {}:\n{}", browser.url().await.unwrap(), violations.join(""));
}
