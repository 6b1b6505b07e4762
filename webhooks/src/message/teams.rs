//! An Adaptive Card in the envelope that a workflow of Teams takes ("When a Teams webhook request is received").
//!
//! Every text of an event stands in a `TextRun`, which knows no Markdown: no link and no mention comes from a session's reason.

use serde_json::{Value, json};

use super::card::Card;

pub(super) fn message(card: &Card) -> Value {
    let mut body = vec![
        paragraph(&[run(&card.title, &[("weight", "Bolder"), ("size", "Medium")])]),
        paragraph(&[run(&card.sentence, &[])]),
    ];
    body.extend(
        card.facts
            .iter()
            .map(|(name, value)| paragraph(&[run(&format!("{name}: "), &[("weight", "Bolder")]), run(value, &[])])),
    );
    body.push(paragraph(&[run(&card.origin, &[("size", "Small"), ("color", "Default")])]));
    let actions: Vec<Value> = card
        .link
        .iter()
        .map(|link| json!({ "type": "Action.OpenUrl", "title": link.label, "url": link.url }))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "actions": actions
            }
        }]
    })
}

fn paragraph(runs: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

fn run(text: &str, properties: &[(&str, &str)]) -> Value {
    let mut run = json!({ "type": "TextRun", "text": text });
    for (name, value) in properties {
        run[*name] = json!(value);
    }
    run
}
