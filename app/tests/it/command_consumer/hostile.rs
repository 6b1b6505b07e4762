//! What senders do that should not: nobody else notices.

use std::collections::BTreeSet;

use app::command_consumer::{CommandDecoder, ensure_consumer, retry};
use app::dead_letters::{DeadLetter, DeadLetterKind, Undeliverable};
use async_nats::jetstream::AckKind;
use bus::{StreamBounds, streams, subjects};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{
    Running, answered, binary, dead_letters, handled, outstanding, report, running_session, send, session, structured,
    waiting,
};
use crate::stage::{Stage, until};

const RECORD: &str = "record_resource_observation";

/// A sender that writes the protocol by hand.
struct RawSender(TcpStream);

impl RawSender {
    async fn connect(url: &str) -> Self {
        let url = url.strip_prefix("nats://").unwrap();
        let (credentials, address) = url.rsplit_once('@').unwrap();
        let (user, pass) = credentials.split_once(':').unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let options = json!({
            "verbose": false, "pedantic": false, "headers": true, "lang": "by hand", "version": "0", "user": user, "pass": pass
        });
        stream.write_all(format!("CONNECT {options}\r\nPING\r\n").as_bytes()).await.unwrap();
        let mut sender = Self(stream);
        sender.pong().await;
        sender
    }

    async fn publish(&mut self, subject: &[u8], headers: &[u8], payload: &[u8]) {
        let mut message = Vec::new();
        if headers.is_empty() {
            message.extend(b"PUB ");
            message.extend(subject);
            message.extend(format!(" {}\r\n", payload.len()).into_bytes());
        } else {
            message.extend(b"HPUB ");
            message.extend(subject);
            message.extend(format!(" {} {}\r\n", headers.len(), headers.len() + payload.len()).into_bytes());
            message.extend(headers);
        }
        message.extend(payload);
        message.extend(b"\r\nPING\r\n");
        self.0.write_all(&message).await.unwrap();
        self.pong().await;
    }

    /// Reads until the server has taken what was sent.
    async fn pong(&mut self) {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("PONG") {
            assert!(self.0.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
        }
        assert!(!String::from_utf8_lossy(&read).contains("-ERR"), "{}", String::from_utf8_lossy(&read));
    }
}

async fn stage_with_url() -> (Stage, String) {
    let nats = servers::testing::nats().await;
    (Stage::on(nats.url()).await, nats.url().to_owned())
}

async fn open(stage: &Stage) -> Running {
    let consumer = Running::start(stage);
    until("the stream of commands", || async { stage.bus.jetstream().get_stream(streams::COMMANDS).await.ok() }).await;
    consumer
}

async fn observations(stage: &Stage, count: u64) {
    until(&format!("{count} observations"), || async {
        (session(stage).await.observations.count == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_message_that_the_client_cannot_read_becomes_a_dead_letter_with_its_bytes() {
    let (stage, url) = stage_with_url().await;
    running_session(&stage).await;
    let connects = *stage.bus.connects().borrow();
    let consumer = open(&stage).await;
    let subject = subjects::command("grading", RECORD);
    let mut sender = RawSender::connect(&url).await;
    let event = |id: &str| structured(RECORD, id, &report());
    let latin = b"NATS/1.0\r\nContent-Type: application/cloudevents+json\r\nAuthor: Jos\xe9\r\n\r\n".as_slice();
    let headers: [&[u8]; 8] = [
        latin,
        b"NATS/1.0\r\nA: b\rc\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\nbad name: 1\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
        b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
    ];
    for (number, headers) in headers.iter().enumerate() {
        sender.publish(subject.as_bytes(), headers, &event(&format!("bad-{number}"))).await;
        send(&stage.bus, subject.clone(), binary(RECORD, &format!("good-{number}")), report().to_string().into_bytes())
            .await;
    }
    sender.publish(b"lablet.commands.gr\xe4ding.explode", b"", b"{}").await;
    sender.publish(b"lablet.commands.gra\x00ding.record_resource_observation", b"", &event("nul")).await;
    let letters = waiting(&stage, 10).await;
    observations(&stage, 8).await;
    handled(&stage).await;
    let reasons: BTreeSet<&str> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    insta::assert_snapshot!(reasons.into_iter().collect::<Vec<_>>().join("\n"), @r#"
    the message cannot be read: its header "A" holds a carriage return
    the message cannot be read: its header "Author" holds bytes that are no UTF-8
    the message cannot be read: its header "bad name" is no name of printable ASCII characters
    the message cannot be read: its header "no colon" has no value
    the message cannot be read: its headers claim the server's status "100 Idle Heartbeat"
    the message cannot be read: its headers claim the server's status "409 Consumer Deleted"
    the message cannot be read: its headers claim the server's status "503"
    the message cannot be read: its headers do not begin with NATS/1.0
    the message cannot be read: its subject holds bytes that are no UTF-8, or white space
    the subject is not lablet.commands.<team>.<command>, the team of 1 to 64 printable ASCII characters
    "#);
    let sources: Vec<&str> = letters.iter().map(|letter| letter.source.as_str()).collect();
    assert!(sources.contains(&"lablet.commands.gra\\u{0}ding.record_resource_observation"), "{sources:?}");
    assert!(sources.contains(&"lablet.commands.gr\u{fffd}ding.explode"), "{sources:?}");
    assert_eq!(*stage.bus.connects().borrow(), connects, "nobody else's connection was ended");

    // It is kept as it came, and an operator can have it handled after all.
    let by_header = |letter: &&DeadLetter| letter.reason.contains("\"Author\"");
    let letter = letters.iter().find(by_header).unwrap();
    let opened = dead_letters(&stage).show(letter.id).await.unwrap().unwrap();
    assert_eq!(opened.raw_headers.as_deref(), Some(latin));
    assert_eq!(opened.payload, event("bad-0"));
    assert_eq!(opened.letter.headers["Author"], "Jos\\xe9");
    let decoder = CommandDecoder::new(stage.commands.clone());
    retry(&decoder, &dead_letters(&stage), letter.id, "operator").await.unwrap();
    observations(&stage, 9).await;
    consumer.stop().await;
}

#[tokio::test]
async fn more_unreadable_messages_than_the_consumer_has_room_for_stop_nobody() {
    let (stage, url) = stage_with_url().await;
    running_session(&stage).await;
    ensure_consumer(&stage.bus, &StreamBounds::default()).await.unwrap();
    let subject = subjects::command("grading", RECORD);
    let mut sender = RawSender::connect(&url).await;
    for number in 0..600 {
        sender.publish(subject.as_bytes(), b"NATS/1.0\r\nA: \xff\r\n\r\n", number.to_string().as_bytes()).await;
        if number % 100 == 50 {
            send(
                &stage.bus,
                subject.clone(),
                binary(RECORD, &format!("e-{number}")),
                report().to_string().into_bytes(),
            )
            .await;
        }
    }
    let consumer = Running::start(&stage);
    observations(&stage, 6).await;
    until("600 dead letters", || async {
        (dead_letters(&stage).waiting(DeadLetterKind::Command).await.ok()? == 600).then_some(())
    })
    .await;
    handled(&stage).await;
    consumer.stop().await;
}

#[tokio::test]
async fn an_unreadable_request_ends_only_the_connection_for_requests() {
    let (stage, url) = stage_with_url().await;
    running_session(&stage).await;
    let connects = *stage.bus.connects().borrow();
    let consumer = open(&stage).await;
    let mut sender = RawSender::connect(&url).await;
    let subject = subjects::request("grading", RECORD);
    for (number, headers) in
        [b"NATS/1.0\r\nA: \xff\r\n\r\n".as_slice(), b"NATS/1.0\r\nA: b\rc\r\n\r\n"].into_iter().enumerate()
    {
        let id = format!("e-{number}");
        let answer = |attempt: &'static str| {
            let payload = structured(RECORD, &format!("{id}-{attempt}"), &report());
            let client = stage.bus.client().clone();
            let subject = subject.clone();
            async move { client.request(subject, payload.into()).await.ok() }
        };
        until("the micro service", || answer("before")).await;
        sender.publish(subject.as_bytes(), headers, b"{}").await;
        let again = until("the micro service again", || answer("after")).await;
        assert_eq!(serde_json::from_slice::<Value>(&again.payload).unwrap()["status"], "recorded");
    }
    assert_eq!(answered(&stage, RECORD, "by-stream", &report()).await["status"], "recorded");
    assert_eq!(*stage.bus.connects().borrow(), connects, "nobody else's connection was ended");
    consumer.stop().await;
}

#[tokio::test]
async fn commands_about_a_session_that_cannot_be_read_leave_room_for_others() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let origin = app::log::Origin::from_actor("test");
    let other = json!({"id": "s2", "definition_id": "d1"});
    stage.commands.create_session(serde_json::from_value(other).unwrap(), &origin).await.unwrap();
    let mut superuser = PgConnection::connect(stage.database.url()).await.unwrap();
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select 'lablet_session', 's1', max(sequence) + 1, 'lablet_session.teleported.v1', '1', '{}', '{}'
           from events where aggregate_type = 'lablet_session' and aggregate_id = 's1'",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    ensure_consumer(&stage.bus, &StreamBounds::default()).await.unwrap();
    for number in 0..600 {
        send(
            &stage.bus,
            subjects::command("grading", RECORD),
            binary(RECORD, &format!("e-{number}")),
            report().to_string().into_bytes(),
        )
        .await;
    }
    let consumer = Running::start(&stage);
    let transition = "transition_lablet_session";
    let move_on = json!({"session_id": "s2", "new_status": "terminated"});
    assert_eq!(answered(&stage, transition, "other", &move_on).await["status"], "recorded");
    until("at least 590 dead letters", || async {
        (dead_letters(&stage).waiting(DeadLetterKind::Command).await.ok()? >= 590).then_some(())
    })
    .await;
    // The others are tried again, in a small room.
    until("a small room", || async { (outstanding(&stage).await? <= 8).then_some(()) }).await;
    let letters = dead_letters(&stage).list(None, None, 1).await.unwrap();
    assert!(letters[0].reason.contains("of lablet_session s1 cannot be understood"), "{}", letters[0].reason);
    assert_eq!(letters[0].aggregate_id.as_deref(), Some("s1"));
    consumer.stop().await;
}

#[tokio::test]
async fn a_command_that_ends_the_process_each_time_is_given_up_and_its_neighbours_are_not() {
    let stage = Stage::new().await;
    running_session(&stage).await;
    let consumer = ensure_consumer(&stage.bus, &StreamBounds::default()).await.unwrap();
    let subject = subjects::command("grading", RECORD);
    for id in ["deadly", "harmless"] {
        send(&stage.bus, subject.clone(), async_nats::HeaderMap::new(), structured(RECORD, id, &report())).await;
    }
    // Three processes took both and ended.
    for _ in 0..3 {
        let mut batch = consumer.fetch().max_messages(2).messages().await.unwrap();
        while let Some(message) = batch.next().await {
            message.unwrap().ack_with(AckKind::Nak(None)).await.unwrap();
        }
    }
    let payload = structured(RECORD, "deadly", &report());
    let deadly = Undeliverable {
        kind: DeadLetterKind::Command,
        source: &subject,
        reason: String::new(),
        aggregate: None,
        event: None,
        headers: std::collections::BTreeMap::new(),
        raw_headers: None,
        payload: &payload,
    };
    for before in 0..3 {
        assert_eq!(dead_letters(&stage).begin_trial(&deadly).await.unwrap(), before);
    }
    let consumer = open(&stage).await;
    let letters = waiting(&stage, 1).await;
    assert_eq!(letters[0].reason, "it was handled alone 3 times, and the process ended each time");
    observations(&stage, 1).await;
    handled(&stage).await;
    assert_eq!(dead_letters(&stage).begin_trial(&deadly).await.unwrap(), 0, "what came to an end is forgotten");
    consumer.stop().await;
}
