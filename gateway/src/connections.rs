//! Connections: how many there may be, and when one that nobody uses ends.
//!
//! Every connection costs a file handle and memory, also one on which nothing happens. So each address has a share of
//! them, an idle one makes room when all are taken, and one whose client does not read is given up.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use axum_server::accept::Accept;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use crate::networks::{Networks, subscriber};

/// TCP keep-alive: idle time before the first probe, and time between probes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// What bounds connections.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// Connections at once.
    pub(crate) most: usize,
    /// Connections at once of one address.
    pub(crate) most_of_a_peer: usize,
    /// How long a client may not read what it asked for.
    pub(crate) longest_stall: Duration,
    /// Those who bring the connections of many: they have no share of their own.
    pub(crate) trusted_proxies: Networks,
}

/// All connections of the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: ConnectionLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// A counter of connections and requests that orders connections by their last use.
    tick: u64,
    connections: HashMap<u64, Entry>,
    of_peer: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    peer: IpAddr,
    /// Requests that are not answered to their end.
    requests: usize,
    /// When it was last used.
    used: u64,
    close: CancellationToken,
}

/// One connection. Its place is free again when the last part of it is gone.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    all: Connections,
    close: CancellationToken,
}

impl Connections {
    /// No connections yet.
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Inner { limits, open: Mutex::default() }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in, in place of an idle one where all places are taken.
    fn admit(&self, peer: IpAddr) -> io::Result<Arc<Connection>> {
        let limits = &self.0.limits;
        let of_proxy = limits.trusted_proxies.contain(peer);
        let peer = subscriber(peer);
        let mut open = self.open();
        let of_peer = open.of_peer.get(&peer).copied().unwrap_or_default();
        if !of_proxy && of_peer >= limits.most_of_a_peer && !open.close_idle(|other| other == peer) {
            return Err(io::Error::other("there are too many connections from this address"));
        }
        if open.connections.len() >= limits.most {
            // Whoever has most gives way first, so that one who opens many does not close everybody else's.
            let crowd = open.of_peer.iter().max_by_key(|(_, count)| **count).map(|(crowd, _)| *crowd);
            if !open.close_idle(|other| Some(other) == crowd) && !open.close_idle(|_| true) {
                return Err(io::Error::other("there are too many connections"));
            }
        }
        let id = open.next();
        let close = CancellationToken::new();
        open.connections.insert(id, Entry { peer, requests: 0, used: id, close: close.clone() });
        *open.of_peer.entry(peer).or_default() += 1;
        metrics::gauge!("lablet_http_connections").set(as_gauge(open.connections.len()));
        Ok(Arc::new(Connection { id, all: self.clone(), close }))
    }
}

impl Open {
    fn next(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Closes the connection that has been idle for longest, of those of these peers.
    fn close_idle(&mut self, of: impl Fn(IpAddr) -> bool) -> bool {
        let idle = self.connections.iter().filter(|(_, entry)| entry.requests == 0 && of(entry.peer));
        let Some(id) = idle.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id) else { return false };
        if let Some(entry) = self.remove(id) {
            entry.close.cancel();
        }
        metrics::counter!("lablet_http_connections_closed_for_others_total").increment(1);
        true
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.connections.remove(&id)?;
        if let Some(count) = self.of_peer.get_mut(&entry.peer) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&entry.peer);
            }
        }
        Some(entry)
    }
}

fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Connection {
    /// Marks the connection as in use, until the answer is dropped.
    fn begin_request(self: &Arc<Self>) -> Answering {
        if let Some(entry) = self.all.open().connections.get_mut(&self.id) {
            entry.requests += 1;
        }
        Answering(self.clone())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.all.open();
        open.remove(self.id);
        metrics::gauge!("lablet_http_connections").set(as_gauge(open.connections.len()));
    }
}

/// A request that is being answered.
struct Answering(Arc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut open = self.0.all.open();
        let used = open.next();
        if let Some(entry) = open.connections.get_mut(&self.0.id) {
            entry.requests -= 1;
            entry.used = used;
        }
    }
}

/// Takes connections in, and drops at once those for which there is no place, instead of letting them pile up.
impl<S> Accept<TcpStream, S> for Connections {
    type Stream = Watched;
    type Service = Attended<S>;
    type Future = std::future::Ready<io::Result<(Watched, Attended<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(stream.peer_addr().and_then(|peer| {
            let connection = self.admit(peer.ip())?;
            stream.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            let watched = Watched {
                stream,
                closed: Box::pin(connection.close.clone().cancelled_owned()),
                stalled: None,
                longest_stall: self.0.limits.longest_stall,
            };
            Ok((watched, Attended { service, connection }))
        }))
    }
}

/// A connection's bytes. Its end is reached when it has to make room; a write fails when the client does not read.
pub(crate) struct Watched {
    stream: TcpStream,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    stalled: Option<Pin<Box<Sleep>>>,
    longest_stall: Duration,
}

impl Watched {
    /// Gives a write up that has been waiting for too long.
    fn in_time<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let longest = self.longest_stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(longest)));
        ready!(stalled.as_mut().poll(context));
        metrics::counter!("lablet_http_connections_stalled_total").increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection's service, which knows whether a request is being answered.
#[derive(Clone)]
pub(crate) struct Attended<S> {
    service: S,
    connection: Arc<Connection>,
}

impl<S, B> Service<Request<B>> for Attended<S>
where
    S: Service<Request<B>, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answering = self.connection.begin_request();
        let answer = self.service.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(AnswerBody { body, _answering: answering }))) })
    }
}

/// The body of an answer, to whose end the connection is in use.
struct AnswerBody {
    body: Body,
    _answering: Answering,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_of_a_peer: usize) -> Connections {
        let trusted_proxies = "10.0.0.1".parse().unwrap();
        let longest_stall = Duration::from_secs(1);
        Connections::new(ConnectionLimits { most, most_of_a_peer, longest_stall, trusted_proxies })
    }

    fn admit(connections: &Connections, peer: &str) -> io::Result<Arc<Connection>> {
        connections.admit(peer.parse().unwrap())
    }

    #[test]
    fn a_peer_closes_its_own_idle_connections_and_nobody_elses() {
        let all = connections(10, 2);
        let other = admit(&all, "192.0.2.9").unwrap();
        let first = admit(&all, "192.0.2.1").unwrap();
        let second = admit(&all, "192.0.2.1").unwrap();
        let in_use = first.begin_request();
        let third = admit(&all, "192.0.2.1").unwrap();
        assert!(second.close.is_cancelled() && !first.close.is_cancelled() && !other.close.is_cancelled());
        let also_in_use = third.begin_request();
        assert!(admit(&all, "192.0.2.1").is_err(), "both are in use");
        drop(in_use);
        assert!(admit(&all, "192.0.2.1").is_ok());
        assert!(first.close.is_cancelled());
        drop(also_in_use);
    }

    #[test]
    fn the_crowd_makes_room_when_all_places_are_taken() {
        let all = connections(4, 3);
        let alone = admit(&all, "192.0.2.9").unwrap();
        let crowd: Vec<_> = (0..3).map(|_| admit(&all, "192.0.2.1").unwrap()).collect();
        let newcomer = admit(&all, "192.0.2.2").unwrap();
        assert!(!alone.close.is_cancelled() && crowd[0].close.is_cancelled() && !newcomer.close.is_cancelled());
    }

    #[test]
    fn a_trusted_proxy_has_no_share_and_places_become_free() {
        let all = connections(4, 1);
        let of_proxy: Vec<_> = (0..4).map(|_| admit(&all, "10.0.0.1").unwrap()).collect();
        assert!(of_proxy.iter().all(|connection| !connection.close.is_cancelled()));
        drop(of_proxy);
        let open = all.open();
        assert!(open.connections.is_empty() && open.of_peer.is_empty());
    }
}
