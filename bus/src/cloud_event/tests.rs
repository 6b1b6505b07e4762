use cloudevents::event::EventBuilderV10;
use cloudevents::{AttributesReader as _, EventBuilder as _};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const MOST: usize = 100_000;

fn headers(entries: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in entries {
        headers.insert(*name, *value);
    }
    headers
}

fn binary_headers() -> Vec<(&'static str, &'static str)> {
    vec![
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "/grading"),
        ("ce-type", "io.lablet.command.register_worker.v1"),
    ]
}

fn read_binary(entries: &[(&str, &str)], payload: &[u8]) -> Result<Event, NotAnEvent> {
    read(Some(&headers(entries)), payload, MOST)
}

#[test]
fn what_is_written_is_read_and_equal_events_are_equal_bytes() {
    let event = EventBuilderV10::new()
        .id("1")
        .source("/lablet/worker")
        .ty("io.lablet.worker.changed.v1")
        .subject("w1")
        .time("2026-03-01T10:00:00Z")
        .extension("position", "0000000001-00000000000000000001-0000000000000000001")
        .extension("previousposition", "0")
        .data_with_schema("application/json", "http://127.0.0.1:8080/api/schemas/a.json", json!({"a": 1}))
        .build()
        .unwrap();
    let (headers, payload) = structured(&event).unwrap();
    assert_eq!(headers.get("Content-Type").unwrap().as_str(), STRUCTURED);
    assert_eq!(read(Some(&headers), &payload, MOST).unwrap(), event);
    assert_eq!(structured(&event.clone()).unwrap().1, payload);
    assert_eq!(read(None, &payload, MOST).unwrap(), event, "without any header too");
}

#[test]
fn binary_headers_are_read_in_any_case_and_percent_decoded_once() {
    let mut entries = binary_headers();
    entries.extend([
        ("CE-Subject", "caf%C3%A9%2520"),
        ("Ce-Traceparent", "00-ab-cd-01"),
        ("Content-Type", "application/json; charset=utf-8"),
    ]);
    let event = read_binary(&entries, br#"{"session_id":"s1"}"#).unwrap();
    assert_eq!(event.subject(), Some("café%20"));
    assert_eq!(extension(&event, "traceparent").as_deref(), Some("00-ab-cd-01"));
    assert_eq!(json_data(&event).unwrap(), json!({"session_id": "s1"}));
}

#[test]
fn a_sender_that_does_not_encode_is_understood() {
    let mut entries = binary_headers();
    entries.push(("ce-subject", "100% sure"));
    assert_eq!(read_binary(&entries, b"{}").unwrap().subject(), Some("100% sure"));
}

#[test]
fn data_without_content_type_is_json_and_other_data_is_bytes() {
    assert_eq!(json_data(&read_binary(&binary_headers(), b"[1]").unwrap()).unwrap(), json!([1]));
    let mut entries = binary_headers();
    entries.push(("ce-datacontenttype", "text/plain"));
    let event = read_binary(&entries, b"hello").unwrap();
    assert!(matches!(json_data(&event), Err(NotAnEvent::Attribute { name, .. }) if name == "data"));
}

#[test]
fn everything_else_is_refused_with_its_reason() {
    let reason = |result: Result<Event, NotAnEvent>| result.unwrap_err().to_string();
    let mut refusals = vec![
        reason(read(None, b"hello", MOST)),
        reason(read(None, b"{\"a\":1}", MOST)),
        reason(read(Some(&headers(&[("content-type", STRUCTURED)])), b"[", MOST)),
        reason(read(Some(&headers(&[("content-type", STRUCTURED)])), b"\xff\xfe", MOST)),
        reason(read(Some(&headers(&[("Content-Type", "application/cloudevents-batch+json")])), b"[]", MOST)),
        reason(read(None, br#"{"specversion":"0.3","id":"1","source":"/a","type":"t"}"#, MOST)),
        reason(read(None, br#"{"specversion":"1.0","id":"","source":"/a","type":"t"}"#, MOST)),
        reason(read(None, br#"{"specversion":"1.0","id":1,"source":"/a","type":"t"}"#, MOST)),
        reason(read(None, br#"{"specversion":"1.0","id":"1","source":"/a"}"#, MOST)),
        reason(read(None, br#"{"specversion":"1.0","id":"a\u0000b","source":"/a","type":"t"}"#, MOST)),
        reason(read(None, &vec![b'x'; MOST + 1], MOST)),
        reason(read_binary(&binary_headers(), b"\xff")),
        reason(read_binary(&[("ce-specversion", "1.0")], b"{}")),
    ];
    let deep = format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{}}}"#, "[".repeat(5_000));
    refusals.push(reason(read(None, deep.as_bytes(), MOST)));
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    the message is no CloudEvent: it has neither the header ce-specversion nor the content type application/cloudevents+json nor a JSON object with specversion
    the message is no CloudEvent: it has neither the header ce-specversion nor the content type application/cloudevents+json nor a JSON object with specversion
    the CloudEvent cannot be read as JSON: EOF while parsing a list at line 1 column 1
    the CloudEvent cannot be read as JSON: it is UTF-16; expected UTF-8
    a batch of CloudEvents is not taken; send each event on its own
    the CloudEvent's attribute specversion is "0.3"; expected "1.0"
    the CloudEvent's attribute id is empty
    the CloudEvent's attribute id is no text; expected a JSON string
    the CloudEvent's attribute type is absent
    the CloudEvent's attribute id contains a control character
    the message has 100001 bytes; at most 100000 are taken
    the CloudEvent's attribute data cannot be read as JSON: expected value at line 1 column 1
    the CloudEvent's attribute id is absent
    the CloudEvent cannot be read as JSON: recursion limit exceeded at line 1 column 189
    "#);
}

/// What a sender of each kind writes, and the subject and the data that it means.
#[test]
fn what_other_sdks_send_is_understood() {
    let understood = |headers: &[(&str, &str)], payload: &[u8]| {
        let event = read_binary(headers, payload).unwrap();
        (event.subject().map(ToOwned::to_owned), json_data(&event).unwrap())
    };
    let structured = [("Content-Type", "application/cloudevents+json; charset=UTF-8")];
    let with = |members: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{{"a":1}}{members}}}"#).into_bytes()
    };
    for members in [
        "",
        r#","subject":"""#,
        r#","subject":null,"time":null,"dataschema":null,"datacontenttype":null,"traceparent":null"#,
        r#","datacontenttype":"","time":"""#,
        r#","datacontenttype":"application/json; charset=utf-8""#,
        r#","sampledrate":1.5,"partition":{"a":1},"tags":["x"],"big":18446744073709551615,"flag":true,"n":7"#,
        r#","dataschema":"/schemas/relative.json""#,
        r#","dataschema":7"#,
        r#","data_base64":null"#,
        r#","time":"2026-03-01T10:00:00.123456+05:30""#,
    ] {
        assert_eq!(understood(&structured, &with(members)), (None, json!({"a": 1})), "{members}");
    }
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend(with(r#","subject":"s1""#));
    assert_eq!(understood(&[], &marked).0.as_deref(), Some("s1"), "a byte order mark, and no header");
    let encoded = br#"{"specversion":"1.0","id":"1","source":"/a","type":"t","data_base64":"eyJhIjoxfQ"}"#;
    assert_eq!(understood(&structured, encoded).1, json!({"a": 1}), "base64 without padding");
    let twice = br#"{"specversion":"1.0","id":"1","source":"/a","type":"t","data":"{\"a\":1}"}"#;
    assert_eq!(understood(&structured, twice).1, json!({"a": 1}), "serialised twice");
    let text =
        br#"{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/plain","data":{"a":1}}"#;
    assert_eq!(understood(&structured, text).1, json!({"a": 1}), "an object beside another content type");

    for more in [
        vec![("ce-subject", "")],
        vec![("ce-time", ""), ("ce-dataschema", ""), ("ce-datacontenttype", "")],
        vec![("ce-dataschema", "relative"), ("ce-traceparent", "")],
        vec![("Content-Type", "")],
        vec![("CE-TIME", "2026-03-01T10:00:00Z")],
    ] {
        let entries: Vec<_> = binary_headers().into_iter().chain(more.clone()).collect();
        assert_eq!(understood(&entries, b"{\"a\":1}"), (None, json!({"a": 1})), "{more:?}");
    }
    let latin = [("ce-subject", "caf%E9 100%"), ("Content-Type", "application/vnd.lablet+json")];
    let entries: Vec<_> = binary_headers().into_iter().chain(latin).collect();
    let (subject, _) = understood(&entries, b"\xef\xbb\xbf{}");
    assert_eq!(subject.as_deref(), Some("caf%E9 100%"), "what decodes to no text is taken as it is");
    let both: Vec<_> = binary_headers().into_iter().chain(structured).collect();
    assert_eq!(understood(&both, &with(r#","subject":"s1""#)).0.as_deref(), Some("s1"), "both modes at once");
}

#[test]
fn what_is_refused_is_told_truthfully() {
    let reason = |result: Result<Event, NotAnEvent>| result.unwrap_err().to_string();
    let with = |members: &str| {
        let payload = format!(r#"{{"specversion":"1.0","id":"1","source":"/a","type":"t"{members}}}"#);
        reason(read(None, payload.as_bytes(), MOST))
    };
    let typed = |content_type: &str, payload: &[u8]| {
        reason(read(Some(&headers(&[("content-type", content_type)])), payload, MOST))
    };
    let also = |name: &'static str, value: &'static str| {
        let entries: Vec<_> = binary_headers().into_iter().chain([(name, value)]).collect();
        reason(read_binary(&entries, b"{}"))
    };
    let many: String = (0..65).map(|number| format!(r#","x{number}":1"#)).collect();
    let crowd: Vec<(String, String)> = (0..129).map(|number| (format!("h{number}"), "1".to_owned())).collect();
    let crowd: Vec<(&str, &str)> = crowd.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let refusals = [
        also("ce-time", "yesterday"),
        also("ce-time", "2026-03-01T10:00:00"),
        with(r#","time":"2026-02-30T10:00:00Z""#),
        with(r#","time":7"#),
        with(r#","subject":7"#),
        with(r#","id":null"#),
        with(r#","data":1,"data_base64":"MQ==""#),
        with(r#","data_base64":7"#),
        with(r#","data_base64":"*""#),
        with(&many),
        typed("application/cloudevents+avro", b"\x00"),
        typed("Application/CloudEvents-Batch+JSON; charset=utf-8", b"[]"),
        typed("application/json", br#"[{"specversion":"1.0"}]"#),
        typed(STRUCTURED, b"[]"),
        typed(STRUCTURED, b"\xff\xfe{\x00"),
        typed(STRUCTURED, br#"{"specversion":1.0}"#),
        reason(read_binary(&crowd, b"{}")),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    the CloudEvent's attribute time is "yesterday", which is no time; expected one such as "2026-03-01T10:00:00Z"
    the CloudEvent's attribute time is "2026-03-01T10:00:00", which lacks its offset from UTC; expected one such as "2026-03-01T10:00:00Z"
    the CloudEvent's attribute time is "2026-02-30T10:00:00Z", which is no time; expected one such as "2026-03-01T10:00:00Z"
    the CloudEvent's attribute time is no text; expected a JSON string
    the CloudEvent's attribute subject is no text; expected a JSON string
    the CloudEvent's attribute id is absent
    the CloudEvent's attribute data is there beside data_base64; expected one of them
    the CloudEvent's attribute data_base64 is no text; expected base64 in a JSON string
    the CloudEvent's attribute data_base64 is no base64: Invalid symbol 42, offset 0.
    the message has more than 64 extensions
    the content type is "application/cloudevents+avro"; expected application/cloudevents+json
    a batch of CloudEvents is not taken; send each event on its own
    a batch of CloudEvents is not taken; send each event on its own
    a batch of CloudEvents is not taken; send each event on its own
    the CloudEvent cannot be read as JSON: it is UTF-16; expected UTF-8
    the CloudEvent's attribute specversion is no text; expected a JSON string
    the message has more than 128 headers
    "#);
    let absent = read_binary(&binary_headers(), b"").unwrap();
    assert_eq!(
        json_data(&absent).unwrap_err().to_string(),
        "the CloudEvent's attribute data is absent; expected a JSON object"
    );
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused_and_never_more(
        entries in proptest::collection::vec(("[!-9;-~]{1,20}|ce-(id|source|type|specversion|subject|time|x)", "[^\r\n]{0,40}"), 0..12),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &entries {
            map.insert(name.as_str(), value.as_str());
        }
        if let Ok(event) = read(Some(&map), &payload, MOST) {
            prop_assert!(!event.id().is_empty() && event.id().len() <= LONGEST_ATTRIBUTE);
            prop_assert!(event.subject().is_none_or(|subject| !subject.is_empty()));
            prop_assert!(event.iter_extensions().all(|(name, _)| name.len() <= LONGEST_NAME));
        }
    }

    #[test]
    fn members_that_mean_nothing_change_nothing(
        name in "[a-z]{1,12}",
        nothing in prop_oneof![Just(json!(null)), Just(json!([1])), Just(json!({"a": null})), Just(json!(0.5))],
    ) {
        prop_assume!(!attributes::STANDARD.contains(&name.as_str()) && name != "data");
        let plain = json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": {"a": 1}});
        let mut more = plain.clone();
        more[&name] = nothing;
        let both = [plain, more].map(|event| read(None, event.to_string().as_bytes(), MOST));
        prop_assert_eq!(&both[0], &both[1]);
    }
}
