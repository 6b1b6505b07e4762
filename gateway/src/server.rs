//! The listening socket: bounded connections, bounded shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum_server::accept::Accept;
use axum_server::{Handle, Server};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How long a new connection may take until its first request is there.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Serves until the token is cancelled; then accepts nothing more and gives what runs `grace` to end.
///
/// # Errors
/// When the socket cannot be served.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    most_connections: usize,
    grace: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let handle = Handle::new();
    let server: Server<SocketAddr, _> = axum_server::from_tcp(listener)?
        .acceptor(BoundedAcceptor { room: Arc::new(Semaphore::new(most_connections)) })
        .http1_only()
        .first_request_timeout(LONGEST_SILENCE)
        .accept_error_handler(|peer: Option<&SocketAddr>, error: &io::Error| {
            tracing::debug!(?peer, %error, "a connection was not accepted");
        })
        .handle(handle.clone());
    let serving = server.serve(router.into_make_service_with_connect_info::<SocketAddr>());
    tokio::pin!(serving);
    tokio::select! {
        outcome = &mut serving => return outcome,
        () = stop.cancelled() => {}
    }
    tracing::info!(connections = handle.connection_count(), "the gateway ends; what runs may finish");
    handle.graceful_shutdown(Some(grace));
    serving.await
}

/// Accepts as many connections as there is room for and drops the others at once, instead of letting them pile up.
#[derive(Clone)]
struct BoundedAcceptor {
    room: Arc<Semaphore>,
}

impl<S> Accept<TcpStream, S> for BoundedAcceptor {
    type Stream = TcpStream;
    type Service = Held<S>;
    type Future = std::future::Ready<io::Result<(TcpStream, Held<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let room = Arc::clone(&self.room).try_acquire_owned();
        std::future::ready(match room {
            Ok(place) => stream.set_nodelay(true).map(|()| (stream, Held { service, _place: Arc::new(place) })),
            Err(_) => Err(io::Error::other("there are too many connections")),
        })
    }
}

/// A connection's service together with its place; the place is free again when the connection is gone.
#[derive(Clone)]
struct Held<S> {
    service: S,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for Held<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.service.call(request)
    }
}
