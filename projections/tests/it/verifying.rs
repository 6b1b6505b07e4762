//! What verifying found can be looked up later.

use tokio_util::sync::CancellationToken;

use crate::given::World;

#[tokio::test]
async fn the_newest_results_are_kept() {
    let world = World::new().await;
    world.definition("ospf").await;
    world.settle().await;
    assert_eq!(world.projections.last_verification().await.unwrap(), None);
    let report = world.projections.verify_all(None, false, &CancellationToken::new()).await.unwrap();
    for number in 0..52 {
        world.now();
        world.projections.keep_verification(&report, &format!("shell:{number}")).await.unwrap();
    }
    let last = world.projections.last_verification().await.unwrap().unwrap();
    assert_eq!((last.verified_by.as_str(), last.held, last.rows_compared), ("shell:51", true, false));
    assert_eq!((last.verified_at, &last.report["read_models"][0]["contradictions"]), (world.clock.now(), &0.into()));
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM verifications").fetch_one(&world.database.pool()).await.unwrap();
    assert_eq!(kept, 50);
}
