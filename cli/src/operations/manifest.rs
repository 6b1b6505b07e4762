//! What a backup says of itself, beside the dump: `manifest.json`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use app::log::Position;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The form of this file and of the folder.
const FORMAT: u32 = 1;
const FILE: &str = "manifest.json";
/// The dump, in the custom format of pg_dump.
pub(super) const DUMP: &str = "database.dump";

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// When the snapshot was taken.
    pub(super) made_at: DateTime<Utc>,
    /// Of the build that made it.
    pub(super) lablet_version: String,
    /// The newest migration that the database had.
    pub(super) schema_version: i64,
    /// Major version of the server.
    pub(super) postgres_version: u32,
    /// The log's epoch.
    pub(super) epoch: i32,
    /// The last event.
    pub(super) head: Position,
    /// How many events.
    pub(super) events: i64,
    /// When the stream of events was created that the relay published to, in nanoseconds since 1970, and the last sequence
    /// that it acknowledged; null: nothing was published.
    pub(super) stream_created: Option<String>,
    pub(super) stream_sequence: Option<i64>,
    /// Size of the dump, and its SHA-256 in hexadecimal digits.
    pub(super) dump_bytes: u64,
    pub(super) dump_sha256: String,
    /// How large each table was in the database; for the progress of a restore.
    pub(super) tables: Vec<TableSize>,
}

/// A table and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableSize {
    /// With its schema: `public.events`.
    pub(super) table: String,
    pub(super) bytes: u64,
    /// About how many rows; null: Postgres has not counted.
    pub(super) rows: Option<u64>,
}

impl Manifest {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Writes it into the folder of a backup, and waits until it is on the disk.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        use std::io::Write as _;
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self)?;
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create_new(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads that of a backup. The dump is not looked at.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{} cannot be read; expected the folder that lablet backup made", path.display())
        })?;
        let manifest: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is no manifest of a backup", path.display()))?;
        ensure!(
            manifest.format == FORMAT,
            "the backup is of format {}, which this version does not know; lablet {} made it",
            manifest.format,
            manifest.lablet_version
        );
        Ok(manifest)
    }

    /// Compares the dump with what the manifest says of it.
    pub(super) fn check_dump(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = folder.join(DUMP);
        let (bytes, sum) = sum_of(&path)?;
        ensure!(
            bytes == self.dump_bytes && sum == self.dump_sha256,
            "{} is not what was backed up: it has {bytes} bytes and the SHA-256 {sum}, and the manifest says {} bytes and {}",
            path.display(),
            self.dump_bytes,
            self.dump_sha256
        );
        Ok(path)
    }
}

/// Size and SHA-256 of a file.
pub(super) fn sum_of(path: &Path) -> anyhow::Result<(u64, String)> {
    let failed = || format!("{} cannot be read", path.display());
    let mut file = std::fs::File::open(path).with_context(failed)?;
    let (mut hash, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1024 * 1024], 0_u64);
    loop {
        let read = file.read(&mut buffer).with_context(failed)?;
        if read == 0 {
            let sum = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((bytes, sum));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_was_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DUMP), "dump").unwrap();
        let (dump_bytes, dump_sha256) = sum_of(&folder.path().join(DUMP)).unwrap();
        let manifest = Manifest {
            format: FORMAT,
            made_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            lablet_version: "1.2.3".to_owned(),
            schema_version: 27,
            postgres_version: 15,
            epoch: 1,
            head: Position::START,
            events: 0,
            stream_created: None,
            stream_sequence: None,
            dump_bytes,
            dump_sha256,
            tables: Vec::new(),
        };
        manifest.write(folder.path()).unwrap();
        let read = Manifest::read(folder.path()).unwrap();
        assert_eq!(read, manifest);
        read.check_dump(folder.path()).unwrap();
        std::fs::write(folder.path().join(DUMP), "dumb").unwrap();
        let refused = read.check_dump(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("is not what was backed up"), "{refused}");
        assert!(manifest.write(folder.path()).is_err(), "a manifest is never overwritten");
    }
}
