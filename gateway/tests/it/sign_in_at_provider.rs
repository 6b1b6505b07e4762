//! Signing in at an OpenID provider: the claims that companies really send, and providers that cannot be used.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::provider::Provider;
use crate::sign_in::Browser;
use crate::world::{Answer, Surroundings, World};

/// A gateway that signs people in at this provider.
async fn world(provider: &Provider, role_claim: &str) -> World {
    let provider = Some(provider.options(role_claim));
    World::start_in(Surroundings { provider, ..Surroundings::default() }).await
}

fn asked(answer: &Answer, name: &str) -> String {
    let to = Url::parse(answer.header("location")).unwrap();
    to.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned()
}

/// To the provider and back, with an ID token of these claims.
async fn sign_in(browser: &mut Browser<'_>, provider: &Provider, claims: &Value) -> Answer {
    let to = browser.get("/sign-in/oidc?return_to=%2Fworkers").await.expect(303);
    provider.signs_in(&asked(&to, "nonce"), claims);
    browser.get(&format!("/sign-in/oidc/callback?code=1&state={}", asked(&to, "state"))).await
}

async fn who(browser: &mut Browser<'_>) -> String {
    let page = browser.get("/sign-in").await.expect(200);
    let page = page.body.as_str().unwrap();
    page.split_once("signed in as <b>")
        .map(|(_, rest)| rest.split("</p>").next().unwrap().replace("</b>", ""))
        .unwrap_or_default()
}

#[tokio::test]
async fn the_role_is_found_where_providers_put_it() {
    let provider = Provider::start().await;
    let zitadel = "urn:zitadel:iam:org:project:roles";
    let admins = "CN=lab-admins,OU=Groups,DC=example";
    for (role_claim, claims, role) in [
        (
            "resource_access.\"lablet.example.com\".roles",
            json!({"resource_access": {"lablet.example.com": {"roles": ["do"]}}}),
            "operator",
        ),
        ("https://example.com/claims.roles", json!({"https://example.com/claims": {"roles": ["see"]}}), "viewer"),
        (zitadel, json!({zitadel: {"do": {"1": "labs.example.com"}}}), "operator"),
        (
            "groups",
            json!({"groups": [admins], "aud": ["account", "lablet.example.com"], "azp": "lablet.example.com"}),
            "admin",
        ),
    ] {
        let world = world(&provider, role_claim).await;
        let mut browser = Browser::new(&world);
        let back = sign_in(&mut browser, &provider, &claims).await.expect(303);
        assert_eq!(
            (back.header("location"), who(&mut browser).await),
            ("/workers", format!("ada, in the role {role}."))
        );
    }
}

#[tokio::test]
async fn claims_that_are_not_used_never_break_a_sign_in() {
    let provider = Provider::start().await;
    let world = world(&provider, "groups").await;
    for odd in [
        json!({"amr": "pwd"}),
        json!({"auth_time": "yesterday", "updated_at": {"at": 1}}),
        json!({"email_verified": "no", "phone_number_verified": 1}),
        json!({"address": "somewhere", "locale": ["de", 5], "picture": {"url": null}, "birthdate": 1990}),
        json!({"acr": ["1"], "name": {"first": "Ada"}, "email": ["ada@example.com"]}),
        json!({"groups": [{"id": 1}, "see", null]}),
    ] {
        let mut claims = json!({"groups": ["see"]});
        claims.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
        let mut browser = Browser::new(&world);
        sign_in(&mut browser, &provider, &claims).await.expect(303);
        assert_eq!(who(&mut browser).await, "ada, in the role viewer.", "{odd}");
    }
}

#[tokio::test]
async fn a_token_for_another_client_signs_nobody_in_and_an_id_token_opens_no_api() {
    let provider = Provider::start().await;
    let world = world(&provider, "groups").await;
    let own = "lablet.example.com";
    let groups = json!({"groups": ["see"]});
    let with = |more: Value| {
        let mut claims = groups.clone();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    for foreign in
        [json!({"azp": "other"}), json!({"aud": [own, "other"], "azp": "other"}), json!({"aud": [own, "other"]})]
    {
        let mut browser = Browser::new(&world);
        let refused = sign_in(&mut browser, &provider, &with(foreign)).await.expect(502);
        assert!(refused.body.as_str().unwrap().contains("(azp)"), "{}", refused.body);
        assert_eq!(who(&mut browser).await, "");
    }
    let ask = async |claims: Value| {
        world.send(world.request(Method::GET, "/api/workers").bearer_auth(provider.token(&with(claims)))).await
    };
    ask(json!({"typ": "Bearer"})).await.expect(200);
    ask(json!({"scope": "openid", "aud": [own, "other"], "azp": own})).await.expect(200);
    for (claims, why) in [
        (json!({"nonce": "n"}), "is an ID token"),
        (json!({"typ": "ID"}), "is an ID token"),
        (json!({}), "is an ID token"),
        (json!({"scope": "openid", "azp": "other"}), "was issued to another client, \"other\" (azp)"),
    ] {
        let refused = ask(claims).await.problem(401, "unauthenticated", None);
        assert!(refused.body["detail"].as_str().unwrap().contains(why), "{}", refused.body);
    }
}

#[tokio::test]
async fn groups_that_are_too_many_for_a_token_are_explained() {
    let provider = Provider::start().await;
    let world = world(&provider, "groups").await;
    for claims in [json!({"_claim_names": {"groups": "src1"}}), json!({"hasgroups": true})] {
        let mut browser = Browser::new(&world);
        let refused = sign_in(&mut browser, &provider, &claims).await.expect(403);
        let page = refused.body.as_str().unwrap();
        assert!(page.contains("in so many groups") && page.contains("Its administrator can"), "{page}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_used_is_told_with_what_would_be_right() {
    let provider = Provider::start().await;
    let issuer = provider.issuer.clone();
    let other = json!({"issuer": format!("{issuer}/")}).to_string();
    for (status, media_type, body, told) in [
        (200, "application/json", other.as_str(), vec![issuer.as_str(), "by the last slash only"]),
        (200, "application/json", r#"{"issuer": "https://x.example"}"#, vec![issuer.as_str(), "https://x.example"]),
        (404, "text/plain", "nothing", vec!["answers 404"]),
        (302, "text/plain", "", vec!["answers 302"]),
        (200, "text/html", "<!doctype html>", vec!["is a page (HTML), not JSON"]),
        (200, "application/json", "{}", vec!["names no issuer"]),
        (200, "application/json", "[]", vec!["is not the JSON that is expected"]),
    ] {
        provider.describe(status, media_type, body);
        let world = world(&provider, "groups").await;
        let mut browser = Browser::new(&world);
        let refused = browser.get("/sign-in/oidc").await.expect(502);
        let page = refused.body.as_str().unwrap().replace("&#34;", "\"");
        assert!(told.iter().all(|words| page.contains(words)), "{told:?}: {page}");
        assert!(!page.contains("Try again in a minute") && page.contains("lablet doctor"), "{page}");
        let bearer = world.request(Method::GET, "/api/workers").bearer_auth(provider.token(&json!({})));
        let refused = world.send(bearer).await.problem(503, "unavailable", None);
        assert!(!refused.headers.contains_key("retry-after"), "trying again does not help");
        let checked = gateway::sign_in::check_provider(provider.options("groups"), bus::clock::Clock::system()).await;
        let checked = checked.unwrap_err().to_string();
        assert!(told.iter().all(|words| checked.contains(words)), "{told:?}: {checked}");
    }
    provider.describe(503, "text/plain", "later");
    let world = world(&provider, "groups").await;
    let away = Browser::new(&world).get("/sign-in/oidc").await.expect(503);
    assert!(away.body.as_str().unwrap().contains("Try again in a minute"));
}

#[tokio::test]
async fn any_number_of_people_may_be_signing_in_and_any_number_of_tabs() {
    let provider = Provider::start().await;
    let world = world(&provider, "groups").await;
    let kept = || async {
        let rows = "SELECT (SELECT count(*) FROM browser_sessions) + (SELECT count(*) FROM sign_in_links)
                         + (SELECT count(*) FROM admin_tokens) + (SELECT count(*) FROM interrupted_forms)";
        sqlx::query_scalar::<_, i64>(rows).fetch_one(world.log.pool()).await.unwrap()
    };
    let before = kept().await;
    // Others begin, and do not end: nothing of it is kept here, so nobody's room is used up.
    let mut other = Browser::new(&world);
    for _ in 0..200 {
        other.cookies.clear();
        other.get("/sign-in/oidc").await.expect(303);
    }
    assert_eq!(kept().await, before);
    // Two tabs begin, and both end signed in where they wanted to go.
    let mut ada = Browser::new(&world);
    let first = ada.get("/sign-in/oidc?return_to=%2Fworkers").await.expect(303);
    let second = ada.get("/sign-in/oidc?return_to=%2Fsessions").await.expect(303);
    for (to, page) in [(&first, "/workers"), (&second, "/sessions")] {
        provider.signs_in(&asked(to, "nonce"), &json!({"groups": ["see"]}));
        let back = format!("/sign-in/oidc/callback?code=1&state={}", asked(to, "state"));
        assert_eq!(ada.get(&back).await.expect(303).header("location"), page);
        assert_eq!(who(&mut ada).await, "ada, in the role viewer.");
    }
    // One browser keeps few of them; a request with all its cookies stays small.
    for _ in 0..20 {
        ada.get(&format!("/sign-in/oidc?return_to=%2Fsearch%3Ftext%3D{}", "x".repeat(1_800))).await.expect(303);
    }
    let bytes: usize = ada.cookies.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(ada.cookies.len() <= 6 && bytes < 8_000, "{} {bytes}", ada.cookies.len());
}

#[tokio::test]
async fn nobody_can_make_up_or_change_a_sign_in_that_is_under_way() {
    let provider = Provider::start().await;
    let world = world(&provider, "groups").await;
    let mut ada = Browser::new(&world);
    let to = ada.get("/sign-in/oidc?return_to=%2Fworkers").await.expect(303);
    provider.signs_in(&asked(&to, "nonce"), &json!({"groups": ["see"]}));
    let back = format!("/sign-in/oidc/callback?code=1&state={}", asked(&to, "state"));
    let (name, value) = ada.cookies.iter().next().map(|(name, value)| (name.clone(), value.clone())).unwrap();
    let parts: Vec<&str> = value.split('.').collect();
    let longer = (parts[1].parse::<i64>().unwrap() + 600).to_string();
    for forged in [
        [parts[0], longer.as_str(), parts[2], parts[3]].join("."),
        [parts[0], parts[1], "Ly9ldmlsLmV4YW1wbGU", parts[3]].join("."),
        ["999", parts[1], parts[2], parts[3]].join("."),
        [parts[0], parts[1], parts[2], ""].join("."),
        "x".to_owned(),
    ] {
        let mut other = Browser::new(&world);
        other.cookies.insert(name.clone(), forged.clone());
        let refused = other.get(&back).await.expect(400);
        assert!(refused.body.as_str().unwrap().contains("was not begun in this browser"), "{forged}");
    }
    ada.get(&back).await.expect(303);
}
