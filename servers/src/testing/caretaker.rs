//! Removes a temporary folder also when the process that made it is killed, or leaves it in a static.

use std::io::{PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::ServerError;

/// Servers below the folder may still be ending, and write while it is being removed: again until it is gone.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r word
ticks=0
while [ -e "$1" ] && [ "$ticks" -lt 300 ]; do
    rm -rf -- "$1"
    ticks=$((ticks + 1))
    sleep 0.1
done
"#;

#[derive(Debug)]
pub(super) struct Caretaker {
    /// Closes with the process.
    lifeline: PipeWriter,
}

impl Caretaker {
    /// The folder is gone already.
    pub(super) fn dismiss(mut self) {
        if let Err(error) = self.lifeline.write_all(b"gone\n") {
            tracing::debug!(%error, "the caretaker is gone already");
        }
    }
}

pub(super) fn temporary_folder() -> Result<(TempDir, Caretaker), ServerError> {
    let parent = std::env::temp_dir();
    let folder = tempfile::Builder::new()
        .prefix("lablet-test-")
        .tempdir_in(&parent)
        .map_err(ServerError::io("make a folder in", &parent))?;
    let (reader, lifeline) = std::io::pipe().map_err(ServerError::io("open a pipe for", folder.path()))?;
    let sh = Path::new("/bin/sh");
    // The shell in between ends at once and is waited for, so that no zombie stays.
    Command::new(sh)
        .args(["-c", "exec 3<&0; (sh -c \"$1\" caretaker \"$2\" <&3 &)", "sh"])
        .arg(SCRIPT)
        .arg(folder.path())
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .status()
        .map_err(ServerError::io("run", sh))?;
    Ok((folder, Caretaker { lifeline }))
}
