//! Whether a token is the provider's, is meant for us, and is valid now.
//!
//! Tokens of the API are looked at with the same rules as ID tokens: both are signed JWTs with issuer, audience and
//! expiry. What differs is the audience, the type that RFC 9068 gives to access tokens, and that an ID token, which says
//! who signed in, opens no API.
//!
//! The claims are read here, and not into the types of the protocol's crate: those refuse a token for the form of a claim
//! that nobody looks at.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{
    AccessToken, AccessTokenHash, JsonWebKey as _, JsonWebKeyAlgorithm, JsonWebKeyUse as _, JwsSigningAlgorithm as _,
};
use serde_json::{Map, Value};

use super::ProviderError;
use super::discovery::{Metadata, shown};

/// How far the provider's clock may be ahead of ours.
const TOLERATED: TimeDelta = TimeDelta::seconds(60);
/// Most characters of a token that comes in a header.
const LONGEST_BEARER: usize = 16_384;
/// Most characters of an ID token, which the provider sends in the body of an answer.
const LONGEST_ID_TOKEN: usize = 256 * 1024;

/// Signatures that only the provider can make. One made with a shared secret could be made by whoever checks it.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What a token was made for.
#[derive(Clone, Copy)]
pub(super) enum Meant<'a> {
    /// To sign a browser in: it answers our question, and belongs to the access token beside it.
    ForSigningIn { nonce: &'a str, access_token: Option<&'a str> },
    /// To be sent to the API.
    ForTheApi(&'a ApiTokens),
}

/// Which tokens of the provider open the API.
#[derive(Debug, Clone)]
pub(super) struct ApiTokens {
    /// Whom they have to be meant for.
    pub(super) audience: String,
    /// Clients beside this one to which they may have been issued.
    pub(super) other_clients: Vec<String>,
    /// ID tokens, too.
    pub(super) id_tokens: bool,
}

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is signed with a key that the provider did not have when it was asked.
    UnknownKey,
    /// For this reason.
    Invalid(String),
}

impl From<Refusal> for ProviderError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownKey => Self::Token("is signed with a key that the provider does not have".to_owned()),
            Refusal::Invalid(why) => Self::Token(why),
        }
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Self::Invalid(why.to_owned())
    }
}

/// Whether a text could be a token of a provider that was sent to the API.
pub(crate) fn looks_like_one(text: &str) -> bool {
    text.len() <= LONGEST_BEARER && has_its_form(text)
}

/// Two dots, and a beginning that is JSON.
fn has_its_form(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The claims of a token that is valid at this time.
pub(super) fn claims(
    token: &str,
    metadata: &Metadata,
    client_id: &str,
    meant: Meant<'_>,
    now: DateTime<Utc>,
) -> Result<Map<String, Value>, Refusal> {
    let longest = match meant {
        Meant::ForSigningIn { .. } => LONGEST_ID_TOKEN,
        Meant::ForTheApi(_) => LONGEST_BEARER,
    };
    if token.len() > longest || !has_its_form(token) {
        return Err("is malformed".into());
    }
    let (header, algorithm, key) = signed_by(token, &metadata.keys)?;
    let claims = part(token, 1).ok_or("is malformed")?;
    check_type(&header, meant)?;
    if text(&claims, "iss") != Some(metadata.issuer.as_str()) {
        return Err("is of another issuer".into());
    }
    if text(&claims, "sub").is_none_or(str::is_empty) {
        return Err("names nobody (sub)".into());
    }
    let audiences = audiences(&claims);
    let audience = match meant {
        Meant::ForSigningIn { .. } => client_id,
        Meant::ForTheApi(tokens) => tokens.audience.as_str(),
    };
    if !audiences.contains(&audience) {
        return Err("is not meant for this service (aud)".into());
    }
    check_party(&claims, &audiences, client_id, meant)?;
    check_time(&claims, now)?;
    match meant {
        Meant::ForSigningIn { nonce, access_token } => {
            if text(&claims, "nonce") != Some(nonce) {
                return Err("does not answer this browser's question (nonce)".into());
            }
            if let (Some(stated), Some(access_token)) = (claims.get("at_hash"), access_token) {
                let hash = AccessTokenHash::from_token(&AccessToken::new(access_token.to_owned()), &algorithm, key);
                if hash.ok().as_ref().map(|hash| hash.as_str()) != stated.as_str() {
                    return Err("does not belong to the access token beside it (at_hash)".into());
                }
            }
        }
        Meant::ForTheApi(tokens) => {
            let says_who_signed_in = is_id_token(&header, &claims, &audiences, client_id, &tokens.audience)?;
            if says_who_signed_in && !tokens.id_tokens {
                let why = "is an ID token, which says who signed in and opens no API; send an access token for this \
                           service (LABLET_OIDC_API_ID_TOKENS=true takes ID tokens, too)";
                return Err(why.into());
            }
        }
    }
    Ok(claims)
}

/// The header of a token, and the key that it is signed with.
fn signed_by<'a>(
    token: &str,
    keys: &'a CoreJsonWebKeySet,
) -> Result<(Map<String, Value>, CoreJwsSigningAlgorithm, &'a CoreJsonWebKey), Refusal> {
    let header = part(token, 0).ok_or("is malformed")?;
    if header.contains_key("crit") {
        return Err("is not of a kind that is accepted here (crit)".into());
    }
    let algorithm =
        header.get("alg").and_then(|name| serde_json::from_value::<CoreJwsSigningAlgorithm>(name.clone()).ok());
    let algorithm = algorithm
        .filter(|algorithm| ALGORITHMS.contains(algorithm))
        .ok_or("is not signed in a way that is accepted here")?;
    let (signed, signature) = token.rsplit_once('.').ok_or("is malformed")?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::from("is malformed"))?;
    let id = header.get("kid").and_then(Value::as_str);
    // A key may have been exchanged for another under the same name, too, or be beside one without a name.
    let key = keys
        .keys()
        .iter()
        .filter(|key| id.is_none() || id == key.key_id().map(|id| id.as_str()))
        .filter(|key| fits(key, &algorithm))
        .find(|key| key.verify_signature(&algorithm, signed.as_bytes(), &signature).is_ok());
    let key = key.ok_or(Refusal::UnknownKey)?;
    Ok((header, algorithm, key))
}

fn fits(key: &CoreJsonWebKey, algorithm: &CoreJwsSigningAlgorithm) -> bool {
    let for_signing = key.key_use().is_none_or(|used| used.allows_signature());
    let same_kind = algorithm.key_type().as_ref() == Some(key.key_type());
    let same_algorithm = match key.signing_alg() {
        JsonWebKeyAlgorithm::Unspecified => true,
        JsonWebKeyAlgorithm::Algorithm(stated) => stated == algorithm,
        JsonWebKeyAlgorithm::Unsupported => false,
    };
    for_signing && same_kind && same_algorithm
}

/// A token's header (0) or payload (1).
fn part(token: &str, index: usize) -> Option<Map<String, Value>> {
    let encoded = token.split('.').nth(index)?.trim_end_matches('=');
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(audiences)) => audiences.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The type in the header: none, `JWT`, or for the API that of access tokens.
fn check_type(header: &Map<String, Value>, meant: Meant<'_>) -> Result<(), Refusal> {
    let is_right = match header_type(header) {
        None => !header.contains_key("typ"),
        Some(kind) => kind == "jwt" || (kind == "at+jwt" && matches!(meant, Meant::ForTheApi(_))),
    };
    if is_right { Ok(()) } else { Err("is not of a kind that is accepted here (typ)".into()) }
}

fn header_type(header: &Map<String, Value>) -> Option<String> {
    let kind = text(header, "typ")?.to_ascii_lowercase();
    Some(kind.strip_prefix("application/").unwrap_or(&kind).to_owned())
}

/// To whom the token was issued (`azp`): this client, or for the API one of those that are named.
fn check_party(
    claims: &Map<String, Value>,
    audiences: &[&str],
    client_id: &str,
    meant: Meant<'_>,
) -> Result<(), Refusal> {
    let others: &[String] = match meant {
        Meant::ForSigningIn { .. } => &[],
        Meant::ForTheApi(tokens) => &tokens.other_clients,
    };
    match claims.get("azp") {
        None | Some(Value::Null) => {
            let is_answer = matches!(meant, Meant::ForSigningIn { .. });
            if is_answer && audiences.iter().any(|audience| *audience != client_id) {
                return Err("is meant for others, too, and does not say that it was issued to this client (azp)".into());
            }
            Ok(())
        }
        Some(Value::String(party)) if party == client_id || others.contains(party) => Ok(()),
        Some(Value::String(party)) => {
            let advice = match meant {
                Meant::ForSigningIn { .. } => "",
                Meant::ForTheApi(_) => "; LABLET_OIDC_API_CLIENTS names those whose tokens are accepted",
            };
            Err(Refusal::Invalid(format!("was issued to another client, {:?} (azp){advice}", shown(party))))
        }
        Some(_) => Err("does not say to which client it was issued (azp)".into()),
    }
}

fn check_time(claims: &Map<String, Value>, now: DateTime<Utc>) -> Result<(), Refusal> {
    let seconds = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_f64().map(Some).ok_or_else(|| Refusal::Invalid(format!("has no readable time in {name}")))
        }
    };
    let expires = seconds("exp")?.ok_or("does not expire (exp)")?;
    if expires <= now.timestamp() as f64 {
        return Err("has expired".into());
    }
    if seconds("nbf")?.is_some_and(|from| from > (now + TOLERATED).timestamp() as f64) {
        return Err("is not valid yet".into());
    }
    Ok(())
}

/// Whether a token says who signed in, and is no access token. Providers mark the two differently; what is marked in no
/// way counts as an access token only where it is meant for an audience that is not this client.
///
/// * `typ` in the header is `at+jwt` (RFC 9068): an access token.
/// * `typ` among the claims (Keycloak): `ID`, or `Bearer` for an access token; others open nothing.
/// * `nonce`, `at_hash`, `c_hash`: an ID token.
/// * An audience of the API's own: an access token, as an ID token is meant for the client.
/// * `scope`, `scp`, `client_id`: an access token.
fn is_id_token(
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    audiences: &[&str],
    client_id: &str,
    audience: &str,
) -> Result<bool, Refusal> {
    if header_type(header).as_deref() == Some("at+jwt") {
        return Ok(false);
    }
    match text(claims, "typ").map(str::to_ascii_lowercase).as_deref() {
        Some("id") => return Ok(true),
        Some("bearer" | "at+jwt") => return Ok(false),
        Some("refresh" | "offline" | "logout" | "initial") => {
            return Err("is neither an access token nor an ID token (typ)".into());
        }
        _ => {}
    }
    if ["nonce", "at_hash", "c_hash"].iter().any(|claim| claims.contains_key(*claim)) {
        return Ok(true);
    }
    let has_own_audience = audience != client_id && audiences.contains(&audience);
    Ok(!has_own_audience && !["scope", "scp", "client_id"].iter().any(|claim| claims.contains_key(*claim)))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreHmacKey};
    use openidconnect::{JsonWebKeyId, JsonWebKeySet, PrivateSigningKey as _};
    use proptest::prelude::*;
    use serde_json::json;
    use url::Url;

    use super::*;

    const NOW: i64 = 1_772_000_000;

    /// A provider with one key.
    struct Issuer {
        key: CoreEdDsaPrivateSigningKey,
        metadata: Metadata,
    }

    impl Issuer {
        fn new() -> Self {
            // A key of Ed25519 is 32 bytes, whichever, behind a prefix that says so (RFC 8410).
            let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
            let seed = secret_bytes();
            der.extend(seed);
            let pem = format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                base64::prelude::BASE64_STANDARD.encode(der)
            );
            let id = Some(JsonWebKeyId::new("first".to_owned()));
            let key = CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, id).unwrap();
            let endpoint = |path: &str| Url::parse(&format!("https://login.example.com/{path}")).unwrap();
            let metadata = Metadata {
                issuer: "https://login.example.com".to_owned(),
                authorization_endpoint: endpoint("authorize"),
                token_endpoint: endpoint("token"),
                userinfo_endpoint: None,
                takes_secret_in_body_only: false,
                names_itself: false,
                keys: JsonWebKeySet::new(vec![key.as_verification_key()]),
            };
            Self { key, metadata }
        }

        fn signed(&self, header: &Value, claims: &Value) -> String {
            let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let head = format!("{}.{}", encode(header), encode(claims));
            let signature = match header["alg"].as_str() {
                Some("EdDSA") => self.key.sign(&CoreJwsSigningAlgorithm::EdDsa, head.as_bytes()).unwrap(),
                Some("HS256") => CoreHmacKey::new("client-secret")
                    .sign(&CoreJwsSigningAlgorithm::HmacSha256, head.as_bytes())
                    .unwrap(),
                _ => Vec::new(),
            };
            format!("{head}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
        }

        fn take(&self, token: &str, meant: Meant<'_>) -> Result<Map<String, Value>, Refusal> {
            claims(token, &self.metadata, "lablet", meant, DateTime::from_timestamp(NOW, 0).unwrap())
        }
    }

    fn secret_bytes() -> [u8; 32] {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    fn header() -> Value {
        json!({"alg": "EdDSA", "kid": "first", "typ": "JWT"})
    }

    fn good() -> Value {
        json!({"iss": "https://login.example.com", "aud": "lablet", "sub": "1", "iat": NOW - 10, "exp": NOW + 60,
               "nonce": "asked", "https://labs.example/roles": ["see"], "updated_at": "2026-01-01T00:00:00Z",
               "email_verified": "true"})
    }

    fn with(mut value: Value, member: &str, changed: Value) -> Value {
        match changed {
            Value::Null => drop(value.as_object_mut().unwrap().remove(member)),
            changed => value[member] = changed,
        }
        value
    }

    fn tokens() -> ApiTokens {
        ApiTokens { audience: "lablet".to_owned(), other_clients: Vec::new(), id_tokens: false }
    }

    /// An access token: it has a scope, and answers no browser's question.
    fn access() -> Value {
        with(with(good(), "nonce", Value::Null), "scope", json!("openid groups"))
    }

    fn invalid<T>(why: &str) -> Result<T, Refusal> {
        Err(Refusal::from(why))
    }

    #[test]
    fn a_valid_token_gives_all_its_claims() {
        let (issuer, tokens) = (Issuer::new(), tokens());
        let api = Meant::ForTheApi(&tokens);
        let claims = issuer.take(&issuer.signed(&header(), &access()), api).unwrap();
        assert_eq!(claims["https://labs.example/roles"], json!(["see"]));
        for (header, claims) in [
            (with(header(), "typ", json!("at+jwt")), good()),
            (with(header(), "typ", json!("application/at+JWT")), good()),
            (with(header(), "kid", Value::Null), with(access(), "nbf", json!(NOW))),
            (with(header(), "typ", Value::Null), with(access(), "aud", json!(["lablet", "other"]))),
        ] {
            issuer.take(&issuer.signed(&header, &claims), api).unwrap();
        }
    }

    #[test]
    fn everything_else_is_refused_for_its_reason() {
        let (issuer, tokens) = (Issuer::new(), tokens());
        let api = Meant::ForTheApi(&tokens);
        let refused = |header: &Value, claims: &Value| issuer.take(&issuer.signed(header, claims), api);
        let not_for_us = "is not meant for this service (aud)";
        for (member, changed, why) in [
            ("exp", json!(NOW), "has expired"),
            ("exp", Value::Null, "does not expire (exp)"),
            ("exp", json!("tomorrow"), "has no readable time in exp"),
            ("nbf", json!(NOW + 61), "is not valid yet"),
            ("iss", json!("https://login.example.com/"), "is of another issuer"),
            ("aud", json!("other"), not_for_us),
            ("aud", json!([]), not_for_us),
            ("aud", json!({"lablet": true}), not_for_us),
            ("aud", Value::Null, not_for_us),
            ("sub", Value::Null, "names nobody (sub)"),
            ("typ", json!("Refresh"), "is neither an access token nor an ID token (typ)"),
        ] {
            assert_eq!(refused(&header(), &with(access(), member, changed)), invalid(why), "{member}");
        }
        let unsigned = "is not signed in a way that is accepted here";
        for (member, changed, why) in [
            ("alg", json!("none"), unsigned),
            ("alg", json!("HS256"), unsigned),
            ("alg", json!("ES512"), unsigned),
            ("alg", json!(["EdDSA"]), unsigned),
            ("typ", json!("logout+jwt"), "is not of a kind that is accepted here (typ)"),
            ("typ", json!(1), "is not of a kind that is accepted here (typ)"),
            ("crit", json!(["exp"]), "is not of a kind that is accepted here (crit)"),
        ] {
            assert_eq!(refused(&with(header(), member, changed), &access()), invalid(why), "{member}");
        }
        assert_eq!(refused(&with(header(), "kid", json!("second")), &access()), Err(Refusal::UnknownKey));
        let token = issuer.signed(&header(), &access());
        assert_eq!(Issuer::new().take(&token, api), Err(Refusal::UnknownKey), "the same name, another key");
        for token in ["", "eyJ", "a.b.c", &format!("eyJ.{}.c", "x".repeat(LONGEST_BEARER)), &token.replace('.', "")] {
            assert_eq!(issuer.take(token, api), invalid("is malformed"), "{token}");
        }
    }

    #[test]
    fn a_token_that_signs_a_browser_in_answers_its_question() {
        let issuer = Issuer::new();
        let take = |nonce: &str, header: &Value, claims: &Value| {
            let meant = Meant::ForSigningIn { nonce, access_token: Some("access") };
            issuer.take(&issuer.signed(header, claims), meant)
        };
        take("asked", &header(), &good()).unwrap();
        let algorithm = CoreJwsSigningAlgorithm::EdDsa;
        let access_token = AccessToken::new("access".to_owned());
        let hash = AccessTokenHash::from_token(&access_token, &algorithm, &issuer.key.as_verification_key()).unwrap();
        take("asked", &header(), &with(good(), "at_hash", serde_json::to_value(&hash).unwrap())).unwrap();
        let nonce = "does not answer this browser's question (nonce)";
        assert_eq!(take("another", &header(), &good()), invalid(nonce));
        assert_eq!(take("asked", &header(), &with(good(), "nonce", Value::Null)), invalid(nonce));
        let hash = "does not belong to the access token beside it (at_hash)";
        assert_eq!(take("asked", &header(), &with(good(), "at_hash", json!("made-up"))), invalid(hash));
        assert_eq!(take("asked", &header(), &with(good(), "at_hash", json!(1))), invalid(hash));
        assert!(take("asked", &with(header(), "typ", json!("at+jwt")), &good()).is_err());
    }

    #[test]
    fn a_token_was_issued_to_this_client_or_to_one_that_is_named() {
        let issuer = Issuer::new();
        let tokens = ApiTokens { other_clients: vec!["scripts".to_owned()], ..tokens() };
        let to_sign_in = Meant::ForSigningIn { nonce: "asked", access_token: None };
        for (audience, party, signs_in, opens_api) in [
            (json!(["lablet", "account"]), json!("lablet"), true, true),
            (json!(["account", "lablet"]), json!("lablet"), true, true),
            (json!("lablet"), json!("lablet"), true, true),
            (json!(["lablet", "account"]), Value::Null, false, true),
            (json!(["lablet", "lablet"]), Value::Null, true, true),
            (json!("lablet"), json!("other"), false, false),
            (json!(["lablet", "other"]), json!("other"), false, false),
            (json!(["other"]), json!("lablet"), false, false),
            (json!("lablet"), json!("scripts"), false, true),
            (json!("lablet"), json!(["lablet"]), false, false),
        ] {
            let claims = |claims: Value| with(with(claims, "aud", audience.clone()), "azp", party.clone());
            let signed_in = issuer.take(&issuer.signed(&header(), &claims(good())), to_sign_in);
            assert_eq!(signed_in.is_ok(), signs_in, "{audience} {party}: {signed_in:?}");
            let opened = issuer.take(&issuer.signed(&header(), &claims(access())), Meant::ForTheApi(&tokens));
            assert_eq!(opened.is_ok(), opens_api, "{audience} {party}: {opened:?}");
        }
    }

    #[test]
    fn an_id_token_opens_no_api_unless_a_setting_says_so() {
        let issuer = Issuer::new();
        let (own, other) = (tokens(), ApiTokens { audience: "lablet-api".to_owned(), ..tokens() });
        let plain = with(good(), "nonce", Value::Null);
        for (claims, tokens, opens) in [
            (good(), &own, false),
            (plain.clone(), &own, false),
            (with(plain.clone(), "at_hash", json!("x")), &own, false),
            (with(access(), "typ", json!("ID")), &own, false),
            (with(good(), "typ", json!("Bearer")), &own, true),
            (access(), &own, true),
            (with(plain.clone(), "scp", json!(["labs"])), &own, true),
            (with(plain.clone(), "client_id", json!("lablet")), &own, true),
            (with(plain.clone(), "aud", json!("lablet-api")), &other, true),
            (with(good(), "aud", json!(["lablet", "lablet-api"])), &other, false),
        ] {
            let token = issuer.signed(&header(), &claims);
            let opened = issuer.take(&token, Meant::ForTheApi(tokens));
            assert_eq!(opened.is_ok(), opens, "{claims}: {opened:?}");
            let lenient = ApiTokens { id_tokens: true, ..tokens.clone() };
            issuer.take(&token, Meant::ForTheApi(&lenient)).unwrap();
        }
    }

    fn odd() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Claims of the standard, and others, in whatever form: those that are not used break nothing.
        #[test]
        fn a_claim_that_is_not_used_never_breaks_a_sign_in(
            name in prop::sample::select(vec![
                "amr", "acr", "auth_time", "iat", "jti", "email", "email_verified", "phone_number_verified", "address",
                "birthdate", "locale", "updated_at", "zoneinfo", "picture", "groups", "roles", "c_hash", "sid", "name",
                "preferred_username", "_claim_names", "act", "cnf", "events", "scope", "client_id", "session_state",
            ]),
            value in odd(),
        ) {
            thread_local!(static ISSUER: Issuer = Issuer::new());
            ISSUER.with(|issuer| {
                let meant = Meant::ForSigningIn { nonce: "asked", access_token: None };
                let claims = issuer.take(&issuer.signed(&header(), &with(good(), name, value.clone())), meant);
                assert!(claims.is_ok(), "{name} {value}: {claims:?}");
            });
        }
    }
}
