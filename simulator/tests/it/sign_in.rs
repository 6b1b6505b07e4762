use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use simulator::{ApiVersion, SimulatorOptions};

use crate::client::{Controller, options};

#[tokio::test]
async fn wrong_credentials_are_403_in_the_form_of_an_error() {
    let controller = Controller::start().await;
    for (username, password) in [("admin", "wrong"), ("nobody", crate::client::PASSWORD)] {
        let body = json!({ "username": username, "password": password }).to_string();
        let reply = controller.call(Method::POST, "/api/v0/authenticate", Some(body)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert_eq!(reply.json(), json!({ "code": 403, "description": "Authentication failed!" }));
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_was_given() {
    let mut controller = Controller::with(SimulatorOptions { token_life: Duration::from_secs(60), ..options() }).await;
    assert_eq!(controller.get("/authok").await, "OK");
    controller.pass(59);
    assert_eq!(controller.get("/authok").await, "OK");
    controller.pass(2);
    let reply = controller.call(Method::GET, "/api/v0/authok", None).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.json()["code"], 401);
    assert!(reply.json()["description"].is_string());
    controller.sign_in().await;
    assert_eq!(controller.get("/authok").await, "OK");
}

#[tokio::test]
async fn signing_out_and_expiry_void_the_token() {
    let mut controller = Controller::start().await;
    let reply = controller.call(Method::DELETE, "/api/v0/logout", None).await;
    assert_eq!(reply.json(), json!(true));
    assert_eq!(controller.call(Method::GET, "/api/v0/labs", None).await.status, StatusCode::UNAUTHORIZED);
    controller.sign_in().await;
    controller.simulator.expire_tokens();
    assert_eq!(controller.call(Method::GET, "/api/v0/labs", None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn whether_the_controller_is_there_needs_no_token() {
    let controller = Controller::start().await;
    controller.simulator.expire_tokens();
    let information = controller.get("/system_information").await;
    assert_eq!(information["version"], "2.9.1+build.7");
    assert_eq!(information["ready"], true);
}

#[tokio::test]
async fn who_one_is_can_be_asked_from_2_10() {
    let older = Controller::start().await;
    let reply = older.call(Method::GET, "/api/v0/authentication", None).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    let newer = Controller::with_api(ApiVersion::V2_10).await;
    assert_eq!(newer.get("/authentication").await["username"], "admin");
}

#[tokio::test]
async fn plain_http_is_served_on_demand() {
    let controller = Controller::with(SimulatorOptions { tls: false, ..options() }).await;
    assert!(controller.simulator.url().starts_with("http://"));
    assert_eq!(controller.simulator.certificate_pem(), "");
    assert_eq!(controller.get("/authok").await, "OK");
    let address = controller.simulator.address();
    controller.simulator.stop().await;
    std::net::TcpListener::bind(address).expect("the port is free again");
}
