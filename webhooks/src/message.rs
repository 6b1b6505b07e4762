//! Messages, as each format has them.

mod card;
mod slack;
mod teams;

use std::collections::BTreeMap;

use app::log::{Position, RecordedEvent};
use app::notice::{self, NoticeError, PublicUrl};
use bus::cloud_event;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use self::card::Card;
use crate::targets::{Format, Target};

/// Type of the event that `lablet webhooks test` sends.
pub const TEST_TYPE: &str = "io.lablet.webhook.test.v1";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What CloudEvents' HTTP binding encodes in headers, beside what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// What is sent, but for the signature, which is of the moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// The event's id, which is the message's id too.
    pub(crate) id: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A message that cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("no notice can be made of the event")]
    Notice(#[from] NoticeError),
    #[error("the message cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("an attribute of the event fits into no header")]
    Header(#[from] http::Error),
}

/// Where Lablet is reached: for addresses in notices, and for links where it is configured.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where the gateway is reached from outside.
    pub public_url: PublicUrl,
    /// Whether somebody configured that.
    pub is_configured: bool,
}

impl Site {
    /// The host that is asked for in handshakes.
    pub(crate) fn origin(&self) -> String {
        let parsed = url::Url::parse(self.public_url.as_str()).ok();
        parsed.and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_else(|| "lablet".to_owned())
    }

    /// Where pages are linked to.
    fn links(&self) -> Option<&PublicUrl> {
        self.is_configured.then_some(&self.public_url)
    }
}

impl Message {
    /// The message of an event, where `previous` is the position of the event before it.
    pub(crate) fn from_event(
        target: &Target,
        event: &RecordedEvent,
        previous: Position,
        site: &Site,
    ) -> Result<Self, MessageError> {
        let id = event.event_id.to_string();
        match target.format {
            Format::Structured | Format::Binary => {
                let notice = notice::announce(event, previous, &site.public_url)?;
                Self::from_cloud_event(target.format, id, notice.payload)
            }
            Format::Slack => Ok(Self::from_json(id, &slack::message(&Card::from_event(event, site.links())))?),
            Format::Teams => Ok(Self::from_json(id, &teams::message(&Card::from_event(event, site.links())))?),
        }
    }

    /// A message by which an operator tries a target.
    pub(crate) fn test(target: &Target, id: Uuid, now: DateTime<Utc>, site: &Site) -> Result<Self, MessageError> {
        let said = "Lablet can reach this target.";
        let id = id.to_string();
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": "/lablet/webhooks",
            "type": TEST_TYPE,
            "subject": target.name,
            "time": now.to_rfc3339_opts(SecondsFormat::Micros, true),
            "datacontenttype": "application/json",
            "data": { "target": target.name, "message": said }
        });
        match target.format {
            Format::Structured | Format::Binary => {
                Self::from_cloud_event(target.format, id, serde_json::to_vec(&event)?.into())
            }
            Format::Slack => Ok(Self::from_json(id, &slack::message(&Card::test(&target.name, said, site.links())))?),
            Format::Teams => Ok(Self::from_json(id, &teams::message(&Card::test(&target.name, said, site.links())))?),
        }
    }

    fn from_cloud_event(format: Format, id: String, structured: Bytes) -> Result<Self, MessageError> {
        if format != Format::Binary {
            let content_type = HeaderValue::from_static(cloud_event::STRUCTURED);
            return Ok(Self { id, headers: HeaderMap::from_iter([(CONTENT_TYPE, content_type)]), body: structured });
        }
        let members: BTreeMap<String, &RawValue> = serde_json::from_slice(&structured)?;
        let (mut headers, mut body) = (HeaderMap::new(), Bytes::new());
        for (name, value) in members {
            let text = || String::deserialize(value).map_err(MessageError::from);
            match name.as_str() {
                "data" => body = Bytes::copy_from_slice(value.get().as_bytes()),
                "datacontenttype" => drop(headers.insert(CONTENT_TYPE, header_value(&text()?)?)),
                _ => {
                    let name = HeaderName::try_from(format!("ce-{name}")).map_err(http::Error::from)?;
                    headers.insert(name, header_value(&text()?)?);
                }
            }
        }
        if body.is_empty() {
            // What is absent has no type.
            headers.remove(CONTENT_TYPE);
        }
        Ok(Self { id, headers, body })
    }

    fn from_json(id: String, message: &serde_json::Value) -> serde_json::Result<Self> {
        let body = serde_json::to_vec(message)?.into();
        Ok(Self { id, headers: HeaderMap::from_iter([(CONTENT_TYPE, JSON)]), body })
    }
}

fn header_value(text: &str) -> Result<HeaderValue, MessageError> {
    let encoded = utf8_percent_encode(text, ENCODED).to_string();
    Ok(HeaderValue::try_from(encoded).map_err(http::Error::from)?)
}
