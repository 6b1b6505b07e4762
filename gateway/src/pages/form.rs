//! What a form sends: its fields, proof that the form was ours, and where the change comes from.
//!
//! A form carries two hidden fields: `csrf_token`, the session's, and `idempotency_key`, minted with the page, so that a
//! double click is one command. Fields come urlencoded and bounded.

use app::log::Origin;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};
use crate::query::from_pairs;
use crate::sign_in::{BrowserSession, csrf_matches};
use crate::submission::{checked_key, origin_with};

/// Most bytes of a form: the longest reason and the longest description in the widest characters, and some.
const LONGEST_FORM: usize = 96 << 10;

/// Fields that every form carries and no handler looks at. `form_page` says where the form itself is, for whoever has to
/// sign in again first.
const HIDDEN: [&str; 3] = ["csrf_token", "idempotency_key", "form_page"];

/// A form that was sent from one of our pages.
pub(crate) struct Form<T> {
    /// Its fields.
    pub(crate) fields: T,
    /// Where the change comes from.
    pub(crate) origin: Origin,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, LONGEST_FORM).await.map_err(|_| {
            Problem::new(Kind::TooLarge, format!("The form is larger than the {LONGEST_FORM} bytes allowed here."))
        })?;
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(&bytes).into_owned().collect();
        let field = |name: &str| pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        // Whoever sends a key or a token did not get here by following somebody's link.
        if let Some(session) = parts.extensions.get::<BrowserSession>()
            && !csrf_matches(session, field("csrf_token").unwrap_or_default())
        {
            let detail = "The form was not made for this sign-in. Go back, load the page again, and send it once more.";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        let own = |(name, value): &&(String, String)| !HIDDEN.contains(&name.as_str()) && !value.is_empty();
        let content =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs.iter().filter(own)).finish();
        let key = field("idempotency_key").map(|key| checked_key("idempotency_key", key)).transpose()?;
        let origin = origin_with(&parts, key, content.as_bytes())?;
        let fields = from_pairs(pairs.iter().filter(own).map(|(name, value)| (name, value)))?;
        Ok(Self { fields, origin })
    }
}
