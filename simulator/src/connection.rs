//! Connections that can be cut from within a request, for the faults `drop_connection` and
//! `cut_frame`.
//!
//! A handler cannot close its connection: whatever it returns becomes an answer. So each connection carries a switch that
//! its requests find among their extensions; once it is thrown, the next write fails, and nothing of the answer leaves.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{Extension, middleware::AddExtension};
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Layer;

/// How many bytes a connection may still write; more than that, and it is cut.
#[derive(Clone, Debug)]
pub(crate) struct Cut(Arc<AtomicUsize>);

/// As long as nobody cuts it.
const ENDLESS: usize = usize::MAX;

impl Default for Cut {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(ENDLESS)))
    }
}

impl Cut {
    pub(crate) fn throw(&self) {
        self.throw_after(0);
    }

    pub(crate) fn throw_after(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Release);
    }

    fn remaining(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    fn spend(&self, bytes: usize) {
        let rest = |remaining: usize| (remaining != ENDLESS).then(|| remaining.saturating_sub(bytes));
        // Err: nobody cuts it.
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).ok();
    }

    fn check(&self) -> io::Result<()> {
        if self.remaining() == 0 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct CuttableAcceptor<A>(pub(crate) A);

impl<A, I, S> Accept<I, S> for CuttableAcceptor<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = CuttableStream<A::Stream>;
    type Service = AddExtension<A::Service, Cut>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepted = self.0.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let cut = Cut::default();
            let service = Extension(cut.clone()).layer(service);
            Ok((CuttableStream { stream, cut }, service))
        })
    }
}

#[derive(Debug)]
pub(crate) struct CuttableStream<S> {
    stream: S,
    cut: Cut,
}

impl<S: AsyncRead + Unpin> AsyncRead for CuttableStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.check()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CuttableStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let remaining = self.cut.remaining();
        if remaining == 0 {
            // What was written before the cut leaves, however the stream buffers it.
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..bytes.len().min(remaining)]))?;
        self.cut.spend(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
