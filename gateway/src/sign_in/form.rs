//! The fields of a form that a browser sent.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use domain::Invalid;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use url::form_urlencoded;

use super::local_path::LocalPath;
use crate::problem::{Problem, ProblemKind};

/// Most bytes of a form: the longest reason and the longest description in the widest characters, and some.
const LONGEST_FORM: usize = 96 * 1024;
/// Most fields of a form.
const MOST_FIELDS: usize = 200;
/// Field that proves that a form was served to the session which sends it.
pub(crate) const CSRF_TOKEN: &str = "csrf_token";
/// Field that makes a form that is sent twice one command.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency_key";
/// Field that names the page of the form, to which one comes back to fill it in again.
pub(crate) const FORM_PAGE: &str = "form_page";

/// Most bytes of a form where that is more than usual, in the extensions of its request. It counts for those only who are
/// signed in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LongestForm(pub(crate) usize);

/// Fields in the order of the form.
#[derive(Debug, Clone, Default)]
pub(crate) struct FormFields(Vec<(String, String)>);

impl FormFields {
    /// Reads the form of a request, and gives the request back as it was.
    ///
    /// # Errors
    /// 413 when it is longer than 96 KiB, 415 when it is no form, 400 when it breaks off or has too many fields.
    pub(crate) async fn from_request(request: Request) -> Result<(Self, Request), Problem> {
        Self::read(request, LONGEST_FORM).await
    }

    /// The same of somebody who is signed in, whose forms may be longer where the route says so.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn from_signed_in(request: Request) -> Result<(Self, Request), Problem> {
        let longest = request.extensions().get::<LongestForm>().map_or(LONGEST_FORM, |longest| longest.0);
        Self::read(request, longest).await
    }

    async fn read(request: Request, longest: usize) -> Result<(Self, Request), Problem> {
        let (parts, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, longest).await.map_err(|_| {
            Problem::new(ProblemKind::TooLarge, format!("The form broke off, or is larger than {longest} bytes."))
        })?;
        let form = Self::parse(&parts.headers, &bytes)?;
        Ok((form, Request::from_parts(parts, Body::from(bytes))))
    }

    fn parse(headers: &HeaderMap, bytes: &Bytes) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = declared.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let detail = "A page takes forms; send application/x-www-form-urlencoded.";
            return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
        }
        let fields: Vec<_> = form_urlencoded::parse(bytes).into_owned().take(MOST_FIELDS + 1).collect();
        if fields.len() > MOST_FIELDS {
            return Err(Invalid::new("", "has too many fields", format!("at most {MOST_FIELDS}")).into());
        }
        Ok(Self(fields))
    }

    /// The first value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The form's own page, where it can be filled in again; `None` where the form names no page.
    pub(crate) fn page(&self) -> Option<LocalPath> {
        LocalPath::parse(self.get(FORM_PAGE)?)
    }

    /// The fields without those that every form carries and no handler looks at.
    pub(crate) fn own(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        fields.filter(|(name, _)| !matches!(*name, CSRF_TOKEN | IDEMPOTENCY_KEY | FORM_PAGE))
    }
}
