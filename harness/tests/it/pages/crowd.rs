//! Ten thousand sessions.

use harness::Crowd;

use super::start;

#[tokio::test]
async fn ten_thousand_sessions_are_paged_through() {
    let lablet = start().await;
    Crowd::default().settle(&lablet).await.unwrap();
    let mut after = String::new();
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let page = lablet.get(&format!("/api/lablet-sessions?limit=100{after}")).await.unwrap();
        let before = seen.len();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|session| session["id"].as_str().unwrap().to_owned()));
        assert_eq!(seen.len(), before + items.len(), "a session comes twice");
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 10_000);
    lablet.stop().await.unwrap();
}
