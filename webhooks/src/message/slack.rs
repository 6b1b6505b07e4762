//! A message for an incoming webhook of Slack.
//!
//! Every text of an event stands in `plain_text`, which Slack shows as it is: no link, no mention, no emphasis comes from a
//! session's reason. The link to the page is the one piece of `mrkdwn`; its address has no character that ends it.

use serde_json::{Value, json};

use super::card::{Card, Link};

pub(super) fn message(card: &Card) -> Value {
    let plain = |text: &str| json!({ "type": "plain_text", "text": text, "emoji": false });
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(&card.title) }),
        json!({ "type": "section", "text": plain(&card.sentence) }),
    ];
    if !card.facts.is_empty() {
        let facts: Vec<Value> = card.facts.iter().map(|(name, value)| plain(&format!("{name}: {value}"))).collect();
        // A context has ten elements at most.
        blocks.extend(facts.chunks(10).map(|elements| json!({ "type": "context", "elements": elements })));
    }
    blocks.push(json!({ "type": "context", "elements": [plain(&card.origin)] }));
    if let Some(link) = &card.link {
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": link_text(link) } }));
    }
    json!({
        // Read where blocks are not shown, as in a notification; what is escaped here links to nothing and nobody.
        "text": escaped(&format!("{}: {}", card.title, card.sentence)),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks
    })
}

fn link_text(link: &Link) -> String {
    format!("<{}|{}>", escaped(&link.url).replace('|', "%7C"), escaped(&link.label))
}

/// The three characters that mean something to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_says_is_shown_and_never_obeyed() {
        let hostile = "<!channel> <https://evil.example|Sign in> @here *bold* & `code` ${x}";
        let card = Card {
            title: format!("Session {hostile}"),
            sentence: hostile.to_owned(),
            facts: vec![("Reason", hostile.to_owned())],
            origin: "io.lablet.lablet_session.terminated.v1".to_owned(),
            link: Some(Link { label: "Open".to_owned(), url: "https://lablet.example.com/x?a=1&b=|>".to_owned() }),
        };
        let message = message(&card);
        let text = message["text"].as_str().unwrap();
        assert!(!text.contains('<') && !text.contains('>') && text.contains("&lt;!channel&gt;"), "{text}");
        for block in message["blocks"].as_array().unwrap() {
            let texts = [&block["text"]].into_iter().chain(block["elements"].as_array().into_iter().flatten());
            for text in texts.filter(|text| !text.is_null()) {
                assert!(text["type"] == "plain_text" || !text["text"].as_str().unwrap().contains("channel"), "{text}");
            }
        }
        let last = message["blocks"].as_array().unwrap().last().unwrap();
        assert_eq!(last["text"]["text"], "<https://lablet.example.com/x?a=1&amp;b=%7C&gt;|Open>");
    }
}
