//! Authority, asked for in a handler's signature.
//!
//! The router lets nobody without a valid key, token or session reach a guarded route; a handler's [`Caller`] then says how much
//! authority it needs, and the API's description repeats it.

use std::marker::PhantomData;
use std::time::Duration;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use aide::operation::OperationOutput as _;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};
use url::{Position, Url, form_urlencoded};

use crate::authentication::{API_KEY, Authenticator, Authority, Principal, Role, SignedIn};
use crate::position::LABLET_POSITION;
use crate::problem::{Problem, ProblemKind};
use crate::sign_in::form::CSRF_TOKEN;
use crate::sign_in::local_path::LocalPath;
use crate::sign_in::saved_forms::{SAVED_FORM, SavedForm};
use crate::sign_in::sessions::Use;
use crate::sign_in::{FormFields, SignIn, csrf_matches, sign_in_address, to_sign_in};

/// Header in which a script sends the session's token.
const CSRF_HEADER: &str = "x-csrf-token";
/// Header by which a page's script says that the page keeps itself up to date.
const LABLET_REFRESH: &str = "lablet-refresh";
/// Header by which htmx says that it asks.
const HX_REQUEST: &str = "hx-request";
/// Header in which htmx says which page is open.
const HX_CURRENT_URL: &str = "hx-current-url";
/// Header by which htmx is told to open another page.
const HX_REDIRECT: &str = "hx-redirect";
/// How often it is looked whether an open stream's session or token is still valid.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(10);

/// A level of authority, as a type.
pub(crate) trait Needs: Send + Sync + 'static {
    /// The level.
    const AUTHORITY: Authority;
}

/// An internal key, and nothing else.
pub(crate) struct Internal;
/// Whoever may see.
pub(crate) struct Viewing;
/// Whoever may ask for an observation: operators, and services.
pub(crate) struct Asking;
/// Whoever may handle dead letters.
pub(crate) struct Operating;
/// Whoever signs in as a person, in whatever role.
pub(crate) struct Personal;
/// Whoever may see and end others' sessions: admins.
pub(crate) struct Governing;
/// Whoever may create and revise definitions and workers: admins, and services.
pub(crate) struct Administering;

impl Needs for Internal {
    const AUTHORITY: Authority = Authority::Internal;
}
impl Needs for Viewing {
    const AUTHORITY: Authority = Authority::RoleOrInternal(Role::Viewer);
}
impl Needs for Asking {
    const AUTHORITY: Authority = Authority::RoleOrInternal(Role::Operator);
}
impl Needs for Operating {
    const AUTHORITY: Authority = Authority::Role(Role::Operator);
}
impl Needs for Personal {
    const AUTHORITY: Authority = Authority::Role(Role::Viewer);
}
impl Needs for Governing {
    const AUTHORITY: Authority = Authority::Role(Role::Admin);
}
impl Needs for Administering {
    const AUTHORITY: Authority = Authority::RoleOrInternal(Role::Admin);
}

/// A caller whose authority suffices.
pub(crate) struct Caller<N>(PhantomData<N>);

/// Lets through who is signed in, and remembers who it is.
///
/// A browser sends its cookie along whoever's page asks it to. So with a cookie, a change needs the session's token in
/// `X-CSRF-Token` as well, which only a page of this site knows.
pub(crate) async fn authenticate(
    State(authenticator): State<Authenticator>,
    State(sign_in): State<SignIn>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let how_used = how_used(&request);
    let signed_in = authenticator.authenticate(request.headers(), how_used).await?;
    if let Some(session) = &signed_in.session
        && !request.method().is_safe()
    {
        sign_in.site.check(request.headers())?;
        let presented = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        if !csrf_matches(session, presented.unwrap_or_default()) {
            let detail = "A change that a browser asks for needs the session's token in the header X-CSRF-Token.";
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
    }
    let of_stream = is_stream(&request).then(|| request.headers().clone());
    remember(&mut request, &signed_in);
    let mut response = next.run(request).await;
    if let Some(headers) = of_stream {
        response = ending_with_the_session(response, authenticator, &sign_in, headers);
    }
    Ok(with_actor(response, signed_in.principal))
}

/// Lets through to a page who is signed in. Others are sent to sign in, and come back to the page they asked for, or to
/// the form they sent, filled in as it was.
///
/// A form that changes something has to hold the session's token in `csrf_token`. One that holds another (that of a
/// session which has ended meanwhile) is shown again with what was filled in, and changes nothing.
pub(crate) async fn authenticate_page(
    State(authenticator): State<Authenticator>,
    State(sign_in): State<SignIn>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (is_change, how_used) = (!request.method().is_safe(), how_used(&request));
    let by_key = request.headers().contains_key(API_KEY) || request.headers().contains_key(AUTHORIZATION);
    let signed_in = match authenticator.authenticate(request.headers(), how_used).await {
        Ok(signed_in) => signed_in,
        Err(problem) if problem.kind() == ProblemKind::Unauthenticated && !by_key => {
            if is_change {
                let (form, request) = FormFields::from_request(request).await?;
                let page = sign_in.saved_forms.page_of(&form, None).await?;
                return Ok(sent_to_sign_in(request.headers(), &page.unwrap_or_default()));
            }
            let asked_for = request.uri().path_and_query().map(|path| LocalPath::or_start(path.as_str()));
            return Ok(sent_to_sign_in(request.headers(), &asked_for.unwrap_or_default()));
        }
        Err(problem) => return Err(problem),
    };
    let mut request = request;
    if let Some(session) = &signed_in.session
        && is_change
    {
        sign_in.site.check(request.headers())?;
        let (form, read) = FormFields::from_signed_in(request).await?;
        request = read;
        let in_header = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        let presented = in_header.or(form.get(CSRF_TOKEN));
        if !csrf_matches(session, presented.unwrap_or_default()) {
            let page = match presented {
                Some(_) => sign_in.saved_forms.page_of(&form, Some(&session.name)).await?,
                None => None,
            };
            return match (presented, page) {
                (Some(_), Some(page)) => Ok(Redirect::to(page.as_str()).into_response()),
                _ => {
                    let detail =
                        "The form does not belong to this session; open its page again and send it from there.";
                    Err(Problem::new(ProblemKind::Forbidden, detail))
                }
            };
        }
        request.extensions_mut().insert(form);
    }
    if let Some(saved) = saved_form(&sign_in, request.uri(), &signed_in.principal).await? {
        request.extensions_mut().insert(saved);
    }
    remember(&mut request, &signed_in);
    Ok(with_actor(next.run(request).await, signed_in.principal))
}

/// The form with which the page that is asked for is filled in, where its address names one of this person.
async fn saved_form(sign_in: &SignIn, uri: &Uri, principal: &Principal) -> Result<Option<SavedForm>, Problem> {
    let Principal::Admin { name, .. } = principal else { return Ok(None) };
    let query = uri.query().unwrap_or_default();
    let named = form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == SAVED_FORM);
    let Some((_, id)) = named else { return Ok(None) };
    Ok(sign_in.saved_forms.find(&id, name).await?)
}

fn remember(request: &mut Request, signed_in: &SignedIn) {
    request.extensions_mut().insert(signed_in.principal.clone());
    if let Some(session) = &signed_in.session {
        request.extensions_mut().insert(session.clone());
    }
}

fn with_actor(mut response: Response, principal: Principal) -> Response {
    response.extensions_mut().insert(principal);
    response
}

/// Whether this asks for the stream of events, the one answer that outlasts its request.
fn is_stream(request: &Request) -> bool {
    request.uri().path() == "/api/stream"
}

/// Whether a request counts as use of the session. Those by which a page keeps itself up to date, and its stream, do not:
/// nobody may be at the keyboard.
fn how_used(request: &Request) -> Use {
    let headers = request.headers();
    let asks_again = headers.contains_key(LABLET_REFRESH) || headers.contains_key(LABLET_POSITION);
    let by_page = asks_again || is_stream(request);
    if by_page && request.method().is_safe() { Use::ByPage } else { Use::ByPerson }
}

/// A browser follows the redirect, and so does the script that keeps a page up to date, which looks where it got to.
/// htmx would put the sign-in page in the place of a part of the open one, so it is told to open it instead.
fn sent_to_sign_in(headers: &HeaderMap, back: &LocalPath) -> Response {
    if !headers.contains_key(HX_REQUEST) {
        return to_sign_in(back.as_str());
    }
    let mut answer =
        Problem::new(ProblemKind::Unauthenticated, "The session has ended; sign in again.").into_response();
    // The page that is open, not the part of it that was asked for.
    let open = headers.get(HX_CURRENT_URL).and_then(|url| Url::parse(url.to_str().ok()?).ok());
    let open = open.and_then(|url| LocalPath::parse(&url[Position::BeforePath..Position::AfterQuery]));
    if let Ok(address) = HeaderValue::from_str(&sign_in_address(open.as_ref().unwrap_or(back))) {
        answer.headers_mut().insert(HX_REDIRECT, address);
    }
    answer
}

/// A stream lasts longer than its first look at who asks. It is looked again whenever a session or token was ended, and
/// from time to time as others end by themselves; the stream ends with the session or token that opened it.
fn ending_with_the_session(
    response: Response,
    authenticator: Authenticator,
    sign_in: &SignIn,
    headers: HeaderMap,
) -> Response {
    let media_type = response.headers().get(CONTENT_TYPE);
    if !media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/event-stream")) {
        return response;
    }
    let mut ends = sign_in.sessions.ends().listen();
    let ended = async move {
        loop {
            tokio::select! {
                told = ends.changed() => if told.is_err() { return },
                () = tokio::time::sleep(LOOK_AGAIN_EVERY) => {}
            }
            let looked = authenticator.authenticate(&headers, Use::ByPage).await;
            if looked.is_err_and(|problem| problem.kind() == ProblemKind::Unauthenticated) {
                tracing::info!("event stream ended with its session or token");
                return;
            }
        }
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(ended))))
}

/// Who is signed in.
///
/// # Errors
/// 401 where nobody is; a route outside the guarded part of the router then asked for a caller.
pub(crate) fn principal(parts: &Parts) -> Result<Principal, Problem> {
    let signed_in = parts.extensions.get::<Principal>().cloned();
    signed_in.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated, "This needs a key or a token."))
}

impl<S: Send + Sync, N: Needs> FromRequestParts<S> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        N::AUTHORITY.check(&principal(parts)?)?;
        Ok(Self(PhantomData))
    }
}

/// A caller who is a person, and no service: somebody who may have preferences.
pub(crate) struct Person {
    /// Their name, as it appears as `admin:<name>` in events.
    pub(crate) name: String,
    /// How far their authority reaches.
    pub(crate) role: Role,
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = principal(parts)?;
        Personal::AUTHORITY.check(&principal)?;
        match principal {
            Principal::Admin { name, role } => Ok(Self { name, role }),
            Principal::Service { .. } => Err(Problem::new(ProblemKind::Forbidden, "This is for people.")),
        }
    }
}

impl OperationInput for Person {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Caller::<Personal>::operation_input(context, operation);
    }

    fn inferred_early_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        Caller::<Personal>::inferred_early_responses(context, operation)
    }
}

impl<N: Needs> OperationInput for Caller<N> {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        let key = || [("internal_key".to_owned(), Vec::new())].into_iter().collect();
        let admin =
            |scheme: &str, role: Role| [(scheme.to_owned(), vec![role.name().to_owned()])].into_iter().collect();
        let token = |role| admin("admin_token", role);
        let session = |role| admin("browser_session", role);
        operation.security.extend(match N::AUTHORITY {
            Authority::Internal => vec![key()],
            Authority::Role(role) => vec![token(role), session(role)],
            Authority::RoleOrInternal(role) => vec![token(role), session(role), key()],
        });
        let needs = format!("Needs {}.", N::AUTHORITY);
        operation.description = Some(match operation.description.take() {
            Some(text) => format!("{text}\n\n{needs}"),
            None => needs,
        });
    }

    fn inferred_early_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<u16>, Described)> {
        described_problems(context, operation, &[(401, "Nobody is signed in"), (403, "Too little authority")])
    }
}

/// Problem responses for the API's description.
pub(crate) fn described_problems(
    context: &mut GenContext,
    operation: &mut Operation,
    statuses: &[(u16, &str)],
) -> Vec<(Option<u16>, Described)> {
    statuses
        .iter()
        .filter_map(|(status, description)| {
            let mut described = Problem::operation_response(context, operation)?;
            described.description = (*description).to_owned();
            Some((Some(*status), described))
        })
        .collect()
}
