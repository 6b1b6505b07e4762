//! What people hold is found: a port, a node, an owner, by what is typed and by what is suggested.

use super::look_at;
use super::own_lab::world;
use crate::journeys::verify;

#[tokio::test]
async fn a_port_leads_to_who_holds_it() {
    let world = world().await;
    let browser = world.lablet.browser_of("Ada", "admin").await.unwrap();

    // By its number, without a mouse: one session holds it, so its place in the worker's port map is shown at once.
    browser.goto("/").await.unwrap();
    let (clicks, keys) = (browser.clicks(), browser.keys());
    browser.press("/").await.unwrap();
    browser.type_text("5041").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.wait_until_url("/workers/cml-1?text=5041#port-map").await.unwrap();
    browser.part("Port map").await.unwrap().row("PC_serial").await.unwrap().wait_until_text("running").await.unwrap();
    assert_eq!((browser.clicks() - clicks, browser.keys() - keys), (0, 6));

    // By a part of its name: what is suggested while it is typed is chosen by the arrow, and Escape closes it.
    browser.goto("/definitions").await.unwrap();
    browser.press("/").await.unwrap();
    browser.type_text("pc_ser").await.unwrap();
    browser.wait_until_text("5041 PC_serial").await.unwrap();
    look_at(&browser, "search-suggestions").await;
    // On a phone the search lies in the menu, which took the focus from it.
    browser.press("/").await.unwrap();
    browser.press("ArrowDown").await.unwrap();
    browser.wait_until_text("5041 PC_serial").await.unwrap();
    browser.press("Escape").await.unwrap();
    browser.wait_until_no_text("5041 PC_serial").await.unwrap();
    browser.press("ArrowDown").await.unwrap();
    browser.wait_until_text("5041 PC_serial").await.unwrap();
    browser.press("ArrowDown").await.unwrap();
    browser.press("Enter").await.unwrap();
    browser.wait_until_url("/workers/cml-1?text=5041#port-map").await.unwrap();

    // Several hits are listed by kind, and the searches of this browser are there again.
    browser.goto("/search").await.unwrap();
    browser.part("Recent searches").await.unwrap().wait_until_text("5041").await.unwrap();
    browser.goto("/search?text=pc").await.unwrap();
    browser.part("Ports that are held now").await.unwrap().row("PC_serial").await.unwrap();
    look_at(&browser, "search-held").await;
    browser.finish().await.unwrap();
    verify(&world.lablet).await;
    world.lablet.stop().await.unwrap();
}
