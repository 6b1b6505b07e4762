//! Chromium and the chromedriver that steers it, as processes of our own.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::webdriver::WebDriver;

/// How long chromedriver may take to listen, and Chromium to start.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// How many ports chromedriver may find taken.
const PORTS_TRIED: usize = 5;
/// What it says then, of either address family, before it ends.
const PORT_TAKEN: &str = "port not available";
/// How long the end of a browser may hold up whoever drops it.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Where `scripts/setup.sh` looks too.
const BROWSERS: [&str; 6] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
/// Where `scripts/setup.sh` looks too.
const DRIVERS: [&str; 3] = ["chromedriver", "/usr/lib/chromium-browser/chromedriver", "/usr/lib/chromium/chromedriver"];

/// A chromedriver on a free port with one Chromium, and their folder. Both end when it is dropped.
pub(super) struct Chromium {
    chromedriver: Child,
    /// Held, so that what chromedriver still prints finds a reader.
    _output: BufReader<ChildStdout>,
    port: u16,
    session: String,
    _folder: TempDir,
}

impl Chromium {
    /// Starts both, with all the browser's connections going through the proxy on this port, and gives what steers the
    /// browser.
    ///
    /// # Errors
    /// One of the programs is missing or does not start.
    pub(super) async fn start(proxy: u16) -> anyhow::Result<(Self, WebDriver)> {
        let folder = tempfile::tempdir()?;
        let (chromedriver, output, port) = start_chromedriver(folder.path()).await?;
        let capabilities = capabilities(folder.path(), proxy)?;
        let driver = WebDriver::start(&format!("http://127.0.0.1:{port}"), capabilities)
            .await
            .context("Chromium cannot be started")?;
        let session = driver.id().to_owned();
        Ok((Self { chromedriver, _output: output, port, session, _folder: folder }, driver))
    }

    /// Asks chromedriver to close the browser. With plain blocking sockets: this runs in a drop, where nothing can be
    /// awaited, and a chromedriver that is only killed leaves its Chromium behind.
    fn close_browser(&self) -> std::io::Result<()> {
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        let mut stream = TcpStream::connect_timeout(&address, ENDED_WITHIN)?;
        stream.set_read_timeout(Some(ENDED_WITHIN))?;
        stream.set_write_timeout(Some(ENDED_WITHIN))?;
        write!(
            stream,
            "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            self.session, self.port
        )?;
        stream.read_exact(&mut [0])
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if let Err(error) = self.close_browser() {
            eprintln!("the browser may have been left running: {error}");
        }
        if let Err(error) = self.chromedriver.start_kill() {
            eprintln!("chromedriver may have been left running: {error}");
        }
    }
}

/// chromedriver on a port that it chose, with what it prints from then on.
///
/// It lets the system choose a port for IPv6 and takes the same number for IPv4. Where another process holds that one, it
/// ends and says so; the next start gets another number.
async fn start_chromedriver(folder: &Path) -> anyhow::Result<(Child, BufReader<ChildStdout>, u16)> {
    let program = find(&DRIVERS).context("chromedriver is missing; scripts/setup.sh test brings it")?;
    let mut taken = String::new();
    for _ in 0..PORTS_TRIED {
        let mut chromedriver = Command::new(&program)
            .arg("--port=0")
            // What Chromium drops into a temporary folder goes with ours.
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chromedriver cannot be started")?;
        let mut output = BufReader::new(chromedriver.stdout.take().context("chromedriver has no standard output")?);
        let said = tokio::time::timeout(STARTED_WITHIN, read_port(&mut output))
            .await
            .context("chromedriver does not say its port")??;
        match said {
            Ok(port) => return Ok((chromedriver, output, port)),
            Err(said) if said.contains(PORT_TAKEN) => taken = said,
            Err(said) => bail!("chromedriver ended: {said}"),
        }
    }
    bail!("chromedriver found no free port in {PORTS_TRIED} starts: {taken}")
}

/// The port that chromedriver says it listens on; the error is what it said before it ended.
async fn read_port(output: &mut BufReader<ChildStdout>) -> anyhow::Result<Result<u16, String>> {
    let mut said = String::new();
    loop {
        let before = said.len();
        if output.read_line(&mut said).await? == 0 {
            return Ok(Err(said));
        }
        let line = said[before..].trim_end().trim_end_matches('.');
        if let Some((_, port)) = line.rsplit_once("started successfully on port ") {
            return Ok(Ok(port.parse()?));
        }
    }
}

fn capabilities(folder: &Path, proxy: u16) -> anyhow::Result<Value> {
    let browser = find(&BROWSERS).context("Chromium is missing; scripts/setup.sh test brings it")?;
    let profile = folder.join("profile");
    std::fs::create_dir(&profile)?;
    let mut arguments = [
        "--headless=new",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        // It looks nowhere but at the pages under test.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        // The same pixels on every machine.
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        "--lang=en-GB",
        // By itself it would go to this machine directly.
        "--proxy-bypass-list=<-loopback>",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--proxy-server=socks5://127.0.0.1:{proxy}"));
    arguments.push(format!("--user-data-dir={}", profile.display()));
    // Chromium refuses to start its sandbox as root, whom the folder that we just made tells.
    if std::fs::metadata(&profile)?.uid() == 0 {
        arguments.push("--no-sandbox".to_owned());
    }
    let binary = browser.to_str().context("the path of Chromium is no text")?;
    Ok(json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "binary": binary, "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
    }))
}

/// The first of these programs that is there, on the PATH or by its full name.
fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| {
        let candidates = folders.iter().map(|folder| folder.join(name));
        // Joined to a folder, a full name replaces it; where PATH is empty it still has to be looked for.
        candidates.chain([PathBuf::from(name)]).find(|program| program.is_absolute() && program.is_file())
    })
}
