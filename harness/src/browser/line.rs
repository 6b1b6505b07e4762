//! The line between browser and server, which tests can cut: a SOCKS proxy. The browser's own emulation of a lost network
//! leaves connections alone that are open already, and those are what live pages live on.

use std::net::Ipv4Addr;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Version and methods of SOCKS 5, as far as they are needed here.
const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const GRANTED: u8 = 0;
const REFUSED: u8 = 5;

/// The line. It ends when it is dropped.
pub(super) struct Line {
    port: u16,
    cut: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl Line {
    /// Lays it. It leads to this machine only: what Chromium asks its makers by itself gets no answer.
    pub(super) async fn lay() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (cut, state) = watch::channel(false);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks is the browser's to notice, as it is on any line.
                let state = state.clone();
                tokio::spawn(async move { carry(stream, state).await.unwrap_or_default() });
            }
        });
        Ok(Self { port, cut, listening })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts it, open connections too, or mends it.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry(mut stream: TcpStream, mut cut: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (host, port) = asked_for(&mut stream).await?;
    let here = matches!(host.as_str(), "127.0.0.1" | "localhost");
    let server = if here && !*cut.borrow() { TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok() } else { None };
    let answer = if server.is_some() { GRANTED } else { REFUSED };
    stream.write_all(&[VERSION, answer, 0, IPV4, 0, 0, 0, 0, 0, 0]).await?;
    let mut server = server.context("refused")?;
    tokio::select! {
        carried = copy_bidirectional(&mut stream, &mut server) => carried.map(drop)?,
        _ = cut.wait_for(|cut| *cut) => {}
    }
    Ok(())
}

/// Host and port that the browser wants to be connected to.
async fn asked_for(stream: &mut TcpStream) -> anyhow::Result<(String, u16)> {
    let version = stream.read_u8().await?;
    ensure!(version == VERSION, "this is no SOCKS 5");
    let methods = stream.read_u8().await?;
    stream.read_exact(&mut vec![0; methods.into()]).await?;
    stream.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let [_, command, _, kind] = request;
    ensure!(command == CONNECT, "only connections are carried");
    let host = match kind {
        IPV4 => Ipv4Addr::from(stream.read_u32().await?).to_string(),
        NAME => {
            let length = stream.read_u8().await?;
            let mut name = vec![0; length.into()];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name)?
        }
        other => anyhow::bail!("addresses of kind {other} are not carried"),
    };
    Ok((host, stream.read_u16().await?))
}
