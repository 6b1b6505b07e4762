//! Browsers: signing in by link and by token, sessions and their ends, and what other sites may not do.

use std::collections::BTreeMap;
use std::time::Duration;

use app::notice::PublicUrl;
use bus::clock::{Clock, IdGenerator};
use chrono::{DateTime, TimeDelta};
use gateway::GatewayOptions;
use gateway::authentication::Role;
use gateway::sign_in::{AdminName, SignInLinks, Tokens};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sha2::Digest as _;

use crate::world::{ADMIN, Answer, OPERATOR, VIEWER, World, definition};

/// A browser: it keeps its cookies and follows no redirect by itself.
pub(crate) struct Browser<'a> {
    world: &'a World,
    http: reqwest::Client,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let none = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).redirect(none).build().unwrap();
        Self { world, http, cookies: BTreeMap::new() }
    }

    /// A browser with the cookies of another.
    fn with(world: &'a World, cookies: BTreeMap<String, String>) -> Self {
        Self { cookies, ..Self::new(world) }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.world.address);
        let request = self.http.request(method, url).timeout(Duration::from_secs(60));
        let jar: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if jar.is_empty() { request } else { request.header("cookie", jar.join("; ")) }
    }

    pub(crate) async fn send(&mut self, request: RequestBuilder) -> Answer {
        let answer = Answer::of(request.send().await.unwrap()).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let (value, attributes) = rest.split_once("; ").unwrap();
            assert!(!attributes.contains("Secure") && attributes.contains("HttpOnly; SameSite=Lax"), "{attributes}");
            self.cookies.remove(name);
            if !value.is_empty() {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// The cookie of its session.
    fn session(&self) -> Option<(&String, &String)> {
        self.cookies.iter().find(|(name, _)| name.starts_with("lablet_session_"))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(self.form(path, fields).header("sec-fetch-site", "same-origin")).await
    }

    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let form = self.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        form.body(body.finish())
    }

    pub(crate) async fn sign_in(&mut self, token: &str) -> Answer {
        self.post("/sign-in/token", &[("token", token)]).await
    }

    pub(crate) async fn is_signed_in(&mut self) -> bool {
        match self.get("/api/lablet-sessions").await.status {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    pub(crate) async fn csrf_token(&mut self) -> String {
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

/// What the form of a link's page sends.
fn fields_of(link: &str) -> Vec<(&str, &str)> {
    vec![("token", link.split_once("token=").unwrap().1)]
}

#[tokio::test]
async fn a_link_signs_in_once_when_its_button_is_pressed() {
    let (world, clock) = (World::start().await, Clock::system());
    let path = link(&world, &clock, Role::Admin).await;
    let mut ada = Browser::new(&world);
    // Whoever only looks does not use it up: a program, a mail scanner, a browser that fetches ahead.
    ada.send(ada.request(Method::HEAD, &path)).await.expect(200);
    for _ in 0..2 {
        let opened = ada.get(&format!("{path}&return_to=%2Fworkers%3Fa%3Db")).await.expect(200);
        let page = opened.body.as_str().unwrap();
        assert!(page.contains("signs you in as <b>ada</b>, in the role admin"), "{page}");
        assert!(page.contains("name=\"return_to\" value=\"/workers?a=b\""), "{page}");
        assert!(ada.cookies.is_empty());
    }
    let pressed = [fields_of(&path), vec![("return_to", "/workers?a=b")]].concat();
    assert_eq!(ada.post("/sign-in/link", &pressed).await.expect(303).header("location"), "/workers?a=b");
    assert!(ada.is_signed_in().await);

    let mut other = Browser::new(&world);
    for refused in [other.get(&path).await, other.post("/sign-in/link", &pressed).await] {
        let refused = refused.expect(410);
        assert!(refused.body.as_str().unwrap().contains("This link was used at"), "{}", refused.body);
        assert!(refused.body.as_str().unwrap().contains("lablet token link"), "{}", refused.body);
        assert!(!refused.headers.contains_key("set-cookie"));
    }
    let unknown = other.get("/sign-in/link?token=x").await.expect(410);
    assert!(unknown.body.as_str().unwrap().contains("not known here"), "{}", unknown.body);
}

#[tokio::test]
async fn no_other_site_signs_anybody_in_by_a_link_and_who_is_signed_in_is_asked() {
    let (world, clock) = (World::start().await, Clock::system());
    let path = link(&world, &clock, Role::Viewer).await;
    let mut oli = Browser::new(&world);
    oli.sign_in(OPERATOR).await.expect(303);
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let forged = oli.form("/sign-in/link", &fields_of(&path)).header(header, value);
        oli.send(forged).await.expect(403);
    }
    let opened = oli.send(oli.request(Method::GET, &path).header("sec-fetch-site", "cross-site")).await.expect(200);
    let page = opened.body.as_str().unwrap();
    assert!(page.contains("You are signed in as <b>oli</b>, in the role operator"), "{page}");
    assert!(oli.get("/sign-in").await.body.as_str().unwrap().contains("<b>oli</b>"));
    oli.post("/sign-in/link", &fields_of(&path)).await.expect(303);
    assert!(oli.get("/sign-in").await.body.as_str().unwrap().contains("<b>ada</b>, in the role viewer"));
}

#[tokio::test]
async fn a_link_is_valid_for_its_time() {
    let clock = start_of_time();
    let world = World::start_at(clock.clone(), GatewayOptions::default()).await;
    let path = link(&world, &clock, Role::Viewer).await;
    clock.advance(TimeDelta::hours(24));
    let mut browser = Browser::new(&world);
    for refused in [browser.get(&path).await, browser.post("/sign-in/link", &fields_of(&path)).await] {
        let refused = refused.expect(410);
        assert!(refused.body.as_str().unwrap().contains("was valid until 2026-02-26T06:13:20Z"), "{}", refused.body);
    }
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
    let first = browser.cookies.clone();
    browser.sign_in(OPERATOR).await.expect(303);
    assert_ne!(browser.cookies, first);
    let mut fixated = Browser::with(&world, first);
    assert!(!fixated.is_signed_in().await);

    let csrf = browser.csrf_token().await;
    browser.post("/sign-out", &[("csrf_token", "wrong")]).await.expect(403);
    let forged = browser.form("/sign-out", &[("csrf_token", &csrf)]).header("origin", "https://evil.example");
    browser.send(forged).await.expect(403);
    assert!(browser.is_signed_in().await);
    let copy = browser.cookies.clone();
    assert_eq!(browser.post("/sign-out", &[("csrf_token", &csrf)]).await.expect(303).header("location"), "/sign-in");
    assert_eq!(browser.session(), None);
    browser.cookies = copy;
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
    assert_eq!(browser.session(), None);
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
async fn a_generated_token_works_until_it_is_revoked_and_its_sessions_end_with_it() {
    let clock = start_of_time();
    let world = World::start_at(clock.clone(), GatewayOptions::default()).await;
    let (tokens, id_generator) = (Tokens::new(world.log.pool().clone(), clock.clone()), IdGenerator::random());
    let (token, secret) = tokens.create(&id_generator, &name("eve"), Role::Operator, None).await.unwrap();
    assert!(secret.starts_with("lablet_token_"));
    let by_token = || world.send(world.request(Method::GET, "/api/operations").bearer_auth(&secret));
    by_token().await.expect(200);
    let listed = tokens.list().await.unwrap();
    assert_eq!((listed[0].id, listed[0].last_used_at), (token.id, Some(clock.now())));

    let (mut browser, mut other) = (Browser::new(&world), Browser::new(&world));
    browser.sign_in(&secret).await.expect(303);
    other.sign_in(OPERATOR).await.expect(303);
    assert!(browser.is_signed_in().await);
    let revoked = tokens.revoke(token.id).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(clock.now()));
    by_token().await.problem(401, "unauthenticated", None);
    assert!(!browser.is_signed_in().await);
    assert!(other.is_signed_in().await);
    browser.sign_in(&secret).await.expect(401);
    assert_eq!(tokens.revoke(id_generator.uuid()).await.unwrap(), None);

    let valid_for = Some(TimeDelta::days(1));
    let (_, short) = tokens.create(&id_generator, &name("eve"), Role::Viewer, valid_for).await.unwrap();
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
    let refused = browser.sign_in("guess").await.expect(429);
    assert!(!refused.header("retry-after").is_empty());
    // Whoever holds a token is not held up by it, in a browser or as a program.
    browser.sign_in(VIEWER).await.expect(303);
    world.get("/api/workers").await.expect(200);
}

#[tokio::test]
async fn without_a_database_nobody_signs_in_and_configured_tokens_work_on() {
    let world = World::without_database().await;
    let tag: String = sha2::Sha256::digest(format!("http://{}", world.address))[..5]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("lablet_session_{tag}");
    let mut browser = Browser::with(&world, BTreeMap::from([(name, "a".repeat(43))]));
    browser.get("/api/workers").await.problem(503, "unavailable", None);
    let request = world.request(Method::GET, "/api/schemas").bearer_auth("lablet_token_x");
    world.send(request).await.expect(200);
    let request = world.request(Method::GET, "/api/workers").bearer_auth("lablet_token_x");
    world.send(request).await.problem(503, "unavailable", None);
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

    // Every form of a page has the same entrance; signing out is one. A form that was never served here is not kept.
    let fields = |token, page| {
        let own = [("csrf_token", token), ("idempotency_key", "1"), ("form_page", page)];
        [own.as_slice(), &[("cpu_cores", "8"), ("reason", "<b>ü & more")]].concat()
    };
    let sent = browser.post("/sign-out", &fields("made-up", "/definitions/d1/edit?from=max")).await.expect(303);
    assert_eq!(sent.header("location"), "/sign-in?return_to=%2Fdefinitions%2Fd1%2Fedit%3Ffrom%3Dmax");
    let elsewhere = browser.post("/sign-out", &fields("made-up", "//evil.example")).await.expect(303);
    assert_eq!(elsewhere.header("location"), "/sign-in?return_to=%2F");

    // Signed in again in another tab: the form is shown again, with what was filled in, and nothing was done.
    browser.sign_in(VIEWER).await.expect(303);
    let again = browser.post("/sign-out", &fields("old", "/definitions/d1/edit?from=max")).await.expect(303);
    assert!(again.header("location").starts_with("/definitions/d1/edit?from=max&saved_form="), "{:?}", again.headers);
    assert!(browser.is_signed_in().await);
    let large = "x".repeat(100_000);
    browser.post("/sign-out", &[("reason", large.as_str())]).await.expect(413);
    assert!(browser.is_signed_in().await);
}

/// A definition, and the page on which it is revised.
async fn edit_page(world: &World) -> &'static str {
    world.post("/api/lablet-definitions", &definition("d1")).await.expect(201);
    world.settle().await;
    "/definitions/d1/edit?from=custom"
}

/// Where signing in leads back to.
fn return_to(answer: &Answer) -> String {
    let address = answer.header("location").strip_prefix("/sign-in?return_to=").unwrap();
    url::form_urlencoded::parse(format!("to={address}").as_bytes()).next().unwrap().1.into_owned()
}

#[tokio::test]
async fn a_long_draft_that_signing_in_interrupts_comes_back_whole_to_its_author_alone() {
    let clock = start_of_time();
    let world = World::start_at(clock.clone(), GatewayOptions::default()).await;
    let page = edit_page(&world).await;
    let mut ada = Browser::new(&world);
    ada.sign_in(ADMIN).await.expect(303);
    let edit = ada.get(page).await.expect(200).body.as_str().unwrap().to_owned();
    let shown = |name: &str| {
        let (_, rest) = edit.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split_once('"').unwrap().0.replace("&#34;", "\"")
    };
    // 2,000 characters of Chinese, and as many that need twice the room.
    let description = format!("{}{}", "实".repeat(2_000), "🧪".repeat(2_000));
    let (csrf, etag) = (shown("csrf_token"), shown("etag"));
    let draft = [
        ("csrf_token", csrf.as_str()),
        ("form_page", "/definitions/d1/edit"),
        ("etag", etag.as_str()),
        ("revision", "1"),
        ("cpu_cores", "12"),
        ("memory_gb", "8"),
        ("storage_gb", "20"),
        ("description", description.as_str()),
    ];
    let is_whole = |page: &Answer| {
        let page = page.body.as_str().unwrap();
        page.contains(&description) && page.contains("name=\"cpu_cores\" value=\"12\"")
    };
    clock.advance(TimeDelta::minutes(61));
    let interrupted = ada.post("/definitions/d1/review", &draft).await.expect(303);
    let back = return_to(&interrupted);
    assert!(back.len() < 200 && back.starts_with("/definitions/d1/edit?saved_form="), "{back}");
    assert!(!world.get(&back).await.body.as_str().unwrap().contains(&description), "it is not for others");

    let signed_in = ada.post("/sign-in/token", &[("token", ADMIN), ("return_to", &back)]).await.expect(303);
    assert_eq!(signed_in.header("location"), back);
    // Whole, and again when the page is loaded anew.
    for _ in 0..2 {
        assert!(is_whole(&ada.get(&back).await.expect(200)));
    }
    // Somebody else, in the same browser or in another, does not see it.
    let mut oli = Browser::new(&world);
    oli.sign_in(OPERATOR).await.expect(303);
    assert!(!is_whole(&oli.get(&back).await.expect(200)));

    // The review has an address that is as short, and so has the way back from it.
    let csrf = ada.csrf_token().await;
    let draft = [[("csrf_token", csrf.as_str())].as_slice(), &draft[1..]].concat();
    let review = ada.post("/definitions/d1/review", &draft).await.expect(303).header("location").to_owned();
    assert!(review.len() < 300 && review.contains("saved_form="), "{review}");
    let reviewed = ada.get(&review).await.expect(200);
    let page = reviewed.body.as_str().unwrap();
    assert!(page.contains(&description) && page.contains("Apply this revision"), "{page}");
    assert!(is_whole(&ada.get(&review.replace("/review?", "/edit?")).await.expect(200)));

    // Interrupted at the review, the reason comes back as well; then it is applied.
    clock.advance(TimeDelta::minutes(61));
    let confirmed =
        [&draft[1..], &[("reason", "为什么".repeat(600).leak() as &str), ("csrf_token", csrf.as_str())]].concat();
    let confirmed: Vec<_> = confirmed
        .into_iter()
        .map(|(name, value)| if name == "form_page" { (name, "/definitions/d1/review") } else { (name, value) })
        .collect();
    let back = return_to(&ada.post("/definitions/d1/revise", &confirmed).await.expect(303));
    ada.sign_in(ADMIN).await.expect(303);
    let again = ada.get(&back).await.expect(200);
    let page = again.body.as_str().unwrap();
    assert!(page.contains(&description) && page.contains(&"为什么".repeat(600)), "{page}");
    let csrf = ada.csrf_token().await;
    let confirmed: Vec<_> = confirmed
        .into_iter()
        .map(|(name, value)| if name == "csrf_token" { (name, csrf.as_str()) } else { (name, value) })
        .collect();
    let done = ada.post("/definitions/d1/revise", &confirmed).await.expect(303);
    assert!(done.header("location").contains("revised=2"), "{:?}", done.headers);

    // After a day it is gone.
    clock.advance(TimeDelta::hours(24));
    ada.sign_in(ADMIN).await.expect(303);
    let empty = ada.get(&back).await.expect(303);
    assert!(empty.header("location").starts_with("/definitions/d1/edit"), "{:?}", empty.headers);
}

#[tokio::test]
async fn what_is_kept_of_forms_is_bounded_and_holds_no_secret() {
    let world = World::start().await;
    let (mut ada, mut oli) = (Browser::new(&world), Browser::new(&world));
    ada.sign_in(ADMIN).await.expect(303);
    oli.sign_in(OPERATOR).await.expect(303);
    let large = "x".repeat(60_000);
    let kept = async |person: &mut Browser<'_>, reason: &str| {
        let common = [("csrf_token", "old"), ("idempotency_key", "secret-key"), ("form_page", "/definitions")];
        let fields = [common.as_slice(), &[("reason", reason)]].concat();
        person.post("/sign-out", &fields).await.expect(303);
    };
    kept(&mut oli, "small").await;
    for _ in 0..25 {
        kept(&mut ada, &large).await;
    }
    let (forms, bytes): (i64, i64) =
        sqlx::query_as("SELECT count(*), sum(octet_length(fields)) FROM interrupted_forms")
            .fetch_one(world.log.pool())
            .await
            .unwrap();
    assert!(bytes <= (1 << 20) + 100 && forms > 10, "{forms} {bytes}");
    let small: i64 = sqlx::query_scalar("SELECT count(*) FROM interrupted_forms WHERE fields = 'reason=small'")
        .fetch_one(world.log.pool())
        .await
        .unwrap();
    assert_eq!(small, 1, "one person takes no other's room, and no secret is kept");
}

#[tokio::test]
async fn admins_see_who_is_signed_in_and_end_sessions_at_once() {
    let world = World::start().await;
    let (mut ada, mut vic) = (Browser::new(&world), Browser::new(&world));
    ada.sign_in(ADMIN).await.expect(303);
    vic.sign_in(VIEWER).await.expect(303);
    for (caller, status) in [(VIEWER, 403), (OPERATOR, 403), (ADMIN, 200)] {
        world.send(world.request(Method::GET, "/api/sign-ins").bearer_auth(caller)).await.expect(status);
    }
    vic.get("/operations/sign-ins").await.expect(403);
    let listed = ada.get("/api/sign-ins").await.expect(200);
    let items = listed.body["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let of_vic = items.iter().find(|item| item["name"] == "vic").unwrap();
    assert_eq!(
        (&of_vic["role"], &of_vic["signed_in_by"], &of_vic["address"]),
        (&json!("viewer"), &json!("token"), &json!("127.0.0.1"))
    );
    assert!(of_vic["signed_in_at"].is_string() && of_vic["last_used_at"].is_string());
    let page = ada.get("/operations/sign-ins").await.expect(200);
    let page = page.body.as_str().unwrap();
    assert!(page.contains("vic") && page.contains("by a token") && page.contains("(this browser)"), "{page}");

    let mut stream = vic.request(Method::GET, "/api/stream").send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let id = of_vic["id"].as_str().unwrap();
    let csrf = ada.csrf_token().await;
    ada.post(&format!("/operations/sign-ins/{id}/end"), &[("csrf_token", "wrong")]).await.expect(403);
    assert!(vic.is_signed_in().await);
    let ended = ada.post(&format!("/operations/sign-ins/{id}/end"), &[("csrf_token", &csrf)]).await.expect(303);
    assert_eq!(ended.header("location"), "/operations/sign-ins?ended=vic");
    assert!(!vic.is_signed_in().await);
    while stream.chunk().await.unwrap().is_some() {}

    vic.sign_in(VIEWER).await.expect(303);
    let items = ada.get("/api/sign-ins").await.expect(200).body["items"].clone();
    let id = items.as_array().unwrap().iter().find(|item| item["name"] == "vic").unwrap()["id"].clone();
    let path = format!("/api/sign-ins/{}", id.as_str().unwrap());
    let end = |token| world.send(world.request(Method::DELETE, &path).bearer_auth(token));
    end(OPERATOR).await.problem(403, "forbidden", None);
    assert_eq!(end(ADMIN).await.expect(200).body["name"], "vic");
    end(ADMIN).await.problem(404, "not-found", None);
    assert!(!vic.is_signed_in().await);
    let odd = world.request(Method::DELETE, "/api/sign-ins/x").bearer_auth(ADMIN);
    world.send(odd).await.problem(400, "invalid-input", Some("id"));
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

#[tokio::test]
async fn times_that_cannot_be_read_harm_only_their_own_row() {
    let world = World::start().await;
    let (tokens, id_generator) = (Tokens::new(world.log.pool().clone(), Clock::system()), IdGenerator::random());
    let (broken, secret) = tokens.create(&id_generator, &name("eve"), Role::Operator, None).await.unwrap();
    let (whole, _) = tokens.create(&id_generator, &name("ada"), Role::Viewer, None).await.unwrap();
    let mut browser = Browser::new(&world);
    browser.sign_in(&secret).await.expect(303);
    for statement in [
        "UPDATE admin_tokens SET created_at = '-infinity', expires_at = 'infinity' WHERE name = 'eve'",
        "UPDATE browser_sessions SET created_at = 'infinity'",
        "INSERT INTO sign_in_keys (key, created_at) SELECT key, 'infinity' FROM sign_in_keys LIMIT 1",
    ] {
        sqlx::query(statement).execute(&world.owner()).await.unwrap();
    }
    let listed = tokens.list().await.unwrap();
    assert_eq!(listed.iter().map(|token| token.id).collect::<Vec<_>>(), [whole.id]);
    let by_token = || world.send(world.request(Method::GET, "/api/operations").bearer_auth(&secret));
    by_token().await.expect(200);
    world.send(world.request(Method::GET, "/api/sign-ins").bearer_auth(ADMIN)).await.expect(200);
    // The session that cannot be read lets nobody in; others can be begun with the keys that can.
    assert!(!browser.is_signed_in().await);
    let mut other = Browser::new(&world);
    other.sign_in(OPERATOR).await.expect(303);
    assert!(other.is_signed_in().await);
    tokens.revoke(broken.id).await.unwrap_err();
    by_token().await.problem(401, "unauthenticated", None);
}
