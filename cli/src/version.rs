//! Which build this is.

use std::sync::LazyLock;

/// The commit that it was built from; `unknown` where it was built from sources without their history.
pub(crate) const COMMIT: &str = match option_env!("LABLET_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The migration that this build wants a database to be at.
pub(crate) fn schema() -> i64 {
    app::log::MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// What `--version` says, e.g. `0.1.0 (commit 4bcecc61a2f3, schema 37)`.
pub(crate) fn text() -> &'static str {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| format!("{} (commit {COMMIT}, schema {})", env!("CARGO_PKG_VERSION"), schema()));
    &TEXT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_the_commit_and_the_schema() {
        let end = format!(", schema {})", schema());
        let commit = text().strip_prefix(concat!(env!("CARGO_PKG_VERSION"), " (commit ")).unwrap().strip_suffix(&end);
        let is_commit = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(commit.is_some_and(|commit| commit == "unknown" || is_commit(commit)), "{}", text());
    }
}
