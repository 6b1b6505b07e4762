//! Pages as their readers see them, and their forms as they are filled in and sent.

use std::collections::BTreeMap;

use reqwest::Method;

use crate::world::{Answer, World};

pub(crate) async fn look(world: &World, token: &str, path: &str) -> Answer {
    world.send(world.request(Method::GET, path).bearer_auth(token)).await
}

/// A page as its reader sees it.
pub(crate) async fn page(world: &World, token: &str, path: &str) -> String {
    let answer = look(world, token, path).await.expect(200);
    assert!(answer.header("content-type").starts_with("text/html"));
    answer.body.as_str().unwrap().to_owned()
}

pub(crate) fn html(answer: &Answer) -> &str {
    answer.body.as_str().unwrap()
}

/// Sends a form, and does not follow where it leads.
pub(crate) async fn submit(world: &World, token: &str, path: &str, fields: &BTreeMap<String, String>) -> Answer {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let client = client.redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = client
        .post(format!("http://{}{path}", world.address))
        .header("content-type", "application/x-www-form-urlencoded")
        .bearer_auth(token)
        .body(body);
    world.send(request).await
}

fn decoded(text: &str) -> String {
    let named = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ];
    named.into_iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

pub(crate) fn attribute(tag: &str, name: &str) -> Option<String> {
    let from = tag.find(&format!("{name}=\""))? + name.len() + 2;
    let length = tag[from..].find('"')?;
    Some(decoded(&tag[from..from + length]))
}

/// The fields of a page's form as they stand there, text areas included.
pub(crate) fn fields(page: &str, action: &str) -> BTreeMap<String, String> {
    let from = page.find(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form {action} in {page}"));
    let form = &page[from..from + page[from..].find("</form>").unwrap()];
    let mut fields = BTreeMap::new();
    for tag in form.split("<input").skip(1) {
        if let Some(name) = attribute(tag, "name") {
            fields.insert(name, attribute(tag, "value").unwrap_or_default());
        }
    }
    for tag in form.split("<textarea").skip(1) {
        let name = attribute(tag, "name").unwrap();
        let from = tag.find('>').unwrap() + 1;
        let text = &tag[from..tag.find("</textarea>").unwrap()];
        fields.insert(name, decoded(text.trim_start_matches('\n')));
    }
    fields
}

pub(crate) fn with_query(path: &str, fields: &BTreeMap<String, String>) -> String {
    format!("{path}?{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
}
