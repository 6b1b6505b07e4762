//! Connections and who is behind them: nobody takes all of them, and nobody is taken for somebody else.

use std::time::Duration;

use gateway::GatewayOptions;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{ADMIN, VIEWER, World};

const ASK: &[u8] = b"GET /livez HTTP/1.1\r\nhost: lablet\r\n\r\n";

async fn answered(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 4_096];
    let read = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

/// Reads until the gateway ends the connection.
async fn ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[tokio::test]
async fn an_idle_connection_and_a_half_sent_second_request_end_by_themselves() {
    let longest_idle = Duration::from_millis(300);
    let world = World::start_with(GatewayOptions { longest_idle, ..GatewayOptions::default() }).await;
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    let mut half = TcpStream::connect(world.address).await.unwrap();
    for stream in [&mut idle, &mut half] {
        stream.write_all(ASK).await.unwrap();
        assert!(answered(stream).await.starts_with("HTTP/1.1 200"));
    }
    half.write_all(b"GET /livez HTTP/1.1\r\nhost: lab").await.unwrap();
    ended(&mut idle).await;
    ended(&mut half).await;
}

#[tokio::test]
async fn a_newcomer_gets_in_where_all_places_are_taken_by_idle_connections() {
    let world = World::start_with(GatewayOptions { most_connections: 8, ..GatewayOptions::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        assert!(answered(&mut stream).await.starts_with("HTTP/1.1 200"));
        idle.push(stream);
    }
    let mut newcomer = TcpStream::connect(world.address).await.unwrap();
    newcomer.write_all(ASK).await.unwrap();
    assert!(answered(&mut newcomer).await.starts_with("HTTP/1.1 200"));
    // The one that was idle for longest made room.
    ended(&mut idle[0]).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_given_up() {
    let longest_stall = Duration::from_millis(300);
    let world = World::start_with(GatewayOptions { longest_stall, ..GatewayOptions::default() }).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let ask = b"GET /api/openapi.json HTTP/1.1\r\nhost: lablet\r\n\r\n";
    // Answers pile up on their way; once no more fit, the gateway stops reading, waits a while, and ends it.
    let broken = loop {
        if let Err(error) = stream.write_all(ask).await {
            break error;
        }
    };
    assert!(matches!(broken.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe), "{broken}");
}

#[tokio::test]
async fn a_right_token_is_not_refused_for_wrong_ones_of_others_behind_the_same_proxy() {
    let proxies = "127.0.0.1".parse().unwrap();
    let world = World::start_with(GatewayOptions { trusted_proxies: proxies, ..GatewayOptions::default() }).await;
    let sign_in = async |token: &str, client: &str| {
        let body = format!("token={token}&return_to=%2F");
        let request = world
            .request(Method::POST, "/sign-in/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .header("x-forwarded-for", client);
        world.send(request.body(body)).await.status
    };
    for _ in 0..10 {
        assert_eq!(sign_in("wrong", "203.0.113.7").await, 401);
    }
    assert_eq!(sign_in("wrong", "203.0.113.7").await, 429);
    assert_eq!(sign_in("wrong", "203.0.113.8").await, 401, "another client of the same proxy");
    assert_eq!(sign_in("wrong", "203.0.113.7, 203.0.113.9").await, 401, "what a client says of itself does not count");
    // The client follows to the overview.
    assert_eq!(sign_in(ADMIN, "203.0.113.7").await, 200, "a right token from the same place");
}

#[tokio::test]
async fn metrics_are_for_those_who_may() {
    let nobody = "none".parse().unwrap();
    let world = World::start_with(GatewayOptions { metrics_readers: nobody, ..GatewayOptions::default() }).await;
    world.send(world.request(Method::GET, "/metrics")).await.expect(401);
    world.send(world.request(Method::GET, "/metrics").bearer_auth(VIEWER)).await.expect(200);
    let world = World::start().await;
    world.send(world.request(Method::GET, "/metrics")).await.expect(200);
    let through_a_proxy = world.request(Method::GET, "/metrics").header("x-forwarded-for", "127.0.0.1");
    world.send(through_a_proxy).await.expect(401);
}

#[tokio::test]
async fn a_viewer_sees_operations_as_a_page_and_by_the_api_and_dead_letters_by_neither() {
    let world = World::start().await;
    for (path, status) in [
        ("/operations", 200),
        ("/operations?table=read_models&format=csv", 200),
        ("/api/operations", 200),
        ("/operations?table=dead_letters&format=csv", 403),
        ("/api/dead-letters", 403),
    ] {
        let answer = world.send(world.request(Method::GET, path).bearer_auth(VIEWER)).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
}
