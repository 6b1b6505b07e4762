//! A small OpenID provider whose claims and description are whatever a test wants.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bus::clock::Clock;
use gateway::authentication::Role;
use gateway::sign_in::ProviderOptions;
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKeyId, JsonWebKeySet, PrivateSigningKey as _};
use serde_json::{Value, json};

/// What it answers.
struct Answers {
    key: CoreEdDsaPrivateSigningKey,
    /// Status, media type and body of its description.
    description: (u16, &'static str, String),
    /// What the token endpoint answers.
    tokens: Value,
    userinfo: Value,
}

/// A provider that runs until the test ends.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    answers: Arc<Mutex<Answers>>,
}

type Shared = State<Arc<Mutex<Answers>>>;

impl Provider {
    pub(crate) async fn start() -> Self {
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        der.extend(seed);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der));
        let key = CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new("k".to_owned()))).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let described = json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            // What nobody uses may be odd.
            "scopes_supported": "openid", "response_types_supported": 5, "subject_types_supported": null,
        });
        let answers = Arc::new(Mutex::new(Answers {
            key,
            description: (200, "application/json", described.to_string()),
            tokens: Value::Null,
            userinfo: json!({}),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(description))
            .route("/keys", get(keys))
            .route("/token", post(async |State(answers): Shared| Json(answers.lock().unwrap().tokens.clone())))
            .route("/userinfo", get(async |State(answers): Shared| Json(answers.lock().unwrap().userinfo.clone())))
            .with_state(answers.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, answers }
    }

    /// Settings for a gateway that finds the roles of people at this claim.
    pub(crate) fn options(&self, role_claim: &str) -> ProviderOptions {
        ProviderOptions {
            issuer: self.issuer.clone(),
            client_id: "lablet.example.com".to_owned(),
            client_secret: Some("client-secret".to_owned()),
            scopes: vec!["profile".to_owned()],
            role_claim: role_claim.to_owned(),
            roles: vec![
                (Role::Viewer, "see".to_owned()),
                (Role::Operator, "do".to_owned()),
                (Role::Admin, "CN=lab-admins,OU=Groups,DC=example".to_owned()),
            ],
            name_claim: "preferred_username".to_owned(),
            audience: None,
            api_clients: Vec::new(),
            api_id_tokens: false,
            ca_pem: None,
        }
    }

    /// Lets it describe itself like this.
    pub(crate) fn describe(&self, status: u16, media_type: &'static str, body: impl Into<String>) {
        self.answers.lock().unwrap().description = (status, media_type, body.into());
    }

    /// A token with these claims beside those that every token has.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let now = Clock::system().now().timestamp();
        let mut all = json!({
            "iss": self.issuer, "aud": "lablet.example.com", "sub": "1", "iat": now, "exp": now + 600,
            "preferred_username": "ada",
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let head = format!("{}.{}", encode(&json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"})), encode(&all));
        let answers = self.answers.lock().unwrap();
        let signature = answers.key.sign(&CoreJwsSigningAlgorithm::EdDsa, head.as_bytes()).unwrap();
        format!("{head}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// Lets it redeem the next code for an ID token with these claims.
    pub(crate) fn signs_in(&self, nonce: &str, claims: &Value) {
        let mut claims = claims.clone();
        claims["nonce"] = nonce.into();
        // `expires_in` as a text is what some providers send.
        let tokens =
            json!({"access_token": "opaque", "token_type": 7, "expires_in": "3600", "id_token": self.token(&claims)});
        self.answers.lock().unwrap().tokens = tokens;
    }
}

async fn description(State(answers): Shared) -> Response {
    let (status, media_type, body) = answers.lock().unwrap().description.clone();
    (http::StatusCode::from_u16(status).unwrap(), [("content-type", media_type)], body).into_response()
}

async fn keys(State(answers): Shared) -> Response {
    let keys = JsonWebKeySet::new(vec![answers.lock().unwrap().key.as_verification_key()]);
    Json(serde_json::to_value(keys).unwrap()).into_response()
}
