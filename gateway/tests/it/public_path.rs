//! A gateway below a path of its host, behind a proxy that strips the path.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use reqwest::Method;
use tokio::sync::OnceCell;

use crate::sign_in::Browser;
use crate::world::{ADMIN, Surroundings, World};

const BASE: &str = "/labs/lablet";

/// Where the proxy sends what comes below the path.
static BEHIND: OnceCell<String> = OnceCell::const_new();

/// Strips the path, and has nothing beside it.
async fn strip(State(http): State<reqwest::Client>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
    let Some(path) = path.strip_prefix(BASE).filter(|path| path.starts_with('/')) else {
        return (http::StatusCode::NOT_FOUND, "the proxy has nothing there").into_response();
    };
    let behind = BEHIND.get().unwrap();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let answer = http.request(parts.method, format!("{behind}{path}")).headers(parts.headers).body(body).send().await;
    let answer = answer.unwrap();
    let mut response = Response::builder().status(answer.status());
    response.headers_mut().unwrap().extend(answer.headers().clone());
    response.body(Body::from_stream(answer.bytes_stream())).unwrap()
}

/// The addresses of a page, by the attributes in which they stand.
fn addresses(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for attribute in ["href", "src", "action", "hx-get", "data-live"] {
        for part in page.split(&format!(" {attribute}=\"")).skip(1) {
            found.insert(part.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&"));
        }
    }
    found
}

#[tokio::test]
async fn everything_works_below_the_path_behind_a_proxy_that_strips_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let public_url = Some(format!("http://{proxy}{BASE}"));
    let mut world = World::start_in(Surroundings { public_url, ..Surroundings::default() }).await;
    BEHIND.set(format!("http://{}", world.address)).unwrap();
    let none = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(none).build().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(strip).with_state(http)).await });
    world.session("s1", "running").await;
    world.settle().await;
    // From here on through the proxy alone.
    world.address = proxy;
    let mut ada = Browser::new(&world);
    let at = |path: &str| format!("{BASE}{path}");
    assert_eq!(
        ada.get(&at("/sessions?a=b")).await.expect(303).header("location"),
        at("/sign-in?return_to=%2Fsessions%3Fa%3Db")
    );
    let htmx = ada.request(Method::GET, &at("/")).header("hx-request", "true");
    let htmx = ada.send(htmx.header("hx-current-url", format!("http://{proxy}{BASE}/workers?a=b"))).await.expect(401);
    assert_eq!(htmx.header("hx-redirect"), at("/sign-in?return_to=%2Fworkers%3Fa%3Db"));
    let signed_in = ada.post(&at("/sign-in/token"), &[("token", ADMIN), ("return_to", "/sessions")]).await.expect(303);
    assert_eq!(signed_in.header("location"), at("/sessions"));
    let cookie = signed_in.header("set-cookie");
    assert!(cookie.contains(&format!("; Path={BASE};")), "{cookie}");

    // Every address on every page that can be reached leads below the path, and to something.
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![at("/")]);
    while let Some(path) = waiting.pop() {
        let without_part = path.split('#').next().unwrap().to_owned();
        let is_endless = without_part.contains("/api/stream") || without_part.contains("/sign-out");
        if without_part.is_empty() || is_endless || seen.len() > 120 || !seen.insert(without_part.clone()) {
            continue;
        }
        let answer = ada.get(&without_part).await;
        assert!(matches!(answer.status, 200 | 303 | 405), "{without_part}: {} {}", answer.status, answer.body);
        if let Some(page) = answer.body.as_str().filter(|_| answer.header("content-type").starts_with("text/html")) {
            for address in addresses(page) {
                let is_ours = address.starts_with(&at("/")) || address.starts_with('#') || address.starts_with("http");
                assert!(is_ours, "{without_part} leads to {address}");
                if address.starts_with('/') {
                    waiting.push(address);
                }
            }
        }
    }
    assert!(seen.len() > 40, "{seen:?}");

    // The page's stream and its form, and the answer to a change by the API.
    let mut stream = ada.request(Method::GET, &at("/api/stream")).send().await.unwrap();
    assert!(stream.status().is_success() && stream.chunk().await.unwrap().is_some());
    let page = ada.get(&at("/sign-in")).await.expect(200);
    let (_, rest) = page.body.as_str().unwrap().split_once("name=\"csrf_token\" value=\"").unwrap();
    let csrf = rest.split('"').next().unwrap().to_owned();
    let sent = [("csrf_token", csrf.as_str()), ("form_page", "/sessions/s1")];
    let observed = ada.post(&at("/sessions/s1/observe"), &sent).await.expect(303);
    assert!(observed.header("location").starts_with(&at("/sessions/s1?request=")), "{:?}", observed.headers);
    let described = ada.get(&at("/api/openapi.json")).await.expect(200);
    assert_eq!(described.body["servers"][0]["url"], BASE);
    let index = ada.get(&at("/api")).await.expect(200);
    assert_eq!(index.body["links"]["sessions"], at("/api/lablet-sessions"));
    assert_eq!(ada.post(&at("/sign-out"), &sent).await.expect(303).header("location"), at("/sign-in"));
}
