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
