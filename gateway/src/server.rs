//! The listening socket: bounded connections, bounded shutdown.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum_server::{Handle, Server};
use tokio_util::sync::CancellationToken;

use crate::GatewayOptions;
use crate::connections::{ConnectionLimits, Connections};

/// Serves until the token is cancelled; then accepts nothing more and lets open requests end within the grace period.
///
/// # Errors
/// When the socket cannot be served.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    options: &GatewayOptions,
    stop: CancellationToken,
) -> io::Result<()> {
    let handle = Handle::new();
    let limits = ConnectionLimits {
        most: options.most_connections,
        most_of_a_peer: options.most_connections_of_a_peer,
        longest_stall: options.longest_stall,
        trusted_proxies: options.trusted_proxies.clone(),
    };
    let mut server: Server<SocketAddr, _> = axum_server::from_tcp(listener)?
        .acceptor(Connections::new(limits))
        .http1_only()
        .first_request_timeout(options.longest_idle)
        .accept_error_handler(|peer: Option<&SocketAddr>, error: &io::Error| {
            tracing::debug!(?peer, error = error as &dyn std::error::Error, "connection not accepted");
        })
        .handle(handle.clone());
    // The time runs from the end of an answer to the end of the next request's head: it ends idle connections, too.
    server.http_builder().http1().header_read_timeout(options.longest_idle);
    let serving = server.serve(router.into_make_service_with_connect_info::<SocketAddr>());
    tokio::pin!(serving);
    tokio::select! {
        outcome = &mut serving => return outcome,
        () = stop.cancelled() => {}
    }
    tracing::info!(connections = handle.connection_count(), "HTTP server stopping, draining connections");
    handle.graceful_shutdown(Some(options.grace));
    serving.await
}
