//! A client for load: one kept-alive connection, requests sent as prepared bytes, so that it costs little beside what is
//! measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_HEADERS: usize = 64;

/// A connection on which one request at a time is sent.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, as long as the next request is not sent.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// As it was sent: compressed or in chunks where the server does so.
    pub(crate) body: &'a [u8],
}

/// Where an answer's body lies in the buffer.
struct Head {
    status: u16,
    begin: usize,
    /// `None`: it comes in chunks.
    length: Option<usize>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        let received = tokio::time::timeout(ANSWER_TIMEOUT, async {
            self.stream.write_all(request).await?;
            self.receive().await
        });
        let (status, body) = received.await.context("no answer in time")??;
        Ok(Answer { status, body: &self.buffer[body] })
    }

    async fn receive(&mut self) -> anyhow::Result<(u16, std::ops::Range<usize>)> {
        self.buffer.clear();
        let mut head = None;
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection was closed before the answer");
            if head.is_none() {
                head = parse(&self.buffer)?;
            }
            let Some(Head { status, begin, length }) = &head else { continue };
            let complete = match length {
                Some(length) => self.buffer.len() >= begin + length,
                None => self.buffer.ends_with(b"0\r\n\r\n"),
            };
            if complete {
                return Ok((*status, *begin..self.buffer.len()));
            }
        }
    }
}

fn parse(buffer: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(begin) = response.parse(buffer)? else { return Ok(None) };
    let status = response.code.context("the answer has no status")?;
    let header = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let length = match (header("content-length"), header("transfer-encoding")) {
        (Some(length), _) => Some(std::str::from_utf8(length.value)?.trim().parse()?),
        (None, Some(_)) => None,
        (None, None) if status == 204 || status == 304 => Some(0),
        (None, None) => bail!("an answer with status {status} does not tell its length"),
    };
    Ok(Some(Head { status, begin, length }))
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// The address of `http://127.0.0.1:8080`.
pub(crate) fn address(url: &str) -> anyhow::Result<SocketAddr> {
    url.trim_start_matches("http://").trim_end_matches('/').parse().with_context(|| format!("{url} is no address"))
}
