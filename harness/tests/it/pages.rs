//! The admin's pages, as people meet them in a browser.

mod crowd;
mod dead_letters;
mod demo;
mod openid;
mod own_lab;
mod sign_in;

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

/// The page in all appearances: nothing that axe-core forbids, nothing wider than the window, a picture of each.
async fn look_at(browser: &Browser, page: &str) {
    let mut faults = Vec::new();
    for appearance in Appearance::ALL {
        browser.screenshot(page, appearance).await.unwrap();
        if let Err(fault) = browser.expect_accessible().await {
            faults.push(format!("{appearance:?}: {fault}"));
        }
        let overflow = browser.overflow().await.unwrap();
        if overflow > 0 {
            faults.push(format!("{appearance:?}: {page} is {overflow} pixels wider than the window"));
        }
    }
    browser.appear(DESKTOP).await.unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
