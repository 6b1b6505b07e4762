//! From a code to the provider's tokens, and from an access token to what else the provider tells of an account.

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::discovery::{Metadata, ProviderFault, check_status};
use super::{Provider, ProviderError};

/// What the token endpoint is called in messages.
const TOKEN_ENDPOINT: &str = "token endpoint";
/// What the userinfo endpoint is called in messages.
const USERINFO_ENDPOINT: &str = "userinfo endpoint";

/// What a code was redeemed for. Whatever else the provider says beside it is not looked at.
pub(super) struct Tokens {
    pub(super) id_token: Option<String>,
    pub(super) access_token: Option<String>,
}

impl Provider {
    /// Redeems a code. The provider's own words stay out of every message: they may repeat what was sent.
    pub(super) async fn redeem_code(
        &self,
        metadata: &Metadata,
        code: &str,
        verifier: &str,
    ) -> Result<Tokens, ProviderError> {
        let address = &metadata.token_endpoint;
        let unusable = |problem: &str| ProviderFault::unusable(TOKEN_ENDPOINT, address, problem);
        let request = self.redemption(metadata, code, verifier).map_err(|_| unusable("cannot be asked"))?;
        let answer = self
            .http
            .ask(request)
            .await
            .map_err(|error| ProviderFault::no_answer(TOKEN_ENDPOINT, address, &error))
            .inspect_err(|fault| {
                tracing::warn!(error = fault as &dyn std::error::Error, "authorization code not redeemed")
            })?;
        let told: Option<Map<String, Value>> = serde_json::from_slice(answer.body()).ok();
        let text = |name: &str| Some(told.as_ref()?.get(name)?.as_str()?.to_owned());
        match text("error").as_deref() {
            Some("invalid_client" | "unauthorized_client") => {
                let problem = "refuses this client: LABLET_OIDC_CLIENT_ID or LABLET_OIDC_CLIENT_SECRET is not what the \
                               provider knows";
                return Err(unusable(problem).into());
            }
            Some(error) => return Err(ProviderError::Refused(error.to_owned())),
            None => check_status(TOKEN_ENDPOINT, address, answer.status())?,
        }
        if told.is_none() {
            return Err(unusable("answers with something that is not JSON").into());
        }
        Ok(Tokens { id_token: text("id_token"), access_token: text("access_token") })
    }

    fn redemption(
        &self,
        metadata: &Metadata,
        code: &str,
        verifier: &str,
    ) -> Result<::http::Request<Vec<u8>>, ::http::Error> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("code_verifier", verifier),
            ("redirect_uri", &self.redirect),
        ]);
        let mut request = ::http::Request::post(metadata.token_endpoint.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match &self.client_secret {
            // Basic authentication unless the provider says that it takes the secret in the request only.
            Some(secret) if !metadata.takes_secret_in_body_only => {
                let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = BASE64_STANDARD.encode(format!("{}:{}", encoded(&self.client_id), encoded(secret)));
                request = request.header(AUTHORIZATION, format!("Basic {pair}"));
            }
            Some(secret) => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret);
            }
            None => {
                form.append_pair("client_id", &self.client_id);
            }
        }
        request.body(form.finish().into_bytes())
    }

    /// The provider's claims about the account of this access token. Empty where it gives none, or not as JSON.
    pub(super) async fn user_info(&self, address: &Url, token: &str) -> Result<Map<String, Value>, ProviderError> {
        let request = ::http::Request::get(address.as_str())
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| ProviderFault::unusable(USERINFO_ENDPOINT, address, "cannot be asked"))?;
        let answer = self
            .http
            .ask(request)
            .await
            .map_err(|error| ProviderFault::no_answer(USERINFO_ENDPOINT, address, &error))
            .inspect_err(|fault| tracing::warn!(error = fault as &dyn std::error::Error, "user info request failed"))?;
        if !answer.status().is_success() {
            tracing::warn!(status = answer.status().as_u16(), "user info request failed");
            return Ok(Map::new());
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
    }
}
