//! Where Postgres's programs are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ServerError;
use crate::process::neutral_environment;

/// The oldest version that is supported.
pub(crate) const OLDEST: u32 = 15;

const HOW_TO_INSTALL: &str = "Install Postgres 15 or later (Debian and Ubuntu: apt-get install postgresql; \
     macOS: brew install postgresql@17), or set LABLET_DATABASE_URL to a server of your own";

/// Folders that hold `initdb` and `postgres`, by major version; the first found of a version counts.
pub(crate) fn installed() -> Result<BTreeMap<u32, PathBuf>, ServerError> {
    let mut found = BTreeMap::new();
    let mut too_old = Vec::new();
    for folder in candidates() {
        if !folder.join("initdb").is_file() || !folder.join("postgres").is_file() {
            continue;
        }
        match version(&folder.join("postgres")) {
            Some(version) if version >= OLDEST => {
                found.entry(version).or_insert(folder);
            }
            Some(version) => too_old.push(format!("{version} in {}", folder.display())),
            None => {
                tracing::debug!(folder = %folder.display(), "postgres does not tell its version")
            }
        }
    }
    if found.is_empty() {
        let seen = if too_old.is_empty() { String::new() } else { format!(" (too old: {})", too_old.join(", ")) };
        return Err(ServerError::NotInstalled { program: "Postgres", advice: format!("{HOW_TO_INSTALL}{seen}") });
    }
    Ok(found)
}

/// One of Postgres's client programs, e.g. `pg_dump`, of this major version or the next later one that is installed: an
/// older one does not understand the server.
///
/// # Errors
/// There is none; the error says what to install.
pub fn client_program(name: &'static str, oldest: u32) -> Result<PathBuf, ServerError> {
    let mut found = BTreeMap::new();
    for program in candidates().into_iter().map(|folder| folder.join(name)).filter(|program| program.is_file()) {
        if let Some(version) = version(&program) {
            found.entry(version).or_insert(program);
        }
    }
    let installed = found.keys().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let fitting = found.into_iter().find(|(version, _)| *version >= oldest).map(|(_, program)| program);
    fitting.ok_or_else(|| ServerError::NotInstalled {
        program: name,
        advice: format!(
            "Version {oldest} or later is needed, as the server is of that version{}. Debian and Ubuntu: apt-get install \
             postgresql-client-{oldest}; macOS: brew install libpq",
            if installed.is_empty() { String::new() } else { format!("; installed: {installed}") }
        ),
    })
}

/// Debian's versioned folders, the PATH, Homebrew's prefixes.
fn candidates() -> Vec<PathBuf> {
    let mut folders = children(Path::new("/usr/lib/postgresql"), |_| true, "bin");
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    }
    for prefix in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        folders.extend(children(Path::new(prefix), |name| name.starts_with("postgresql"), "bin"));
    }
    // Red Hat's own repository, and the one of the Postgres project for it.
    folders.extend(children(Path::new("/usr"), |name| name.starts_with("pgsql-"), "bin"));
    folders
}

fn children(parent: &Path, wanted: impl Fn(&str) -> bool, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        // Not on this system.
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path().join(below))
        .collect()
}

fn version(program: &Path) -> Option<u32> {
    let mut command = Command::new(program);
    neutral_environment(&mut command);
    let output = command.arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` → 15; also `18beta2`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split("(PostgreSQL)").nth(1)?.trim_start();
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_program_is_as_new_as_the_server_or_the_error_says_what_to_install() {
        assert!(client_program("pg_dump", OLDEST).unwrap().ends_with("pg_dump"));
        let refused = client_program("pg_dump", 999).unwrap_err().to_string();
        assert!(refused.contains("pg_dump was not found") && refused.contains("postgresql-client-999"), "{refused}");
    }

    #[test]
    fn versions_as_distributions_print_them() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 17.2\n", Some(17)),
            ("postgres (PostgreSQL) 18beta2", Some(18)),
            ("pg_dump (PostgreSQL) 16.10 (Ubuntu 16.10-0ubuntu0.24.04.1)\n", Some(16)),
            ("postgres (Something) 9", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }
}
