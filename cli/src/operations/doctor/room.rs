//! Room on a disk of this machine.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use indicatif::BinaryBytes;

use super::check::Check;

/// Room of the file system below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) total: u64,
    pub(super) free: u64,
}

impl Room {
    /// As `df` tells it.
    pub(super) async fn below(folder: &Path) -> anyhow::Result<Self> {
        let mut command = tokio::process::Command::new("df");
        command.arg("-Pk").arg(folder).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        let said = command.output().await.context("df cannot be started")?;
        Self::parse(&String::from_utf8_lossy(&said.stdout)).context("df does not tell the room that is left")
    }

    /// `Filesystem 1024-blocks Used Available Capacity Mounted on`, and a line of these.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
        let kilobytes = |index: usize| fields.get(index)?.parse::<u64>().ok();
        // What is kept for root is nobody's.
        Some(Self { total: (kilobytes(2)? + kilobytes(3)?) * 1024, free: kilobytes(3)? * 1024 })
    }
}

/// Whether there is enough of something that has a limit.
pub(super) fn fullness(name: &'static str, what: &str, used: u64, limit: u64, mend: &str) -> Check {
    let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(100);
    let found = format!("{what}: {} of {}, {percent} % full", BinaryBytes(used), BinaryBytes(limit));
    match percent {
        0..90 => Check::ok(name, found),
        90..98 => Check::warning(name, found, mend),
        _ => Check::error(name, found, mend),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Severity;
    use super::*;

    #[tokio::test]
    async fn the_room_of_a_disk_is_known_and_a_full_one_is_an_error() {
        let room = Room::below(Path::new("/")).await.unwrap();
        assert!(room.total > 0 && room.free <= room.total, "{room:?}");
        let of = |used| fullness("disk", "x", used, 100, "make room").severity;
        assert_eq!(
            [of(89), of(90), of(97), of(98)],
            [Severity::Ok, Severity::Warning, Severity::Warning, Severity::Error]
        );
        assert_eq!(Room::parse("nonsense"), None);
    }
}
