//! Wake-up signals over a real bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::{ConnectOptions, Event};
use bus::subjects::NUDGE_PROJECTIONS;
use controller::wake_ups::WakeUps;
use futures_util::{FutureExt as _, StreamExt as _};
use url::Url;

#[tokio::test]
async fn signals_that_nobody_waits_for_are_read_all_the_same_and_become_one() {
    let nats = servers::testing::nats().await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = dropped.clone();
    let address = Url::parse(nats.url()).unwrap();
    let (user, password) = (address.username().to_owned(), address.password().unwrap().to_owned());
    let listening = ConnectOptions::with_user_and_password(user, password)
        .subscription_capacity(16)
        .event_callback(move |event| {
            counter.fetch_add(usize::from(matches!(event, Event::SlowConsumer(_))), Ordering::Relaxed);
            std::future::ready(())
        })
        .connect(nats.url())
        .await
        .unwrap();
    let wake_ups = WakeUps::subscribe(&listening, NUDGE_PROJECTIONS).await;
    let mut acknowledged = listening.subscribe("acknowledged").await.unwrap();
    // The server knows both subscriptions before the first message comes.
    listening.flush().await.unwrap();
    let sending = nats.connect().await;
    for _ in 0..500 {
        sending.publish(NUDGE_PROJECTIONS, "".into()).await.unwrap();
        sending.publish("acknowledged", "".into()).await.unwrap();
        sending.flush().await.unwrap();
        acknowledged.next().await.unwrap();
    }
    wake_ups.next().await;
    assert_eq!(dropped.load(Ordering::Relaxed), 0, "a subscription of 16 places never filled up");
    let again = wake_ups.next().now_or_never();
    assert_eq!(again, None, "five hundred signals are one reason to look");
}
