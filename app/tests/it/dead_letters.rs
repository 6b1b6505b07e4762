//! Dead letters can always be kept, and never fill the disk.

use std::collections::BTreeMap;

use app::dead_letters::{
    DeadLetterBounds, DeadLetterKind, DeadLetters, OpenedLetter, PayloadKept, PayloadPolicy, Status, Undeliverable,
};
use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::stage::Stage;

fn letters(stage: &Stage, bounds: DeadLetterBounds) -> DeadLetters {
    DeadLetters::new(stage.log.pool().clone(), Clock::system(), IdGenerator::random()).bounded(bounds)
}

fn undeliverable<'a>(subject: &'a str, payload: &'a [u8]) -> Undeliverable<'a> {
    Undeliverable {
        kind: DeadLetterKind::Command,
        source: subject,
        reason: "there is no session s1".to_owned(),
        aggregate: Some(("lablet_session", "s1")),
        event: None,
        headers: [("ce-id".to_owned(), "e-1".to_owned())].into(),
        raw_headers: None,
        payload,
    }
}

/// Subject, reason and aggregate; headers; payload; headers as they came.
type Anything = ((String, String, String), BTreeMap<String, String>, Vec<u8>, Option<Vec<u8>>);

async fn show(letters: &DeadLetters, id: uuid::Uuid) -> OpenedLetter {
    letters.show(id).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_message_holds_it_can_be_kept() {
    let stage = Stage::new().await;
    let letters = letters(&stage, DeadLetterBounds::default());
    let runtime = tokio::runtime::Handle::current();
    let anything = (
        (any::<String>(), any::<String>(), any::<String>()),
        proptest::collection::btree_map(any::<String>(), any::<String>(), 0..6),
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100)),
    );
    let property = move |((subject, reason, id), headers, payload, raw): Anything| {
        let message = Undeliverable {
            kind: DeadLetterKind::Command,
            source: &subject,
            reason,
            aggregate: Some(("lablet_session", &id)),
            event: None,
            headers,
            raw_headers: raw.as_deref(),
            payload: &payload,
        };
        let (kept, again) = runtime.block_on(async {
            let id = letters.keep(&message).await.unwrap();
            assert_eq!(letters.keep(&message).await.unwrap(), id, "the same message is the same letter");
            letters.failed_again(id, &subject).await.unwrap();
            (show(&letters, id).await, id)
        });
        prop_assert_eq!(kept.letter.id, again);
        prop_assert_eq!(kept.letter.attempts, 3);
        prop_assert_eq!(kept.payload, payload.clone());
        prop_assert_eq!(kept.raw_headers, raw.clone());
        prop_assert!(!kept.letter.source.contains(char::is_control));
        Ok(())
    };
    let run = move || {
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        TestRunner::new(config).run(&anything, property).unwrap();
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    // A subject that differs only in what cannot be stored is another letter's.
    let letters = self::letters(&stage, DeadLetterBounds::default());
    let nul = letters.keep(&undeliverable("lablet.commands.a\0b.x", b"1")).await.unwrap();
    let escaped = letters.keep(&undeliverable("lablet.commands.a\\u{0}b.x", b"1")).await.unwrap();
    assert_ne!(nul, escaped);
}

#[tokio::test]
async fn a_team_that_floods_fills_its_part_and_no_more() {
    let stage = Stage::new().await;
    let bounds = DeadLetterBounds { bytes: 40_000, letters: 32, ..DeadLetterBounds::default() };
    let letters = letters(&stage, bounds);
    for number in 0..40 {
        let payload = format!("{number} {}", "x".repeat(3_000));
        letters.keep(&undeliverable("lablet.commands.flood.x", payload.as_bytes())).await.unwrap();
    }
    let waiting = letters.list(Some(DeadLetterKind::Command), Some(Status::Waiting), 100).await.unwrap();
    let with_message = waiting.iter().filter(|letter| letter.payload_kept == PayloadKept::Whole).count();
    assert_eq!(with_message, 4, "messages up to a quarter of the bytes");
    assert_eq!(waiting.len(), 9, "letters up to a quarter of their number, and one that counts the others");
    let overflow = waiting.iter().find(|letter| letter.source == "(more than are kept)").unwrap();
    assert_eq!(overflow.attempts, 32);
    assert!(overflow.reason.contains("there is no session s1"), "{}", overflow.reason);
    let other = letters.keep(&undeliverable("lablet.commands.grading.x", b"mine")).await.unwrap();
    assert_eq!(show(&letters, other).await.payload, b"mine", "another team has its own part");

    // What was decided about makes room.
    for letter in &waiting {
        letters.settle(letter.id, Status::Discarded, "operator", Some("a flood")).await.unwrap();
    }
    let id = letters.keep(&undeliverable("lablet.commands.flood.x", b"again")).await.unwrap();
    assert_eq!(show(&letters, id).await.payload, b"again");
}

#[tokio::test]
async fn what_is_kept_of_a_message_is_a_setting() {
    let stage = Stage::new().await;
    let secret = br#"{"data":{"password":"hunter2","cpu":1}}"#;
    for (policy, kept, message) in [
        (PayloadPolicy::Full, PayloadKept::Whole, Some(String::from_utf8_lossy(secret).into_owned())),
        (PayloadPolicy::Limited, PayloadKept::Whole, Some(String::from_utf8_lossy(secret).into_owned())),
        (PayloadPolicy::Masked, PayloadKept::Masked, Some(r#"{"data":{"cpu":1,"password":"(masked)"}}"#.to_owned())),
        (PayloadPolicy::None, PayloadKept::None, None),
    ] {
        let letters = letters(&stage, DeadLetterBounds { payloads: policy, ..DeadLetterBounds::default() });
        let subject = format!("lablet.commands.grading.{policy:?}");
        let mut message_of = undeliverable(&subject, secret);
        message_of.headers.insert("Authorization".to_owned(), "Bearer abc".to_owned());
        let id = letters.keep(&message_of).await.unwrap();
        let opened = show(&letters, id).await;
        assert_eq!(opened.letter.payload_kept, kept, "{policy:?}");
        // In which order a masked message's members stand is nobody's business.
        let as_json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        assert_eq!(
            as_json(&opened.payload),
            message.as_deref().and_then(|text| as_json(text.as_bytes())),
            "{policy:?}"
        );
        assert_eq!(opened.payload.is_empty(), message.is_none(), "{policy:?}");
        assert_eq!(opened.letter.message_bytes, 39);
        let header = &opened.letter.headers["Authorization"];
        assert_eq!(header == "Bearer abc", policy == PayloadPolicy::Full, "{policy:?}");
    }
}

#[tokio::test]
async fn letters_go_after_their_time_and_the_reason_of_discarding_one_is_kept() {
    let stage = Stage::new().await;
    let start: DateTime<Utc> = "2026-03-01T10:00:00Z".parse().unwrap();
    let clock = Clock::manual(start);
    let letters = DeadLetters::new(stage.log.pool().clone(), clock.clone(), IdGenerator::random());
    let discarded = letters.keep(&undeliverable("lablet.commands.grading.x", b"1")).await.unwrap();
    let waiting = letters.keep(&undeliverable("lablet.commands.grading.x", b"2")).await.unwrap();
    assert!(letters.settle(discarded, Status::Discarded, "admin:ada", Some("a test\0 \u{1b}[2J")).await.unwrap());
    let reason = show(&letters, discarded).await.letter.settled_reason;
    assert_eq!(reason.as_deref(), Some("a test\\u{0} \\u{1b}[2J"));
    let days = TimeDelta::days;
    clock.advance(days(31));
    let swept = letters.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.expired), (1, 0));
    assert!(letters.show(discarded).await.unwrap().is_none());
    clock.advance(days(60));
    let swept = letters.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.expired), (0, 1));
    let expired = show(&letters, waiting).await;
    assert_eq!(expired.letter.status, Status::Discarded);
    assert_eq!(expired.letter.settled_by.as_deref(), Some("lablet"));
    assert_eq!((expired.letter.payload_kept, expired.payload.len()), (PayloadKept::Removed, 0));
}

#[tokio::test]
async fn a_time_that_cannot_be_read_harms_only_its_own_letter() {
    let stage = Stage::new().await;
    let letters = letters(&stage, DeadLetterBounds::default());
    let broken = letters.keep(&undeliverable("lablet.commands.a.x", b"1")).await.unwrap();
    let other = letters.keep(&undeliverable("lablet.commands.a.x", b"2")).await.unwrap();
    sqlx::query("UPDATE dead_letters SET first_seen_at = '-infinity', settled_at = 'infinity' WHERE id = $1")
        .bind(broken)
        .execute(stage.log.pool())
        .await
        .unwrap();
    let listed = letters.list(Some(DeadLetterKind::Command), None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|letter| letter.id).collect::<Vec<_>>(), [other]);
    let unreadable = letters.show(broken).await.unwrap_err();
    assert!(matches!(unreadable, sqlx::Error::ColumnDecode { .. }), "{unreadable}");
    assert_eq!(letters.waiting(DeadLetterKind::Command).await.unwrap(), 2, "it is counted still");
    assert!(letters.settle(broken, Status::Discarded, "admin:ada", None).await.unwrap(), "and can be settled");
}
