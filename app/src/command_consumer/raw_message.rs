//! Messages read from the stream itself, where the client library cannot read them.
//!
//! async-nats ends its connection on a header that is no UTF-8, its task for good on one with a carriage return, and takes
//! a message whose header has a status for the server's own word. The server hands such a message out in JSON, with its
//! headers in base64, which harms nobody.

use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::json;

use bus::{Bus, streams, subjects};

/// A message as it lies in the stream.
#[derive(Debug)]
pub(super) struct RawMessage {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Why a message could not be read from the stream.
#[derive(Debug, thiserror::Error)]
pub enum RawMessageError {
    /// JetStream did not answer.
    #[error("the stream of commands does not answer")]
    Request(#[from] jetstream::context::RequestError),
    /// JetStream refused.
    #[error("the stream of commands refused to show a message")]
    Refused(#[from] jetstream::Error),
    /// The answer is not as expected.
    #[error("a message of the stream of commands is not in base64")]
    Encoding(#[from] base64::DecodeError),
}

impl RawMessage {
    /// The first message of the stream of commands at this place or behind it.
    ///
    /// # Errors
    /// [`RawMessageError`].
    pub(super) async fn at_or_after(bus: &Bus, sequence: u64) -> Result<Option<Self>, RawMessageError> {
        #[derive(Deserialize)]
        struct Found {
            message: Stored,
        }
        #[derive(Deserialize)]
        struct Stored {
            #[serde(default)]
            subject: String,
            seq: u64,
            #[serde(default)]
            hdrs: String,
            #[serde(default)]
            data: String,
        }
        let subject = format!("STREAM.MSG.GET.{}", streams::COMMANDS);
        let which = json!({ "seq": sequence, "next_by_subj": subjects::COMMANDS });
        match bus.jetstream().request::<_, _, Response<Found>>(subject, &which).await? {
            Response::Ok(Found { message }) => Ok(Some(Self {
                subject: message.subject,
                sequence: message.seq,
                headers: BASE64_STANDARD.decode(message.hdrs)?,
                payload: BASE64_STANDARD.decode(message.data)?,
            })),
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Response::Err { error } => Err(error.into()),
        }
    }

    /// Why the client library could not read the message, as its parser would find; `None`: it could.
    pub(super) fn unreadable_because(&self) -> Option<String> {
        if self
            .subject
            .contains(|character: char| character == char::REPLACEMENT_CHARACTER || character.is_whitespace())
        {
            return Some("its subject holds bytes that are no UTF-8, or white space".to_owned());
        }
        if self.headers.is_empty() { None } else { unreadable_headers(&self.headers).err() }
    }
}

fn unreadable_headers(headers: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(headers) else {
        let broken = headers.split(|byte| *byte == b'\n').find(|line| std::str::from_utf8(line).is_err());
        let name = broken.and_then(|line| line.split(|byte| *byte == b':').next()).unwrap_or_default();
        return Err(format!("its header {:?} holds bytes that are no UTF-8", shown(name)));
    };
    let mut lines = text.lines().peekable();
    let status = lines.next().and_then(|line| line.strip_prefix("NATS/1.0"));
    match status.map(str::trim) {
        None => return Err("its headers do not begin with NATS/1.0".to_owned()),
        Some("") => {}
        Some(status) => return Err(format!("its headers claim the server's status {:?}", shown(status.as_bytes()))),
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(format!("its header {:?} has no value", shown(line.as_bytes())));
        };
        if name.contains(|character: char| !character.is_ascii_graphic()) {
            return Err(format!("its header {:?} is no name of printable ASCII characters", shown(name.as_bytes())));
        }
        let mut holds_return = value.trim().contains('\r');
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            holds_return |= more.contains('\r');
        }
        if holds_return {
            return Err(format!("its header {:?} holds a carriage return", shown(name.as_bytes())));
        }
    }
    Ok(())
}

/// The beginning of a name, for the error text.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name.get(..64).unwrap_or(name)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_cannot_read_is_told() {
        let because = |headers: &[u8]| unreadable_headers(headers).err();
        assert_eq!(because(b"NATS/1.0\r\nce-id: 1\r\nEmpty:\r\n\r\n"), None);
        assert_eq!(because("NATS/1.0\r\nName: café\r\n folded\r\n\r\n".as_bytes()), None);
        let reasons: Vec<String> = [
            b"NATS/1.0\r\nce-id: 1\r\nAuthor: Jos\xe9\r\n\r\n".as_slice(),
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"NATS/1.0\r\nnothing\r\n\r\n",
            b"NATS/1.0\r\nbad name: 1\r\n\r\n",
            b"NATS/1.0\r\nname: a\rb\r\n\r\n",
        ]
        .into_iter()
        .filter_map(because)
        .collect();
        insta::assert_snapshot!(reasons.join("\n"), @r#"
        its header "Author" holds bytes that are no UTF-8
        its headers claim the server's status "503"
        its headers claim the server's status "409 Consumer Deleted"
        its headers do not begin with NATS/1.0
        its header "nothing" has no value
        its header "bad name" is no name of printable ASCII characters
        its header "name" holds a carriage return
        "#);
    }
}
