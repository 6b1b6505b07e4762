//! CML's WebSocket, which pushes the statistics of running labs.
//!
//! It is opened over the same client as every read, so that it goes to no other host and trusts no other certificate. The
//! first message names the token. Frames are bounded: one that is larger ends the socket, and is not held.

use std::time::Duration;

use domain::LabId;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use reqwest::{StatusCode, Upgraded};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::WorkerReader;
use super::answers::{self, Reading, Stats};
use super::error::CmlError;

/// Largest message. The largest lab, 2,000 busy nodes with as many links, has some 900 KB.
pub const LARGEST_MESSAGE: usize = 4 * 1024 * 1024;
/// The code with which a socket is closed whose token is not valid, or not any longer.
const UNAUTHENTICATED: u16 = 3000;

/// An open socket of one worker.
pub struct WorkerSocket {
    stream: WebSocketStream<Upgraded>,
}

/// What a worker pushed.
#[derive(Debug, PartialEq)]
pub enum Push {
    /// Statistics of a lab.
    Stats {
        /// The lab.
        lab: LabId,
        /// What they say.
        reading: Result<Reading<Stats>, CmlError>,
    },
    /// A node changed its state.
    NodeState {
        /// The lab.
        lab: LabId,
        /// The node's id.
        node: String,
        /// E.g. `BOOTED`.
        state: String,
    },
    /// Something else, or about a lab that nobody asked for.
    Other,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    event_type: &'a str,
    #[serde(default)]
    event: Option<&'a str>,
    #[serde(default)]
    element_type: Option<&'a str>,
    #[serde(default)]
    lab_id: Option<&'a str>,
    #[serde(default)]
    element_id: Option<&'a str>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

impl WorkerReader {
    /// Opens the worker's socket, with the token that there is, or a new one where `refused` says that it is none any more.
    /// `lab_filter`: the one lab that is of interest; controllers before 2.10 tell of all labs whatever it says.
    ///
    /// # Errors
    /// Any [`CmlError`].
    pub async fn socket(&self, lab_filter: Option<&LabId>, refused: bool) -> Result<WorkerSocket, CmlError> {
        self.measured("ws_ui", async {
            let mut token = self.token(None).await?;
            if refused {
                token = self.token(Some(&token)).await?;
            }
            let mut stream = self.upgraded().await?;
            let mut first = json!({ "token": &*token });
            if let Some(lab) = lab_filter {
                first["lab_filter"] = lab.as_str().into();
            }
            stream.send(Message::text(first.to_string())).await.map_err(|error| ended(&error))?;
            Ok(WorkerSocket { stream })
        })
        .await
    }

    async fn upgraded(&self) -> Result<WebSocketStream<Upgraded>, CmlError> {
        let key = generate_key();
        let url = self.site(&["ws", "ui"]);
        let request = self.connection.http.as_ref().map_err(Clone::clone)?.get(url);
        let request = request
            .header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .header(SEC_WEBSOCKET_KEY, &key);
        let timeout = self.client.connect_timeout;
        let response = request.send().await.map_err(|error| CmlError::from_transport(error, timeout))?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::UNAUTHORIZED => return Err(CmlError::TokenRefused),
            StatusCode::FORBIDDEN => return Err(CmlError::Forbidden { description: String::new() }),
            status => return Err(CmlError::Status { status: status.as_u16(), description: String::new() }),
        }
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(CmlError::InvalidResponse { reason: "no WebSocket was agreed upon".to_owned() });
        }
        let upgraded = response.upgrade().await.map_err(|error| CmlError::from_transport(error, timeout))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE))
            .read_buffer_size(16 * 1024);
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }
}

impl WorkerSocket {
    /// What is pushed next, of labs that `is_wanted`. Cancel safe.
    ///
    /// # Errors
    /// The socket ended: [`CmlError::TokenRefused`] where its token is not valid any more, [`CmlError::TooLarge`] where a
    /// message was, [`CmlError::TimedOut`] where nothing came within `silence`.
    pub async fn next(&mut self, silence: Duration, is_wanted: impl Fn(&str) -> bool) -> Result<Push, CmlError> {
        let next = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => return read(&text, &is_wanted),
                    Some(Ok(Message::Binary(bytes))) => {
                        return match std::str::from_utf8(&bytes) {
                            Ok(text) => read(text, &is_wanted),
                            Err(_) => Err(unreadable()),
                        };
                    }
                    Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == UNAUTHENTICATED => {
                        return Err(CmlError::TokenRefused);
                    }
                    Some(Ok(Message::Close(_))) | None => {
                        return Err(CmlError::Broken { reason: "the socket was closed".to_owned() });
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Err(error)) => return Err(ended(&error)),
                }
            }
        };
        tokio::time::timeout(silence, next).await.unwrap_or(Err(CmlError::TimedOut { after: silence }))
    }
}

fn read(text: &str, is_wanted: impl Fn(&str) -> bool) -> Result<Push, CmlError> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| unreadable())?;
    let Some(lab) = envelope.lab_id.filter(|lab| is_wanted(lab)).and_then(|lab| LabId::parse(lab).ok()) else {
        return Ok(Push::Other);
    };
    Ok(match (envelope.event_type, envelope.element_type, envelope.event, envelope.element_id) {
        ("lab_stats", ..) => {
            let data = envelope.data.map_or("null", RawValue::get);
            let reading = serde_json::from_str(data).map_err(|_| unreadable()).and_then(answers::stats);
            Push::Stats { lab, reading }
        }
        ("state_change", Some("node"), Some(state), Some(node)) => {
            Push::NodeState { lab, node: node.to_owned(), state: state.to_owned() }
        }
        _ => Push::Other,
    })
}

fn unreadable() -> CmlError {
    CmlError::InvalidResponse { reason: "a message of the socket is no JSON of the known form".to_owned() }
}

/// Why a socket ended, in words that quote nothing of what came by it.
fn ended(error: &tungstenite::Error) -> CmlError {
    match error {
        tungstenite::Error::Capacity(_) => CmlError::TooLarge { limit: LARGEST_MESSAGE },
        tungstenite::Error::Io(error) => CmlError::Broken { reason: error.kind().to_string() },
        _ => CmlError::Broken { reason: "the socket broke".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = "863799a0-3d09-4af4-be26-cad997b6ab27";

    #[test]
    fn statistics_and_states_of_the_labs_that_are_wanted_are_read() {
        let read = |text: &str| read(text, |lab| lab == LAB);
        let lab = LabId::parse(LAB).unwrap();
        let stats = format!(
            r#"{{"event_type":"lab_stats","lab_id":"{LAB}","data":{{"nodes":{{"n":{{"cpu_usage":7}}}},"links":{{}}}}}}"#
        );
        let Ok(Push::Stats { reading: Ok(reading), .. }) = read(&stats) else { panic!("no statistics") };
        assert_eq!(reading.value.nodes["n"].cpu_usage, Some(7.0));
        let state = format!(
            r#"{{"event_type":"state_change","event":"BOOTED","element_type":"node","lab_id":"{LAB}","element_id":"n","data":null}}"#
        );
        assert_eq!(read(&state).unwrap(), Push::NodeState { lab, node: "n".into(), state: "BOOTED".into() });
        for other in [
            r#"{"event_type":"system_stats","data":{}}"#.to_owned(),
            r#"{"event_type":"lab_stats","lab_id":"another","data":{}}"#.to_owned(),
            format!(r#"{{"event_type":"state_change","element_type":"link","lab_id":"{LAB}"}}"#),
        ] {
            assert_eq!(read(&other).unwrap(), Push::Other, "{other}");
        }
        for broken in ["", "{", "5", r#"{"event_type": 7}"#] {
            assert!(matches!(read(broken), Err(CmlError::InvalidResponse { .. })), "{broken}");
        }
        let no_stats = format!(r#"{{"event_type":"lab_stats","lab_id":"{LAB}","data":5}}"#);
        assert!(matches!(read(&no_stats), Ok(Push::Stats { reading: Err(CmlError::InvalidResponse { .. }), .. })));
    }
}
