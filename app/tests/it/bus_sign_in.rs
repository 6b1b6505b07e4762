//! Every way to sign in to a real nats-server, and what is said where it does not work.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bus::{Bus, BusError, BusOptions, BusTls, ClientCertificate, SignIn, StreamBounds, streams};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use serde_json::json;
use servers::testing::{ConfiguredNats, configured_nats};

const TIMEOUT: Duration = Duration::from_secs(20);

fn options(server: &ConfiguredNats) -> BusOptions {
    BusOptions::new(format!("nats://127.0.0.1:{}", server.port()), "test")
}

async fn comes_in(options: BusOptions) {
    let bus = Bus::connect(&options).await.unwrap();
    bus.connected(TIMEOUT).await.unwrap();
    bus.client().flush().await.unwrap();
}

/// What is said of a client that the server does not let in.
async fn refusal(options: BusOptions) -> String {
    let bus = Bus::connect(&options).await.unwrap();
    let error = bus.connected(Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(error, BusError::Refused(_) | BusError::Failed { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("s3cret"), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_token_lets_in_from_the_address_and_from_its_setting() {
    let server = configured_nats(|_| "authorization { token: \"s3cret\" }".to_owned()).await;
    comes_in(BusOptions::new(format!("nats://s3cret@127.0.0.1:{}", server.port()), "test")).await;
    comes_in(BusOptions { sign_in: SignIn::Token("s3cret".to_owned()), ..options(&server) }).await;
    for wrong in [SignIn::AsTheAddressSays, SignIn::Token("not-s3cret".to_owned())] {
        let said = refusal(BusOptions { sign_in: wrong, ..options(&server) }).await;
        assert!(said.starts_with("the bus refuses this client (nats: authorization violation"), "{said}");
    }
}

#[tokio::test]
async fn user_and_password_let_in_and_two_ways_at_once_are_refused_at_the_start() {
    let server =
        configured_nats(|_| "authorization { users: [ { user: \"lab\", password: \"p@s3cret\" } ] }".to_owned()).await;
    let password = || SignIn::Password { user: "lab".to_owned(), password: "p@s3cret".to_owned() };
    comes_in(BusOptions { sign_in: password(), ..options(&server) }).await;
    comes_in(BusOptions::new(format!("nats://lab:p%40s3cret@127.0.0.1:{}", server.port()), "test")).await;
    let address = format!("nats://lab:p%40s3cret@127.0.0.1:{}", server.port());
    let both = BusOptions { sign_in: password(), ..BusOptions::new(address, "test") };
    let refused = Bus::connect(&both).await.unwrap_err();
    assert!(matches!(refused, BusError::Contradiction(_)));
    assert!(!refused.to_string().contains("s3cret"));
}

#[tokio::test]
async fn an_nkey_lets_in_by_the_file_of_its_seed() {
    let key = KeyPair::new_user();
    let public = key.public_key();
    let server = configured_nats(|folder| {
        std::fs::write(folder.join("seed"), format!("# s3cret\n{}\n", key.seed().unwrap())).unwrap();
        std::fs::write(folder.join("other"), KeyPair::new_user().seed().unwrap()).unwrap();
        std::fs::write(folder.join("broken"), "s3cret").unwrap();
        format!("authorization {{ users: [ {{ nkey: {public} }} ] }}")
    })
    .await;
    let by = |file: &str| BusOptions { sign_in: SignIn::Nkey(server.folder().join(file)), ..options(&server) };
    comes_in(by("seed")).await;
    assert!(refusal(by("other")).await.contains("refuses this client"));
    for unusable in ["broken", "missing"] {
        let refused = Bus::connect(&by(unusable)).await.unwrap_err().to_string();
        assert!(refused.contains(unusable) && !refused.contains("s3cret"), "{refused}");
    }
}

/// A JWT as nats-server understands it.
fn jwt(issuer: &KeyPair, subject: &KeyPair, kind: &str, claims: serde_json::Value) -> String {
    let mut nats = claims;
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": kind, "nats": nats,
    });
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn a_credentials_file_lets_in() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1
    });
    let account_jwt = jwt(&operator, &account, "account", json!({ "limits": limits }));
    let user_jwt = jwt(&account, &user, "user", json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 }));
    let server = configured_nats(|folder| {
        let credentials = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        );
        std::fs::write(folder.join("lablet.creds"), credentials).unwrap();
        std::fs::write(folder.join("broken.creds"), "s3cret").unwrap();
        format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_jwt} }}",
            jwt(&operator, &operator, "operator", json!({})),
            account.public_key()
        )
    })
    .await;
    let by = |file: &str| BusOptions { sign_in: SignIn::Credentials(server.folder().join(file)), ..options(&server) };
    comes_in(by("lablet.creds")).await;
    let refused = Bus::connect(&by("broken.creds")).await.unwrap_err().to_string();
    assert!(refused.contains("broken.creds") && !refused.contains("s3cret"), "{refused}");
    assert!(refusal(options(&server)).await.contains("refuses this client"));
}

/// Writes a CA, and certificates by it for the server and for a client.
fn write_certificates(folder: &Path, name: &str) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, format!("{name} authority"));
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    std::fs::write(folder.join(format!("{name}-ca.pem")), ca_certificate.pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    for (whose, at) in [("server", "127.0.0.1"), ("client", "lablet")] {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![at.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}-{whose}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}-{whose}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_bus_with_its_own_ca_is_trusted_by_it_and_trusts_a_client_by_its_certificate() {
    let server = configured_nats(|folder| {
        write_certificates(folder, "right");
        write_certificates(folder, "wrong");
        let file = |name: &str| format!("{:?}", folder.join(name));
        format!(
            "tls {{ cert_file: {}, key_file: {}, ca_file: {}, verify: true }}",
            file("right-server.pem"),
            file("right-server.key"),
            file("right-ca.pem")
        )
    })
    .await;
    let folder = server.folder();
    let tls = |ca: &str, client: Option<&str>| BusTls {
        required: false,
        ca: Some(folder.join(format!("{ca}-ca.pem"))),
        client: client.map(|whose| ClientCertificate {
            certificate: folder.join(format!("{whose}-client.pem")),
            key: folder.join(format!("{whose}-client.key")),
        }),
    };
    comes_in(BusOptions { tls: tls("right", Some("right")), ..options(&server) }).await;
    for (ca, client) in [("wrong", Some("right")), ("right", Some("wrong")), ("right", None)] {
        let said = refusal(BusOptions { tls: tls(ca, client), ..options(&server) }).await;
        assert!(said.contains("TLS is asked for"), "{ca} {client:?}: {said}");
    }
    let broken = BusTls { ca: Some(folder.join("right-client.key")), ..BusTls::default() };
    let refused = Bus::connect(&BusOptions { tls: broken, ..options(&server) }).await.unwrap_err().to_string();
    assert!(refused.contains("right-client.key") && refused.contains("no PEM file of that kind"), "{refused}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_talked_to_where_tls_is_asked_for() {
    let server = configured_nats(|_| String::new()).await;
    let tls = BusTls { required: true, ..BusTls::default() };
    let said = refusal(BusOptions { tls, ..options(&server) }).await;
    assert!(said.contains("TLS is asked for"), "{said}");
}

#[tokio::test]
async fn the_jetstream_of_a_domain_is_used() {
    let server =
        configured_nats(|folder| format!("jetstream {{ store_dir: {:?}, domain: hub }}", folder.join("jetstream")))
            .await;
    let bus = Bus::connect(&BusOptions { jetstream_domain: Some("hub".to_owned()), ..options(&server) }).await.unwrap();
    bus.connected(TIMEOUT).await.unwrap();
    streams::ensure_events(&bus, &StreamBounds::default()).await.unwrap();
    app::command_consumer::ensure_consumer(&bus, &StreamBounds::default()).await.unwrap();
    let elsewhere = BusOptions { jetstream_domain: Some("elsewhere".to_owned()), ..options(&server) };
    let bus = Bus::connect(&elsewhere).await.unwrap();
    bus.connected(TIMEOUT).await.unwrap();
    assert!(streams::ensure_events(&bus, &StreamBounds::default()).await.is_err());
}
