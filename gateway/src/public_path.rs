//! A site below a path of its host, behind a proxy that strips the path.
//!
//! Handlers and templates write addresses as if the site were at the root of its host. Only here, on the way out, the path
//! is put before them: in redirects, and in the addresses of a page. Those stand in attributes with double quotes, which
//! only our templates can write, as askama escapes quotes in data.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue};
use url::{Position, Url};

use crate::problem::Problem;
use crate::sign_in::Site;

/// Headers that lead elsewhere.
const LEADING: [HeaderName; 2] = [LOCATION, HeaderName::from_static("hx-redirect")];
/// Header in which htmx says which page is open.
const HX_CURRENT_URL: &str = "hx-current-url";
/// Attributes of our templates that hold an address.
const ATTRIBUTES: [&str; 9] =
    ["href", "src", "action", "formaction", "hx-get", "hx-post", "data-live", "data-samples", "data-base"];
/// Largest page.
const LARGEST_PAGE: usize = 64 << 20;

/// Puts the site's path before what leaves, and takes it from what htmx says about the open page.
pub(crate) async fn below(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let base = site.base_path();
    let open = request.headers().get(HX_CURRENT_URL).and_then(|url| Url::parse(url.to_str().ok()?).ok());
    let open = open.and_then(|mut url| {
        let path = url.path().strip_prefix(base)?.to_owned();
        url.set_path(&path);
        HeaderValue::from_str(&url[..Position::AfterQuery]).ok()
    });
    if let Some(open) = open {
        request.headers_mut().insert(HX_CURRENT_URL, open);
    }
    let mut response = next.run(request).await;
    for name in LEADING {
        let here = response.headers().get(&name).and_then(|value| value.to_str().ok());
        let here = here.filter(|path| path.starts_with('/') && !path.starts_with("//"));
        if let Some(path) = here.and_then(|path| HeaderValue::from_str(&format!("{base}{path}")).ok()) {
            response.headers_mut().insert(name, path);
        }
    }
    let media_type = response.headers().get(CONTENT_TYPE);
    if !media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html")) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let page = match to_bytes(body, LARGEST_PAGE).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return Problem::internal("a page cannot be put below the public path", &error).into_response(),
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(with_base(&page, base)))
}

/// The page with the path before each of its addresses on this site.
fn with_base(page: &str, base: &str) -> String {
    let (mut written, mut rest) = (String::with_capacity(page.len() + page.len() / 8), page);
    while let Some(at) = rest.find("=\"/") {
        let (before, after) = rest.split_at(at);
        let name_begins = before.rfind(|character: char| character.is_ascii_whitespace()).map_or(0, |index| index + 1);
        written.push_str(before);
        written.push_str("=\"");
        if ATTRIBUTES.contains(&&before[name_begins..]) && !after.starts_with("=\"//") {
            written.push_str(base);
        }
        rest = &after[2..];
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_page_and_nothing_else_gets_the_path() {
        let page = "<a class=\"x\" href=\"/a?b=/c\">/d</a>\n<form\naction=\"/e\"><input name=\"form_page\" value=\"/f\">\
                    <a href=\"//x\"><a href=\"https://y/\"><a href=\"#main\"> href=&#34;/g&#34; <body data-base=\"/\">";
        let expected = "<a class=\"x\" href=\"/labs/a?b=/c\">/d</a>\n<form\naction=\"/labs/e\"><input name=\"form_page\" \
                        value=\"/f\"><a href=\"//x\"><a href=\"https://y/\"><a href=\"#main\"> href=&#34;/g&#34; <body \
                        data-base=\"/labs/\">";
        assert_eq!(with_base(page, "/labs"), expected);
    }

    #[test]
    fn templates_write_addresses_in_these_attributes_alone() {
        let templates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut folders = vec![templates];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for (at, _) in text.match_indices("=\"/") {
                    let name = text[..at].rsplit(|character: char| character.is_ascii_whitespace()).next().unwrap();
                    assert!(ATTRIBUTES.contains(&name) || name == "value", "{}: {name}", path.display());
                }
                assert!(
                    !text.contains("='/") && !text.contains("=/"),
                    "{}: an address without double quotes",
                    path.display()
                );
            }
        }
    }
}
