//! Making the stream what the log holds.

use app::log::{Position, begin_epoch};
use app::notice::PublicUrl;
use app::relay::{Repair, RepairReport, compare, progress, repair};
use cloudevents::AttributesReader as _;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::relay::{Running, settled};
use crate::stage::Stage;

async fn mend(stage: &Stage, what: Repair) -> RepairReport {
    let done = watch::Sender::new(0);
    let report = repair(&stage.log, &stage.bus, &PublicUrl::default(), what, &done).await.unwrap();
    assert_eq!(*done.borrow(), report.published + report.remembered + report.removed);
    report
}

/// As a backup that is restored would do it: the last events are gone, and the relay is where it was before them.
async fn lose(owner: &PgPool, workers: std::ops::Range<usize>) {
    sqlx::raw_sql(
        "ALTER TABLE events DISABLE TRIGGER events_are_immutable; DELETE FROM relays;
         INSERT INTO relays SELECT * FROM relays_of_backup",
    )
    .execute(owner)
    .await
    .unwrap();
    for number in workers {
        sqlx::query("DELETE FROM events WHERE aggregate_id = $1")
            .bind(format!("w{number}"))
            .execute(owner)
            .await
            .unwrap();
    }
    sqlx::raw_sql("ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_immutable").execute(owner).await.unwrap();
    begin_epoch(owner, None).await.unwrap();
}

#[tokio::test]
async fn what_a_restored_log_has_lost_is_taken_from_the_stream_by_name_and_the_relay_goes_on() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..5).await;
    settled(&stage, "what is backed up").await;
    relay.stop().await;
    let owner = stage.database.pool();
    sqlx::raw_sql("CREATE TABLE relays_of_backup AS SELECT * FROM relays").execute(&owner).await.unwrap();
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(5..8).await;
    let lost = settled(&stage, "what is lost").await.split_off(5);
    relay.stop().await;
    lose(&owner, 5..8).await;

    assert_eq!(mend(&stage, Repair::PublishMissing).await.published, 0, "nothing is missing");
    let report = mend(&stage, Repair::RemoveUnknown).await;
    assert_eq!((report.found.unknown, report.removed), (3, 3));
    let mut named: Vec<(&str, Position)> =
        report.lost.iter().map(|event| (event.event_id.as_str(), event.position.unwrap())).collect();
    named.sort_by_key(|(_, position)| *position);
    let ids: Vec<&str> = lost.iter().map(|event| event.id()).collect();
    assert_eq!(named.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert_eq!(mend(&stage, Repair::RemoveUnknown).await.removed, 0, "done once, it is done");

    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(8..10).await;
    let published = settled(&stage, "what survived, and what came after").await;
    assert_eq!(published.len(), 7);
    let first_after = published[5].extension("position").unwrap().to_string();
    assert!(
        first_after.parse::<Position>().unwrap() > named[2].1,
        "new events come after all that anybody was told of"
    );
    let surviving = published[4].extension("position").unwrap().to_string();
    assert_eq!(published[5].extension("previousposition").unwrap().to_string(), surviving, "and name what survived");
    relay.stop().await;
}

#[tokio::test]
async fn events_that_are_missing_on_the_stream_are_published_once() {
    let stage = Stage::new().await;
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(0..2).await;
    settled(&stage, "the first events").await;
    relay.stop().await;
    stage.register_workers(2..6).await;
    stage.database.settle().await;
    let head = stage.log.head().await.unwrap();
    // A relay that skipped them.
    sqlx::query("UPDATE relays SET position = $1")
        .bind(head.to_string())
        .execute(&stage.database.pool())
        .await
        .unwrap();

    let report = mend(&stage, Repair::PublishMissing).await;
    assert_eq!((report.found.missing, report.published, report.remembered), (4, 4, 0));
    assert!(compare(&stage.log, &stage.bus, head).await.unwrap().holds());
    assert_eq!(mend(&stage, Repair::PublishMissing).await.published, 0);
    let relay = Running::start(&stage.log, &stage.bus);
    stage.register_workers(6..7).await;
    settled(&stage, "all events in their order").await;
    assert!(progress(stage.log.pool()).await.unwrap().position > head);
    relay.stop().await;
}
