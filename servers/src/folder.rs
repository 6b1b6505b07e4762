//! A server's data folder: held by one process at a time; it stores secrets and the port.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ServerError;

/// A killed process may take a moment to be gone, and its lock with it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The folder, while this process holds it.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Released by the system however the process ends.
    _lock: File,
    /// Whether we act as root.
    privileged: bool,
}

impl DataFolder {
    pub(crate) async fn open(path: &Path) -> Result<Self, ServerError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(ServerError::io("create the folder", path))?;
        let path = fs::canonicalize(path).map_err(ServerError::io("find", path))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(ServerError::io("open", &lock_path))?;
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => {
                    return Err(ServerError::io("lock", &lock_path)(source));
                }
                Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_TIMEOUT => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    lock.read_to_string(&mut holder).map_err(ServerError::io("read", &lock_path))?;
                    return Err(ServerError::InUse { folder: path, holder });
                }
            }
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(ServerError::io("write", &lock_path))?;
        // A file that this process makes belongs to its effective user.
        let probe = path.join("owner");
        remove_file(&probe)?;
        let privileged =
            File::create_new(&probe).and_then(|file| file.metadata()).map_err(ServerError::io("create", &probe))?.uid()
                == 0;
        remove_file(&probe)?;
        Ok(Self { path, _lock: lock, privileged })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// The secret stored under this name, made on first use. 48 hexadecimal digits.
    pub(crate) fn secret(&self, name: &str) -> Result<String, ServerError> {
        let path = self.join(name);
        if let Some(stored) = read_if_there(&path)? {
            let stored = stored.trim();
            if stored.len() == 48 && stored.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(stored.to_owned());
            }
        }
        let secret = random_hex::<24>()?;
        write_private(&path, &secret)?;
        Ok(secret)
    }

    /// The wanted port, or the one of the last run when it is still free, or any free one.
    pub(crate) fn choose_port(&self, wanted: Option<u16>) -> Result<u16, ServerError> {
        if let Some(port) = wanted {
            return Ok(port);
        }
        let last = read_if_there(&self.join("port"))?.and_then(|text| text.trim().parse().ok());
        if let Some(port) = last
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            return Ok(port);
        }
        free_port()
    }

    pub(crate) fn store_port(&self, port: u16) -> Result<(), ServerError> {
        write_private(&self.join("port"), &port.to_string())
    }
}

/// A port on 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, ServerError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(ServerError::io("find a free port on", Path::new("127.0.0.1")))
}

pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, ServerError> {
    use std::fmt::Write;

    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| ServerError::NoRandomness {
        // Without its "std" feature this type is no `Error`.
        reason: error.to_string(),
    })?;
    let mut text = String::with_capacity(BYTES * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    Ok(text)
}

pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, ServerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServerError::io("read", path)(error)),
    }
}

/// Replaces a file as a whole; only its owner may read it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    let new = path.with_extension("new");
    remove_file(&new)?;
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path))
        .map_err(ServerError::io("write", path))
}

pub(crate) fn remove_file(path: &Path) -> Result<(), ServerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ServerError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

pub(crate) fn remove_folder(path: &Path) -> Result<(), ServerError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ServerError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
