//! What a sign-in link opens: a page with a button. Opening it uses nothing up, so neither a mail scanner nor a browser
//! that fetches ahead does; pressing the button has to happen on this very page, so no other site can sign anybody in.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};

use super::links::Useless;
use super::local_path::LocalPath;
use super::page::{SignInPage, count, parameter, return_to, shell, signed_in, time};
use super::{FormFields, SignIn};
use crate::authentication::{Authenticator, Role, SecretHash};
use crate::client_address::ClientAddress;
use crate::pages::shell::{Shell, page};
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "sign_in_link.html")]
struct LinkPage {
    shell: Shell,
    name: String,
    role: Role,
    token: String,
    return_to: LocalPath,
}

/// `GET /sign-in/link?token=…`: whom the link signs in, and the button that does.
pub(crate) async fn show(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let return_to = return_to(&uri);
    let token = parameter(&uri, "token").unwrap_or_default();
    match sign_in.links.look(&SecretHash::from_secret(&token)).await? {
        Ok((name, role)) => {
            let shell = shell(&sign_in, &authenticator, &headers).await?;
            page(&LinkPage { shell, name, role, token, return_to })
        }
        Err(useless) => refused(&sign_in, &authenticator, &headers, return_to, useless).await,
    }
}

/// `POST /sign-in/link`: uses the link up, and signs in.
pub(crate) async fn sign_in(
    State(sign_in): State<SignIn>,
    State(authenticator): State<Authenticator>,
    client: ClientAddress,
    request: Request,
) -> Result<Response, Problem> {
    sign_in.site.check(request.headers())?;
    let (form, request) = FormFields::from_request(request).await?;
    let return_to = LocalPath::or_start(form.get("return_to").unwrap_or_default());
    let link = SecretHash::from_secret(form.get("token").unwrap_or_default());
    let before = sign_in.cookies.session(request.headers());
    if let Some(secret) = sign_in.sessions.begin_by_link(&link, client.ip, before).await? {
        count("link", "signed_in");
        tracing::info!("signed in by link");
        return Ok(signed_in(&sign_in, &secret, &return_to));
    }
    count("link", "refused");
    let useless = sign_in.links.look(&link).await?.err().unwrap_or(Useless::Unknown);
    refused(&sign_in, &authenticator, request.headers(), return_to, useless).await
}

/// Why the link signs nobody in, and where there is another.
async fn refused(
    sign_in: &SignIn,
    authenticator: &Authenticator,
    headers: &HeaderMap,
    return_to: LocalPath,
    useless: Useless,
) -> Result<Response, Problem> {
    let complaint = match useless {
        Useless::Used(at) => format!("This link was used at {}. It works once.", time(at)),
        Useless::Expired(at) => format!("This link was valid until {}.", time(at)),
        Useless::Unknown => "This link is not known here: it is incomplete, or long out of date.".to_owned(),
    };
    let page = SignInPage::for_request(sign_in, authenticator, headers, return_to).await?;
    let advice = match &page.shell.visitor {
        Some(_) => "You are signed in all the same.",
        None => "Ask for another one: `lablet token link` makes it.",
    };
    page.complaining(format!("{complaint} {advice}")).answer(StatusCode::GONE)
}
