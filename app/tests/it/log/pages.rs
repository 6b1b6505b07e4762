//! Pages of the log are bounded by bytes.

use app::log::{HistoryPage, Log, PAGE_BYTES, Position};
use serde_json::json;
use servers::testing::TestDatabase;

use super::start;

/// Text that is hardly compressed, or very well.
fn text(bytes: usize, compressible: bool) -> String {
    if compressible {
        return "x".repeat(bytes);
    }
    let mut seed = 88_172_645_463_325_252_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(b'a' + u8::try_from(seed % 26).unwrap())
    };
    (0..bytes).map(|_| next()).collect()
}

/// Events of these sizes, of one aggregate.
async fn append(database: &TestDatabase, sizes: &[(usize, bool)]) {
    for (number, (bytes, compressible)) in (1_i64..).zip(sizes) {
        let payload = json!({ "type": "counter.added.v1", "note": text(*bytes, *compressible) });
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ('counter', 'c', $1, 'counter.added', '1', $2::json, '{}')",
        )
        .bind(number)
        .bind(payload.to_string())
        .execute(&database.pool())
        .await
        .unwrap();
    }
    database.settle().await;
}

/// Follows the log to its end by pages of at most `limit` events, looking at each page.
async fn follow(log: &Log, limit: i64) -> Vec<i64> {
    let (mut after, mut sequences) = (Position::START, Vec::new());
    loop {
        let page = log.read(after, limit).await.unwrap();
        let Some(last) = page.last() else { return sequences };
        after = last.position;
        let before_last: usize = page[..page.len() - 1].iter().map(|event| event.payload.bytes()).sum();
        assert!(before_last < PAGE_BYTES, "a page ends with the event that fills it, and has {before_last} before it");
        sequences.extend(page.iter().map(|event| event.sequence));
    }
}

#[tokio::test]
async fn a_page_of_the_log_is_bounded_by_bytes_and_nothing_is_left_out() {
    let (database, log) = start().await;
    let mut sizes = vec![(100, false); 30];
    sizes.extend([(3_000_000, false), (1_500_000, true), (1_500_000, true), (900_000, false), (900_000, false)]);
    sizes.extend(vec![(700_000, true); 12]);
    sizes.extend(vec![(2_000, false); 40]);
    append(&database, &sizes).await;
    let all: Vec<i64> = (1..=i64::try_from(sizes.len()).unwrap()).collect();
    for limit in [1, 7, 500] {
        assert_eq!(follow(&log, limit).await, all, "by pages of at most {limit}");
    }
    let small = log.read(Position::START, 20).await.unwrap();
    assert_eq!(small.len(), 20, "small events are bounded by their number alone");
}

#[tokio::test]
async fn a_history_of_large_events_is_read_by_bytes_from_both_ends() {
    let (database, log) = start().await;
    append(&database, &[(1_800_000, false); 5]).await;
    for newest_first in [false, true] {
        let (mut beyond, mut sequences) = (None, Vec::new());
        loop {
            let part = HistoryPage { newest_first, beyond, payloads: true, limit: 100 };
            let page = log.history_page("counter", "c", part).await.unwrap();
            assert!(page.events.len() <= 2, "{} events of 1.8 MB in one page", page.events.len());
            sequences.extend(page.events.iter().map(|event| event.sequence));
            beyond = sequences.last().copied();
            if !page.more {
                break;
            }
        }
        let mut expected: Vec<i64> = (1..=5).collect();
        if newest_first {
            expected.reverse();
        }
        assert_eq!(sequences, expected);
    }
    let without = HistoryPage { newest_first: false, beyond: None, payloads: false, limit: 100 };
    assert_eq!(log.history_page("counter", "c", without).await.unwrap().events.len(), 5);
}

#[tokio::test]
async fn a_reader_that_stops_early_leaves_its_connection_usable() {
    let (database, log) = start().await;
    append(&database, &[(700_000, true); 40]).await;
    for _ in 0..40 {
        let page = log.read(Position::START, 100).await.unwrap();
        assert_eq!(page[0].sequence, 1);
        assert!(page.len() < 40);
    }
}
