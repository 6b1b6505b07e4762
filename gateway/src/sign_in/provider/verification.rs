//! Whether a token is the provider's, is meant for us, and is valid now.
//!
//! Tokens of the API are looked at with the same rules as ID tokens: both are signed JWTs with issuer, audience and
//! expiry. What differs is the audience, that an API's token may name others beside it, and the type that RFC 9068 gives
//! to access tokens.

use std::str::FromStr as _;

use app::clock::Clock;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJwsSigningAlgorithm};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, JsonWebTokenType, Nonce,
    SignatureVerificationError,
};
use serde_json::{Map, Value};

use super::{Metadata, ProviderError};

/// How far the provider's clock may be ahead of ours.
const TOLERATED: TimeDelta = TimeDelta::seconds(60);
/// Most characters of a token.
const LONGEST: usize = 16_384;

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
    ForSigningIn { nonce: &'a str, access_token: &'a AccessToken },
    /// To be sent to the API.
    ForTheApi { audience: &'a str },
}

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is signed with a key that the provider did not have when it was asked.
    UnknownKey,
    /// For this reason.
    Invalid(&'static str),
}

impl From<Refusal> for ProviderError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownKey => Self::Token("is signed with a key that the provider does not have"),
            Refusal::Invalid(why) => Self::Token(why),
        }
    }
}

/// Whether a text could be a token of a provider: two dots, and a beginning that is JSON.
pub(crate) fn looks_like_one(text: &str) -> bool {
    text.len() <= LONGEST && text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The claims of a token that is valid.
pub(super) fn claims(
    token: &str,
    metadata: &Metadata,
    client: &ClientId,
    meant: Meant<'_>,
    clock: &Clock,
) -> Result<Map<String, Value>, Refusal> {
    let malformed = || Refusal::Invalid("is malformed");
    if !looks_like_one(token) {
        return Err(malformed());
    }
    let parsed = CoreIdToken::from_str(token).map_err(|_| malformed())?;
    let audience = match meant {
        Meant::ForSigningIn { .. } => client.clone(),
        Meant::ForTheApi { audience } => ClientId::new(audience.to_owned()),
    };
    let now = clock.now();
    let verifier = CoreIdTokenVerifier::new_public_client(audience, metadata.issuer().clone(), metadata.jwks().clone())
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || now);
    match meant {
        Meant::ForSigningIn { nonce, access_token } => {
            let expected = Nonce::new(nonce.to_owned());
            let claims = parsed.claims(&verifier, &expected).map_err(|error| refusal(&error))?;
            if let Some(stated) = claims.access_token_hash() {
                let hash = parsed
                    .signing_alg()
                    .and_then(|algorithm| Ok((algorithm, parsed.signing_key(&verifier)?)))
                    .ok()
                    .and_then(|(algorithm, key)| AccessTokenHash::from_token(access_token, algorithm, key).ok());
                if hash.as_ref() != Some(stated) {
                    return Err(Refusal::Invalid("does not belong to the access token beside it"));
                }
            }
        }
        Meant::ForTheApi { .. } => {
            let types = ["JWT", "at+jwt"].map(|name| JsonWebTokenType::new(name.to_owned()).normalize());
            let verifier =
                verifier.set_allowed_jose_types(types.into_iter().flatten()).set_other_audience_verifier_fn(|_| true);
            let whatever_it_answered = |_: Option<&Nonce>| Ok(());
            parsed.claims(&verifier, whatever_it_answered).map_err(|error| refusal(&error))?;
        }
    }
    let claims = payload(token).ok_or_else(malformed)?;
    let not_before = claims.get("nbf").and_then(Value::as_f64).unwrap_or(f64::MIN);
    if not_before > (now + TOLERATED).timestamp() as f64 {
        return Err(Refusal::Invalid("is not valid yet"));
    }
    Ok(claims)
}

/// All claims, of whatever name: those of the crate's own types are only the ones that it knows.
fn payload(token: &str) -> Option<Map<String, Value>> {
    let encoded = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn refusal(error: &ClaimsVerificationError) -> Refusal {
    Refusal::Invalid(match error {
        // A key may have been exchanged for another under the same name, too, or beside one without a name.
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoMatchingKey
            | SignatureVerificationError::CryptoError(_)
            | SignatureVerificationError::AmbiguousKeyId(_),
        ) => return Refusal::UnknownKey,
        ClaimsVerificationError::SignatureVerification(_) => "is not signed in a way that is accepted here",
        ClaimsVerificationError::Expired(_) => "has expired",
        ClaimsVerificationError::InvalidAudience(_) => "is not meant for this service",
        ClaimsVerificationError::InvalidIssuer(_) => "is of another issuer",
        ClaimsVerificationError::InvalidNonce(_) => "does not answer this browser's question",
        _ => "is not of a kind that is accepted here",
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use openidconnect::PrivateSigningKey as _;
    use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreHmacKey};
    use openidconnect::{JsonWebKeyId, JsonWebKeySet};
    use serde_json::json;

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
            let described = json!({
                "issuer": "https://login.example.com", "authorization_endpoint": "https://login.example.com/authorize",
                "jwks_uri": "https://login.example.com/keys", "response_types_supported": ["code"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["EdDSA"],
            });
            let metadata: Metadata = serde_json::from_value(described).unwrap();
            let metadata = metadata.set_jwks(JsonWebKeySet::new(vec![key.as_verification_key()]));
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
            let clock = Clock::manual(DateTime::from_timestamp(NOW, 0).unwrap());
            claims(token, &self.metadata, &ClientId::new("lablet".to_owned()), meant, &clock)
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

    const API: Meant<'static> = Meant::ForTheApi { audience: "lablet" };

    #[test]
    fn a_valid_token_gives_all_its_claims() {
        let issuer = Issuer::new();
        let claims = issuer.take(&issuer.signed(&header(), &good()), API).unwrap();
        assert_eq!(claims["https://labs.example/roles"], json!(["see"]));
        for (header, claims) in [
            (with(header(), "typ", json!("at+jwt")), good()),
            (with(header(), "kid", Value::Null), with(good(), "nbf", json!(NOW))),
            (with(header(), "typ", Value::Null), with(good(), "aud", json!(["lablet", "other"]))),
        ] {
            issuer.take(&issuer.signed(&header, &claims), API).unwrap();
        }
        let other = Meant::ForTheApi { audience: "lablet-api" };
        issuer.take(&issuer.signed(&header(), &with(good(), "aud", json!("lablet-api"))), other).unwrap();
    }

    #[test]
    fn everything_else_is_refused_for_its_reason() {
        let issuer = Issuer::new();
        let refused = |header: &Value, claims: &Value| issuer.take(&issuer.signed(header, claims), API).unwrap_err();
        for (member, changed, why) in [
            ("exp", json!(NOW), "has expired"),
            ("exp", Value::Null, "is malformed"),
            ("nbf", json!(NOW + 61), "is not valid yet"),
            ("iss", json!("https://login.example.com/"), "is of another issuer"),
            ("aud", json!("other"), "is not meant for this service"),
            ("aud", json!([]), "is not meant for this service"),
            ("aud", Value::Null, "is not meant for this service"),
            ("sub", Value::Null, "is malformed"),
        ] {
            assert_eq!(refused(&header(), &with(good(), member, changed)), Refusal::Invalid(why), "{member}");
        }
        let unsigned = "is not signed in a way that is accepted here";
        for (member, changed, why) in [
            ("alg", json!("none"), unsigned),
            ("alg", json!("HS256"), unsigned),
            ("alg", json!("ES512"), unsigned),
            ("typ", json!("logout+jwt"), "is not of a kind that is accepted here"),
            ("crit", json!(["exp"]), "is not of a kind that is accepted here"),
        ] {
            assert_eq!(refused(&with(header(), member, changed), &good()), Refusal::Invalid(why), "{member}");
        }
        assert_eq!(refused(&with(header(), "kid", json!("second")), &good()), Refusal::UnknownKey);
        let token = issuer.signed(&header(), &good());
        assert_eq!(Issuer::new().take(&token, API), Err(Refusal::UnknownKey), "the same name, another key");
        for token in ["", "eyJ", "a.b.c", &format!("eyJ.{}.c", "x".repeat(LONGEST)), &token.replace('.', "")] {
            assert_eq!(issuer.take(token, API), Err(Refusal::Invalid("is malformed")), "{token}");
        }
    }

    #[test]
    fn a_token_that_signs_a_browser_in_answers_its_question() {
        let issuer = Issuer::new();
        let access_token = AccessToken::new("access".to_owned());
        let take = |nonce: &str, header: &Value, claims: &Value| {
            let meant = Meant::ForSigningIn { nonce, access_token: &access_token };
            issuer.take(&issuer.signed(header, claims), meant)
        };
        take("asked", &header(), &good()).unwrap();
        let algorithm = CoreJwsSigningAlgorithm::EdDsa;
        let hash = AccessTokenHash::from_token(&access_token, &algorithm, &issuer.key.as_verification_key()).unwrap();
        take("asked", &header(), &with(good(), "at_hash", serde_json::to_value(&hash).unwrap())).unwrap();
        let nonce = Refusal::Invalid("does not answer this browser's question");
        assert_eq!(take("another", &header(), &good()), Err(nonce));
        assert!(take("asked", &header(), &with(good(), "nonce", Value::Null)).is_err());
        assert!(take("asked", &header(), &with(good(), "at_hash", json!("made-up"))).is_err());
        assert!(take("asked", &header(), &with(good(), "aud", json!(["lablet", "other"]))).is_err());
        assert!(take("asked", &with(header(), "typ", json!("at+jwt")), &good()).is_err());
    }
}
