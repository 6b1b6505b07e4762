//! Addresses inside are refused, whatever leads to them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use webhooks::{Lookup, Target};

use crate::world::{FIELDS, Receiver, Reply, World, until};

/// A resolver that answers what it is told at the moment.
fn told(answers: &Arc<Mutex<Vec<SocketAddr>>>) -> Lookup {
    let answers = answers.clone();
    Arc::new(move |_| {
        let answers = answers.lock().unwrap().clone();
        Box::pin(async move { Ok(answers) })
    })
}

fn address(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 0)
}

#[tokio::test]
async fn a_name_that_is_rebound_to_an_address_inside_leads_nowhere() {
    let world = World::new().await;
    let inside = Receiver::default();
    inside.serve(&format!("127.0.0.2:{}", world.address.port())).await;
    let fields = FIELDS.replace("{url}", &format!("http://hooks.example.com:{}", world.address.port()));
    let targets = world.targets(&format!("[booking]{fields}handshake = false"));
    let answers = Arc::new(Mutex::new(vec![address("127.0.0.1")]));
    let mut options = world.options();
    options.lookup = told(&answers);
    // Each request has a connection of its own, so that the name is looked up again.
    let close = || Reply::Status(204, vec![("connection", "close")]);
    world.receiver.will([close(), close()]);
    let running = world.start_with(targets, options);
    world.register_workers(0..1).await;
    world.receiver.messages_when(1).await;

    *answers.lock().unwrap() = vec![address("127.0.0.2")];
    world.register_workers(1..2).await;
    let refused = world.status_when("a refusal", |status| status.failed_attempts > 0).await.last_answer.unwrap();
    assert_eq!(
        refused,
        "no answer: no connection: 127.0.0.2 is a loopback address; the target's `allow` does not name it"
    );
    assert_eq!(inside.messages().len(), 0);

    *answers.lock().unwrap() = vec![address("127.0.0.2"), address("127.0.0.1")];
    world.receiver.messages_when(2).await;
    running.stop().await;
    assert_eq!(world.receiver.subjects(), ["w0", "w1"]);
    assert_eq!(inside.messages().len(), 0, "of two addresses the one that may be reached is");
}

#[tokio::test]
async fn a_target_with_a_certificate_of_its_own_authority_is_trusted_by_that_alone() {
    let world = World::new().await;
    let (port, certificate) = world.receiver.serve_https("hooks.example.com").await;
    std::fs::write(world.folder.path().join("ca.pem"), certificate).unwrap();
    let (_, other) = world.receiver.serve_https("hooks.example.com").await;
    std::fs::write(world.folder.path().join("other.pem"), other).unwrap();
    let target = |authority: &str| {
        let fields = FIELDS.replace("{url}", &format!("https://hooks.example.com:{port}"));
        let fields = fields.replace("allow_http = true", &format!("ca_file = \"{authority}.pem\""));
        world.targets(&format!("[booking]{fields}handshake = false"))
    };
    let mut options = world.options();
    options.lookup = told(&Arc::new(Mutex::new(vec![address("127.0.0.1")])));
    world.register_workers(0..1).await;
    let distrusting = world.start_with(target("other"), options.clone());
    let refused = world.status_when("a refusal", |status| status.failed_attempts > 0).await.last_answer.unwrap();
    assert!(refused.contains("certificate"), "{refused}");
    distrusting.stop().await;
    assert_eq!(world.receiver.messages().len(), 0);
    let trusting = world.start_with(target("ca"), options);
    world.receiver.messages_when(1).await;
    trusting.stop().await;
    assert_eq!(world.receiver.subjects(), ["w0"]);
}

#[tokio::test]
async fn a_name_of_this_machine_leads_nowhere_by_itself() {
    let world = World::new().await;
    let fields = FIELDS.replace("{url}", &format!("http://localhost:{}", world.address.port()));
    let targets =
        world.targets(&format!("[booking]{}handshake = false", fields.replace("allow = [\"127.0.0.1\"]", "")));
    let running = world.start(targets);
    world.register_workers(0..1).await;
    let refused = world.status_when("a refusal", |status| status.failed_attempts > 0).await.last_answer.unwrap();
    assert!(refused.contains("is a loopback address"), "{refused}");
    until("another attempt", || async { (world.status().await?.failed_attempts > 1).then_some(()) }).await;
    running.stop().await;
    assert_eq!(world.receiver.messages().len(), 0);
}

#[test]
fn an_address_inside_that_stands_in_the_file_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), crate::world::SECRET).unwrap();
    let parsed = |url: &str, allow: &str| {
        let toml = format!("[booking]\nurl = \"{url}\"\nsecret_files = [\"secret\"]\nallow = [{allow}]");
        Target::parse_all(&toml, folder.path()).map(drop).map_err(|error| error.to_string())
    };
    for url in [
        "https://127.0.0.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://\u{ff11}\u{ff12}7.0.0.1/",
        "https://10.0.0.1./",
    ] {
        let refused = parsed(url, "").unwrap_err();
        assert!(refused.contains("target \"booking\": url is not reached"), "{url}: {refused}");
        assert!(!refused.contains("meta-data"), "{refused}");
    }
    assert_eq!(parsed("https://10.20.3.4/", "\"10.20.0.0/16\""), Ok(()));
    assert_eq!(parsed("https://8.8.8.8/", ""), Ok(()));
}
