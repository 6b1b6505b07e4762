//! Browsers: signing in by link and by token, sessions and their ends, and what other sites may not do.

use std::time::Duration;

use app::clock::{Clock, Mint};
use app::notice::PublicUrl;
use chrono::{DateTime, TimeDelta};
use gateway::GatewayOptions;
use gateway::authentication::Role;
use gateway::sign_in::{AdminName, SignInLinks, Tokens};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::world::{Answer, OPERATOR, VIEWER, World, definition};

/// A browser: it keeps its cookie and follows no redirect by itself.
struct Browser<'a> {
    world: &'a World,
    http: reqwest::Client,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(world: &'a World) -> Self {
        let none = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(none).build().unwrap();
        Self { world, http, cookie: None }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.world.address);
        let request = self.http.request(method, url).timeout(Duration::from_secs(60));
        match &self.cookie {
            Some(cookie) => request.header("cookie", format!("lablet_session={cookie}")),
            None => request,
        }
    }

    async fn send(&mut self, request: RequestBuilder) -> Answer {
        let answer = Answer::of(request.send().await.unwrap()).await;
        if let Some(rest) = answer.header("set-cookie").strip_prefix("lablet_session=") {
            let (value, attributes) = rest.split_once("; ").unwrap();
            assert!(!attributes.contains("Secure") && attributes.contains("HttpOnly; SameSite=Lax"), "{attributes}");
            self.cookie = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(self.form(path, fields).header("sec-fetch-site", "same-origin")).await
    }

    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let form = self.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        form.body(body.finish())
    }

    async fn sign_in(&mut self, token: &str) -> Answer {
        self.post("/sign-in/token", &[("token", token)]).await
    }

    async fn is_signed_in(&mut self) -> bool {
        match self.get("/api/lablet-sessions").await.status {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    async fn csrf_token(&mut self) -> String {
        let page = self.get("/sign-in").await.expect(200);
        let page = page.body.as_str().unwrap();
        let (_, rest) = page.split_once("name=\"csrf_token\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }
}

fn start_of_time() -> Clock {
    Clock::manual(DateTime::from_timestamp(1_772_000_000, 0).unwrap())
}

fn name(text: &str) -> AdminName {
    AdminName::parse(text).unwrap()
}

/// A link's path with query.
async fn link(world: &World, clock: &Clock, role: Role) -> String {
    let site = PublicUrl::parse(&format!("http://{}", world.address)).unwrap();
    let links = SignInLinks::new(world.log.pool().clone(), clock.clone());
    let link = links.create(&site, &name("ada"), role, TimeDelta::hours(24)).await.unwrap();
    link.strip_prefix(site.as_str()).unwrap().to_owned()
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let (world, clock) = (World::start().await, Clock::system());
    let path = link(&world, &clock, Role::Admin).await;
    let mut ada = Browser::new(&world);
    // A program that looks whether the link leads anywhere does not use it up.
    ada.send(ada.request(Method::HEAD, &path)).await.expect(204);
    let signed_in = ada.get(&format!("{path}&return_to=%2Fworkers%3Fa%3Db")).await.expect(303);
    assert_eq!(signed_in.header("location"), "/workers?a=b");
    assert!(ada.is_signed_in().await);

    let mut other = Browser::new(&world);
    let refused = other.get(&path).await.expect(410);
    assert!(refused.body.as_str().unwrap().contains("This link was used at"), "{}", refused.body);
    assert!(!refused.headers.contains_key("set-cookie"));
    let unknown = other.get("/sign-in/link?token=x").await.expect(410);
    assert!(unknown.body.as_str().unwrap().contains("not known here"), "{}", unknown.body);
}

#[tokio::test]
async fn a_link_is_valid_for_its_time() {
    let clock = start_of_time();
    let world = World::start_at(clock.clone(), GatewayOptions::default()).await;
    let path = link(&world, &clock, Role::Viewer).await;
    clock.advance(TimeDelta::hours(24));
    let refused = Browser::new(&world).get(&path).await.expect(410);
    assert!(refused.body.as_str().unwrap().contains("was valid until 2026-02-26T06:13:20Z"), "{}", refused.body);
}

#[tokio::test]
async fn a_token_signs_in_and_acts_under_its_name() {
    let world = World::start().await;
    world.session("s1", "running").await;
    let mut browser = Browser::new(&world);
    let refused = browser.sign_in("wrong").await.expect(401);
    assert!(refused.body.as_str().unwrap().contains("This token is not valid"), "{}", refused.body);
    assert_eq!(browser.sign_in(OPERATOR).await.expect(303).header("location"), "/");
    let page = browser.get("/sign-in").await.expect(200);
    assert!(page.body.as_str().unwrap().contains("<b>oli</b>, in the role operator"), "{}", page.body);

    let csrf = browser.csrf_token().await;
    let ask = |token: &str, site: &str| {
        let ask = browser.request(Method::POST, "/api/lablet-sessions/s1/observe-resources");
        ask.header("x-csrf-token", token).header("sec-fetch-site", site)
    };
    let (forged, wrong, right) = (ask(&csrf, "cross-site"), ask("wrong", "same-origin"), ask(&csrf, "same-origin"));
    let unproven = browser.request(Method::POST, "/api/lablet-sessions/s1/observe-resources");
    for refused in [forged, wrong, unproven] {
        browser.send(refused).await.problem(403, "forbidden", None);
    }
    let asked = browser.send(right).await.expect(202);
    let position = asked.body["position"].as_str().unwrap();
    let requests = world.get(&format!("/api/observation-requests?session_id=s1&position={position}")).await.expect(200);
    assert_eq!(requests.body["items"][0]["requested_by"], "admin:oli");
    assert_eq!(requests.body["items"].as_array().unwrap().len(), 1);

    // What the role may not do, it may not do in a browser either.
    let define = browser.request(Method::POST, "/api/lablet-definitions").header("x-csrf-token", &csrf);
    browser.send(define.json(&definition("d2"))).await.problem(403, "forbidden", None);
    // A key or a token beside the cookie decides.
    let as_viewer = browser.request(Method::POST, "/api/lablet-sessions/s1/observe-resources").bearer_auth(VIEWER);
    let refused = browser.send(as_viewer).await.problem(403, "forbidden", None);
    assert!(refused.body["detail"].as_str().unwrap().contains("\"vic\""), "{}", refused.body);
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_in_any_case_after_its_time() {
    let clock = start_of_time();
    let options = GatewayOptions {
        idle_session: Duration::from_secs(60 * 60),
        longest_session: Duration::from_secs(150 * 60),
        ..GatewayOptions::default()
    };
    let world = World::start_at(clock.clone(), options).await;
    let mut browser = Browser::new(&world);
    browser.sign_in(VIEWER).await.expect(303);
    for _ in 0..2 {
        clock.advance(TimeDelta::minutes(59));
        assert!(browser.is_signed_in().await);
    }
    clock.advance(TimeDelta::minutes(33));
    assert!(!browser.is_signed_in().await, "150 minutes have passed");

    browser.sign_in(VIEWER).await.expect(303);
    clock.advance(TimeDelta::minutes(59));
    // A page that keeps itself up to date is nobody at the keyboard.
    let refetch = browser.request(Method::GET, "/api/workers").header("lablet-position", position_zero());
    browser.send(refetch).await.expect(200);
    clock.advance(TimeDelta::minutes(2));
    assert!(!browser.is_signed_in().await, "nobody has used it for 61 minutes");

    browser.sign_in(VIEWER).await.expect(303);
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM browser_sessions").fetch_one(world.log.pool()).await.unwrap();
    assert_eq!(left, 1, "sessions that have ended are removed");
}

fn position_zero() -> String {
    app::log::Position::START.to_string()
}

#[tokio::test]
async fn a_session_is_renewed_at_each_sign_in_and_ended_by_signing_out() {
    let world = World::start().await;
    let mut browser = Browser::new(&world);
    browser.sign_in(VIEWER).await.expect(303);
    let first = browser.cookie.clone().unwrap();
    browser.sign_in(OPERATOR).await.expect(303);
    assert_ne!(browser.cookie.as_ref(), Some(&first));
    let mut fixated = Browser { cookie: Some(first), ..Browser::new(&world) };
    assert!(!fixated.is_signed_in().await);

    let csrf = browser.csrf_token().await;
    browser.post("/sign-out", &[("csrf_token", "wrong")]).await.expect(403);
    let forged = browser.form("/sign-out", &[("csrf_token", &csrf)]).header("origin", "https://evil.example");
    browser.send(forged).await.expect(403);
    assert!(browser.is_signed_in().await);
    let copy = browser.cookie.clone();
    assert_eq!(browser.post("/sign-out", &[("csrf_token", &csrf)]).await.expect(303).header("location"), "/sign-in");
    assert_eq!(browser.cookie, None);
    browser.cookie = copy;
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn nobody_is_signed_in_by_another_site_nor_sent_to_one() {
    let world = World::start().await;
    let mut browser = Browser::new(&world);
    for (header, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("origin", "null")] {
        let forged = browser.form("/sign-in/token", &[("token", VIEWER)]).header(header, value);
        browser.send(forged).await.expect(403);
    }
    assert_eq!(browser.cookie, None);
    for (wanted, got) in [
        ("/workers?a=b%20c", "/workers?a=b%20c"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/sign-in", "/"),
    ] {
        let signed_in = browser.post("/sign-in/token", &[("token", VIEWER), ("return_to", wanted)]).await.expect(303);
        assert_eq!(signed_in.header("location"), got, "{wanted}");
    }
}

#[tokio::test]
async fn a_minted_token_works_until_it_is_revoked_and_its_sessions_end_with_it() {
    let clock = start_of_time();
    let world = World::start_at(clock.clone(), GatewayOptions::default()).await;
    let (tokens, mint) = (Tokens::new(world.log.pool().clone(), clock.clone()), Mint::random());
    let (minted, secret) = tokens.create(&mint, &name("eve"), Role::Operator, None).await.unwrap();
    assert!(secret.starts_with("lablet_token_"));
    let by_token = || world.send(world.request(Method::GET, "/api/operations").bearer_auth(&secret));
    by_token().await.expect(200);
    let listed = tokens.list().await.unwrap();
    assert_eq!((listed[0].id, listed[0].last_used_at), (minted.id, Some(clock.now())));

    let (mut browser, mut other) = (Browser::new(&world), Browser::new(&world));
    browser.sign_in(&secret).await.expect(303);
    other.sign_in(OPERATOR).await.expect(303);
    assert!(browser.is_signed_in().await);
    let revoked = tokens.revoke(minted.id).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(clock.now()));
    by_token().await.problem(401, "unauthenticated", None);
    assert!(!browser.is_signed_in().await);
    assert!(other.is_signed_in().await);
    browser.sign_in(&secret).await.expect(401);
    assert_eq!(tokens.revoke(mint.uuid()).await.unwrap(), None);

    let valid_for = Some(TimeDelta::days(1));
    let (_, short) = tokens.create(&mint, &name("eve"), Role::Viewer, valid_for).await.unwrap();
    let by_token = || world.send(world.request(Method::GET, "/api/workers").bearer_auth(&short));
    by_token().await.expect(200);
    clock.advance(TimeDelta::days(1));
    by_token().await.problem(401, "unauthenticated", None);
}

#[tokio::test]
async fn whoever_guesses_tokens_has_to_wait() {
    let world = World::start().await;
    let mut browser = Browser::new(&world);
    for _ in 0..10 {
        browser.sign_in("guess").await.expect(401);
    }
    let refused = browser.sign_in(VIEWER).await.expect(429);
    assert!(!refused.header("retry-after").is_empty());
    // Programs that hold a token are not held up by it.
    world.get("/api/workers").await.expect(200);
}

#[tokio::test]
async fn without_a_database_nobody_signs_in_and_configured_tokens_work_on() {
    let world = World::without_database().await;
    let cookie = Some("a".repeat(43));
    let mut browser = Browser { cookie, ..Browser::new(&world) };
    browser.get("/api/workers").await.problem(503, "unavailable", None);
    let minted = world.request(Method::GET, "/api/schemas").bearer_auth("lablet_token_x");
    world.send(minted).await.expect(200);
    let minted = world.request(Method::GET, "/api/workers").bearer_auth("lablet_token_x");
    world.send(minted).await.problem(503, "unavailable", None);
    let body = json!({"definition_id": "d1"});
    let forbidden = world.request(Method::POST, "/api/internal/lablet-sessions").bearer_auth(VIEWER).json(&body);
    world.send(forbidden).await.problem(403, "forbidden", None);
}

#[tokio::test]
async fn a_page_without_a_session_leads_to_signing_in_and_back_a_form_with_what_was_filled_in() {
    let world = World::start().await;
    let mut browser = Browser::new(&world);
    let sent = browser.get("/?a=b&c=d%20e").await.expect(303);
    assert_eq!(sent.header("location"), "/sign-in?return_to=%2F%3Fa%3Db%26c%3Dd%2520e");
    let by_htmx = browser.request(Method::GET, "/").header("hx-request", "true");
    let by_htmx = browser.send(by_htmx.header("hx-current-url", "http://elsewhere/workers?a=b")).await.expect(401);
    assert_eq!(by_htmx.header("hx-redirect"), "/sign-in?return_to=%2Fworkers%3Fa%3Db");

    // Every form of a page goes through the same door; signing out is one.
    let fields = |page| {
        let own = [("csrf_token", "old"), ("idempotency_key", "1"), ("form_page", page)];
        [own.as_slice(), &[("cpu_cores", "8"), ("reason", "<b>ü & more")]].concat()
    };
    let sent = browser.post("/sign-out", &fields("/definitions/d1/edit?from=max")).await.expect(303);
    let page = "/definitions/d1/edit?from=max&cpu_cores=8&reason=%3Cb%3E%C3%BC+%26+more";
    let address: String = url::form_urlencoded::byte_serialize(page.as_bytes()).collect();
    assert_eq!(sent.header("location"), format!("/sign-in?return_to={address}"));
    let elsewhere = browser.post("/sign-out", &fields("//evil.example")).await.expect(303);
    assert_eq!(elsewhere.header("location"), "/sign-in?return_to=%2F");

    // Signed in again in another tab: the form is shown again, and nothing was done.
    browser.sign_in(VIEWER).await.expect(303);
    let again = browser.post("/sign-out", &fields("/definitions/d1/edit?from=max")).await.expect(303);
    assert_eq!(again.header("location"), page);
    assert!(browser.is_signed_in().await);
    let large = "x".repeat(100_000);
    browser.post("/sign-out", &[("reason", large.as_str())]).await.expect(413);
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn an_open_stream_ends_with_the_session_that_opened_it() {
    let world = World::start().await;
    let (mut browser, mut other) = (Browser::new(&world), Browser::new(&world));
    for browser in [&mut browser, &mut other] {
        browser.sign_in(VIEWER).await.expect(303);
    }
    let mut ending = browser.request(Method::GET, "/api/stream").send().await.unwrap();
    let mut staying = other.request(Method::GET, "/api/stream").send().await.unwrap();
    assert!(ending.chunk().await.unwrap().is_some() && staying.chunk().await.unwrap().is_some());
    let csrf = browser.csrf_token().await;
    browser.post("/sign-out", &[("csrf_token", &csrf)]).await.expect(303);
    while ending.chunk().await.unwrap().is_some() {}
    // The other one goes on: what happens still reaches it.
    world.session("s1", "pending").await;
    let mut told = String::new();
    while !told.contains("lablet_session.created") {
        let chunk = staying.chunk().await.unwrap().expect("the stream goes on");
        told.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}
