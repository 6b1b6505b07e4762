//! Text that must not be shown.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A token, a key or a password. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// A new one with 256 random bits, prefixed so that a leaked one is recognised, e.g. `lablet_admin_…`.
    pub(crate) fn generate(prefix: &str) -> anyhow::Result<Self> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        Ok(Self(format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads the secret kept in a file, or makes one and keeps it there, readable by the owner only.
    pub(crate) fn kept_in(file: &std::path::Path, prefix: &str) -> anyhow::Result<Self> {
        match std::fs::read_to_string(file) {
            Ok(text) if !text.trim().is_empty() => return Ok(Self(text.trim().to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
        let secret = Self::generate(prefix)?;
        write_private(file, secret.reveal())?;
        Ok(secret)
    }
}

/// Writes a file that only its owner can read, complete or not at all.
pub(crate) fn write_private(file: &std::path::Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = file.with_extension("draft");
    let failed = || format!("{} cannot be written", draft.display());
    let mut opened = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .with_context(failed)?;
    opened.write_all(text.as_bytes()).with_context(failed)?;
    opened.sync_all().with_context(failed)?;
    std::fs::rename(&draft, file).with_context(|| format!("{} cannot be written", file.display()))
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

impl FromStr for Secret {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Err("it is empty") } else { Ok(Self(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let secret = Secret::kept_in(&file, "lablet_admin_").unwrap();
        assert_eq!(Secret::kept_in(&file, "x").unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "<secret>");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
