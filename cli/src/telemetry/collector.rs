//! Requests to the collector, bounded in time and in what is read of the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::runtime::Handle;
use url::Url;

/// Most bytes that are read of an answer.
const LARGEST_ANSWER: usize = 64 * 1024;

/// A client of the collector. Requests run on the runtime, whatever thread waits for them.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether the last request failed: what lasts is logged once.
    fails: Arc<AtomicBool>,
}

impl Collector {
    /// A client with these headers, each request of which ends within this time.
    pub(super) fn new(headers: HeaderMap, timeout: Duration, needs_tls: bool, runtime: Handle) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("lablet/", env!("CARGO_PKG_VERSION")));
        if !needs_tls {
            // Without TLS the system's certificates, which a small image may lack, are of no use.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().context("no client can be made for the collector")?;
        Ok(Self { client, runtime, fails: Arc::default() })
    }

    /// Sends a message of OTLP.
    pub(super) async fn post(&self, url: &Url, message: Vec<u8>) -> Result<(), HttpError> {
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/x-protobuf").body(message);
        let response = self.send(request.build()?).await?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("the collector answered {status}").into()) }
    }

    async fn send(&self, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        // The request's timers need a runtime from the beginning, which the SDK's thread is not on.
        let answer = self.runtime.spawn(async move {
            let mut response = client.execute(request).await.map_err(reqwest::Error::without_url)?;
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
                if body.len() + chunk.len() > LARGEST_ANSWER {
                    return Err(HttpError::from("the collector's answer is too large"));
                }
                body.extend_from_slice(&chunk);
            }
            *answer.body_mut() = body.freeze();
            Ok::<_, HttpError>(answer)
        });
        let answer = answer.await.unwrap_or_else(|ended| Err(ended.into()));
        self.note(&answer);
        answer
    }

    /// Logs that the collector is away, and that it is back.
    fn note(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let refused = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => {
                let causes = std::iter::successors(Some(&**error as &dyn std::error::Error), |error| (*error).source());
                causes.last().map(ToString::to_string)
            }
        };
        match (self.fails.swap(refused.is_some(), Ordering::Relaxed), refused) {
            (false, Some(reason)) => tracing::warn!(reason, "telemetry not exported, the collector does not take it"),
            (true, None) => tracing::info!("telemetry is exported again"),
            (_, _) => {}
        }
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'sent>(&'a self, request: Request<Bytes>) -> BoxFuture<'sent, Result<Response<Bytes>, HttpError>>
    where
        'a: 'sent,
        Self: 'sent,
    {
        Box::pin(async move {
            let request = request.map(reqwest::Body::from);
            self.send(reqwest::Request::try_from(request)?).await
        })
    }
}
