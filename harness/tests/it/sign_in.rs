//! Signing in with a browser, through the real executable: by link, by token, and at a real OpenID provider.

use std::time::Duration;

use harness::{Consent, Lablet, LabletOptions, OidcProvider, eventually, install_tls};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use url::Url;

/// How long something that follows by itself may take.
const SOON: Duration = Duration::from_secs(60);

async fn lablet(environment: Vec<(String, String)>) -> Lablet {
    let program = env!("CARGO_BIN_EXE_lablet-under-test").into();
    Lablet::start(LabletOptions { program, environment, ..LabletOptions::default() }).await.unwrap()
}

/// A provider, and a gateway that signs people in there.
async fn lablet_with_provider() -> (Lablet, OidcProvider) {
    with_provider(&[]).await
}

/// The same, with these settings besides.
async fn with_provider(besides: &[(&str, &str)]) -> (Lablet, OidcProvider) {
    let mut provider = OidcProvider::start(&["http://127.0.0.1:9/elsewhere"]).await.unwrap();
    let besides = besides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let lablet = lablet(provider.settings().into_iter().chain(besides).collect()).await;
    provider.allow_redirect(&format!("{}/sign-in/oidc/callback", lablet.ready().http)).await.unwrap();
    (lablet, provider)
}

/// A browser without a face: it keeps the gateway's cookies, and follows a redirect when it is told to.
struct Visitor {
    http: Client,
    gateway: String,
    cookies: Vec<(String, String)>,
}

impl Visitor {
    fn new(lablet: &Lablet) -> Self {
        install_tls();
        let none = reqwest::redirect::Policy::none();
        let http = Client::builder().redirect(none).timeout(SOON).no_proxy().build().unwrap();
        Self { http, gateway: lablet.ready().http.clone(), cookies: Vec::new() }
    }

    async fn get(&mut self, address: &str) -> Response {
        self.send(Method::GET, address, &[]).await
    }

    /// Opens a sign-in link and presses its button.
    async fn follow_link(&mut self, link: &str) -> Response {
        assert_eq!(self.get(link).await.status(), StatusCode::OK);
        self.send(Method::POST, "/sign-in/link", &[("token", link.split_once("token=").unwrap().1)]).await
    }

    async fn send(&mut self, method: Method, address: &str, fields: &[(&str, &str)]) -> Response {
        let address = Url::parse(&self.gateway).unwrap().join(address).unwrap();
        assert!(address.as_str().starts_with(&self.gateway), "{address}");
        let jar = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let request = self.http.request(method, address).header(COOKIE, jar);
        let request = if fields.is_empty() { request } else { request.form(fields) };
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap().to_owned();
            self.cookies.retain(|(other, _)| other != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value));
            }
        }
        answer
    }

    fn has(&self, cookie: &str) -> bool {
        self.cookies.iter().any(|(name, _)| name.starts_with(cookie))
    }

    /// To the provider and back; what the gateway says to the browser that comes back.
    async fn sign_in(&mut self, provider: &OidcProvider, person: &str, consent: Consent) -> Response {
        let to = location(&self.get("/sign-in/oidc?return_to=%2Fworkers%3Fa%3Db").await);
        let back = provider.sign_in(&to, person, consent).await.unwrap();
        self.get(back.as_str()).await
    }

    async fn roles(&mut self) -> String {
        let page = self.get("/sign-in").await.text().await.unwrap();
        let (_, rest) = page.split_once("signed in as <b>").unwrap_or(("", "nobody"));
        rest.split("</p>").next().unwrap().replace("</b>", "")
    }
}

fn location(answer: &Response) -> String {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{answer:?}");
    answer.headers()[LOCATION].to_str().unwrap().to_owned()
}

async fn says(answer: Response, status: StatusCode, words: &str) {
    let (found, to) = (answer.status(), answer.headers().get(LOCATION).cloned());
    let page = answer.text().await.unwrap();
    assert!(found == status && page.contains(words), "{status}, {words}: {found}, {to:?}, {page}");
}

#[tokio::test]
async fn the_link_that_lablet_up_prints_signs_in_once_and_tokens_are_made_listed_and_revoked() {
    let lablet = lablet(Vec::new()).await;
    let link = lablet.ready().sign_in_url.clone().unwrap();
    let mut ada = Visitor::new(&lablet);
    assert_eq!(location(&ada.follow_link(&link).await), "/");
    assert_eq!(ada.roles().await, "admin, in the role admin.");
    says(Visitor::new(&lablet).get(&link).await, StatusCode::GONE, "It works once").await;

    let (fine, made) = lablet.run(&["token", "link", "--name", "vic", "--role", "viewer"]).await.unwrap();
    assert!(fine && made.starts_with(&lablet.ready().http), "{made}");
    let mut vic = Visitor::new(&lablet);
    vic.follow_link(made.trim()).await;
    assert_eq!(vic.roles().await, "vic, in the role viewer.");

    let create = ["token", "create", "--name", "oli", "--role", "operator", "--expires-in", "30d"];
    let (fine, printed) = lablet.run(&create).await.unwrap();
    assert!(fine, "{printed}");
    let (secret, id) = (printed.lines().next().unwrap(), printed.lines().nth(1).unwrap().split(' ').nth(1).unwrap());
    let by_token = async || {
        let request = vic.http.get(format!("{}/api/dead-letters", vic.gateway)).bearer_auth(secret);
        request.send().await.unwrap().status()
    };
    assert_eq!(by_token().await, StatusCode::OK);
    let (fine, listed) = lablet.run(&["token", "list", "--output", "json"]).await.unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert!(fine && listed[0]["id"] == id && listed[0]["last_used_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(secret));
    let (fine, revoked) = lablet.run(&["token", "revoke", id]).await.unwrap();
    assert!(fine, "{revoked}");
    assert_eq!(by_token().await, StatusCode::UNAUTHORIZED);
    assert!(!lablet.run(&["token", "create", "--name", " ", "--role", "root"]).await.unwrap().0);
    assert!(!lablet.run(&["token", "revoke", "01a20aa9-08d0-7244-9626-254b28f455d7"]).await.unwrap().0);
    let log = lablet.log();
    assert!(!log.contains(secret) && !log.contains(link.split('=').nth(1).unwrap()), "no secret is logged");
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn people_sign_in_at_a_provider_in_the_roles_that_their_groups_make() {
    let (lablet, provider) = lablet_with_provider().await;
    for (person, role) in [("ada", "admin"), ("oli", "operator"), ("vic", "viewer")] {
        let mut visitor = Visitor::new(&lablet);
        let signed_in = visitor.sign_in(&provider, person, Consent::Given).await;
        assert_eq!(location(&signed_in), "/workers?a=b");
        assert!(visitor.has("lablet_session") && !visitor.has("lablet_sign_in"));
        assert_eq!(visitor.roles().await, format!("{person}, in the role {role}."));
    }
    let mut nobody = Visitor::new(&lablet);
    let refused = nobody.sign_in(&provider, "nobody", Consent::Denied).await;
    says(refused, StatusCode::FORBIDDEN, "access was denied").await;
    let refused = nobody.sign_in(&provider, "nobody", Consent::Given).await;
    says(refused, StatusCode::FORBIDDEN, "has no role here").await;
    assert!(!nobody.has("lablet_session"));
    assert!(!lablet.log().contains("eyJ"), "no token is logged");
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_is_taken_once_and_only_from_the_browser_that_asked() {
    let (lablet, provider) = lablet_with_provider().await;
    let mut ada = Visitor::new(&lablet);
    let to = location(&ada.get("/sign-in/oidc").await);
    let asked = Url::parse(&to).unwrap();
    let sent = |name: &str| asked.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    assert_eq!(sent("code_challenge_method").as_deref(), Some("S256"));
    assert!(sent("nonce").is_some() && sent("code_challenge").is_some());
    let back = provider.sign_in(&to, "ada", Consent::Given).await.unwrap();
    let with = |name: &str, value: &str| {
        let mut changed = back.clone();
        let pairs: Vec<_> = back.query_pairs().into_owned().filter(|(found, _)| found != name).collect();
        changed.query_pairs_mut().clear().extend_pairs(pairs).append_pair(name, value);
        changed
    };
    let begin_again = "was not begun in this browser";
    // Somebody else's browser, which was made to open the address.
    let mut other = Visitor::new(&lablet);
    says(other.get(back.as_str()).await, StatusCode::BAD_REQUEST, begin_again).await;
    other.get("/sign-in/oidc").await;
    says(other.get(back.as_str()).await, StatusCode::BAD_REQUEST, begin_again).await;
    says(ada.get(with("state", "made-up").as_str()).await, StatusCode::BAD_REQUEST, begin_again).await;
    assert!(!other.has("lablet_session") && !ada.has("lablet_session"));

    let cookies = ada.cookies.clone();
    assert_eq!(location(&ada.get(back.as_str()).await), "/");
    assert!(ada.has("lablet_session"));
    says(ada.get(back.as_str()).await, StatusCode::BAD_REQUEST, begin_again).await;
    // Whoever kept the cookie gets no further either: the provider's code is good once.
    ada.cookies = cookies;
    says(ada.get(back.as_str()).await, StatusCode::BAD_GATEWAY, "invalid_grant").await;

    // Two tabs that begin both end signed in, whichever comes back first.
    let mut tabs = Visitor::new(&lablet);
    let first = location(&tabs.get("/sign-in/oidc?return_to=%2Fworkers").await);
    let second = location(&tabs.get("/sign-in/oidc?return_to=%2Fsessions").await);
    // Two people, as this provider gives one person the same token twice within a second, and then refuses it.
    for (to, page, person, role) in [(first, "/workers", "vic", "viewer"), (second, "/sessions", "oli", "operator")] {
        let back = provider.sign_in(&to, person, Consent::Given).await.unwrap();
        let answer = tabs.get(back.as_str()).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{}", provider.log());
        assert_eq!(location(&answer), page);
        assert_eq!(tabs.roles().await, format!("{person}, in the role {role}."));
    }

    // An answer that names another provider, and a code that the provider does not know.
    for (name, value, words) in
        [("iss", "https://other.example.com", "is of another provider"), ("code", "made-up", "invalid_grant")]
    {
        let mut visitor = Visitor::new(&lablet);
        let to = location(&visitor.get("/sign-in/oidc").await);
        let mut back = provider.sign_in(&to, "ada", Consent::Given).await.unwrap();
        let pairs: Vec<_> = back.query_pairs().into_owned().filter(|(found, _)| found != name).collect();
        back.query_pairs_mut().clear().extend_pairs(pairs).append_pair(name, value);
        says(visitor.get(back.as_str()).await, StatusCode::BAD_GATEWAY, words).await;
        assert!(!visitor.has("lablet_session"));
    }
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn the_api_takes_the_providers_tokens_and_follows_its_keys() {
    // This provider's access tokens are marked like its ID tokens, so they are let in by the setting for those.
    let (lablet, mut provider) = with_provider(&[("LABLET_OIDC_API_ID_TOKENS", "true")]).await;
    let http = Visitor::new(&lablet).http;
    let ask = async |path: &str, token: &str| {
        let answer = http.get(format!("{}{path}", lablet.ready().http)).bearer_auth(token).send().await.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap_or_default())
    };
    let elsewhere = "http://127.0.0.1:9/elsewhere";
    let old = provider.access_token("oli", elsewhere).await.unwrap();
    let (status, problem) = ask("/api/dead-letters", &old).await;
    assert_eq!(status, StatusCode::OK, "{problem}");
    let viewer = provider.access_token("vic", elsewhere).await.unwrap();
    let (status, problem) = ask("/api/dead-letters", &viewer).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(problem["detail"].as_str().unwrap().contains("\"vic\" in the role viewer"), "{problem}");
    let (status, problem) = ask("/api/workers", &provider.access_token("nobody", elsewhere).await.unwrap()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(problem["detail"].as_str().unwrap().contains("no group that has a role"), "{problem}");
    let (head, signature) = old.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    assert_eq!(ask("/api/workers", &forged).await.0, StatusCode::UNAUTHORIZED);

    // A new key is fetched when it is met, and the old one is good no longer.
    provider.rotate_keys().await.unwrap();
    let new = provider.access_token("oli", elsewhere).await.unwrap();
    eventually("the new key to be taken", SOON, async || {
        (ask("/api/dead-letters", &new).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(ask("/api/dead-letters", &old).await.0, StatusCode::UNAUTHORIZED);
    let mut ada = Visitor::new(&lablet);
    assert_eq!(location(&ada.sign_in(&provider, "ada", Consent::Given).await), "/workers?a=b");
    assert!(!lablet.log().contains("eyJ"), "no token is logged");
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_nobody_out_who_has_a_link() {
    let mut provider = OidcProvider::start(&[]).await.unwrap();
    let mut settings = provider.settings();
    settings[0].1 = "http://127.0.0.1:9".to_owned();
    let away = lablet(settings).await;
    let mut visitor = Visitor::new(&away);
    says(visitor.get("/sign-in/oidc").await, StatusCode::SERVICE_UNAVAILABLE, "does not answer").await;
    says(visitor.get("/sign-in").await, StatusCode::OK, "did not answer when it was asked last").await;
    assert_eq!(location(&visitor.follow_link(&away.ready().sign_in_url.clone().unwrap()).await), "/");
    provider.allow_redirect("http://127.0.0.1:9/elsewhere").await.unwrap();
    let token = provider.access_token("ada", "http://127.0.0.1:9/elsewhere").await.unwrap();
    let by_token = visitor.http.get(format!("{}/api/workers", visitor.gateway)).bearer_auth(token);
    assert_eq!(by_token.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    away.stop().await.unwrap();
}

/// What `lablet doctor` says of a provider at this issuer, with this environment besides.
async fn doctor(issuer: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_lablet-under-test"))
        .arg("doctor")
        .env("LABLET_DATA_DIR", folder.path())
        .env("LABLET_OIDC_ISSUER", issuer)
        .env("LABLET_OIDC_CLIENT_ID", "lablet")
        .env("LABLET_OIDC_ROLES", "admin=lab-admins")
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn doctor_tells_what_is_wrong_with_a_provider() {
    let provider = OidcProvider::start(&[]).await.unwrap();
    let issuer = provider.issuer();
    let (healthy, said) = doctor(issuer, &[]).await;
    assert!(healthy && said.contains("ok       OpenID provider"), "{said}");
    let with_slash = format!("{issuer}/");
    let (healthy, said) = doctor(&with_slash, &[]).await;
    let both = said.contains(&format!("{with_slash:?}")) && said.contains(&format!("{issuer:?}"));
    assert!(!healthy && both && said.contains("by the last slash only"), "{said}");
    let (healthy, said) = doctor(&format!("{issuer}/realms/none"), &[]).await;
    assert!(!healthy && said.contains("it answers 404"), "{said}");
}

#[tokio::test]
async fn a_provider_on_this_machine_is_asked_without_the_proxy() {
    let provider = OidcProvider::start(&[]).await.unwrap();
    // Nobody answers there.
    let proxies = ["http_proxy", "https_proxy"].map(|name| (name, "http://127.0.0.1:9"));
    let (healthy, said) = doctor(provider.issuer(), &proxies).await;
    assert!(healthy && said.contains("ok       OpenID provider"), "{said}");
}

#[tokio::test]
async fn sign_ins_are_listed_and_ended_from_the_command_line() {
    let lablet = lablet(Vec::new()).await;
    let mut ada = Visitor::new(&lablet);
    ada.follow_link(&lablet.ready().sign_in_url.clone().unwrap()).await;
    assert!(ada.roles().await.contains("admin"));
    let (done, listed) = lablet.run(&["sign-in", "list", "-o", "jsonl"]).await.unwrap();
    assert!(done, "{listed}");
    let rows: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let id = rows[0]["id"].as_str().unwrap();
    assert_eq!(rows.len(), 1, "{listed}");
    let (done, table) = lablet.run(&["sign-in", "list"]).await.unwrap();
    assert!(done && table.contains(id) && table.contains("admin"), "{table}");
    let (done, ended) = lablet.run(&["sign-in", "end", id]).await.unwrap();
    assert!(done, "{ended}");
    assert_eq!(ada.roles().await, "nobody", "at once");
    let (done, refused) = lablet.run(&["sign-in", "end", "00000000-0000-7000-8000-000000000000"]).await.unwrap();
    assert!(!done && refused.contains("404"), "{refused}");
    lablet.stop().await.unwrap();
}

#[tokio::test]
async fn the_provider_is_asked_by_way_of_the_proxy_that_the_environment_names() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tokio::io::BufReader::new(stream);
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await.unwrap();
        line
    });
    let (healthy, said) = doctor("https://login.example.test", &[("HTTPS_PROXY", &proxy)]).await;
    assert!(!healthy && said.contains("does not answer"), "{said}");
    assert_eq!(asked.await.unwrap(), "CONNECT login.example.test:443 HTTP/1.1\r\n");
}
