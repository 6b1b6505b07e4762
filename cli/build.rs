//! Puts the commit into the executable: of the repository that the sources lie in, or `LABLET_COMMIT` where a build has the
//! sources alone.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=LABLET_COMMIT");
    let given = std::env::var("LABLET_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(of_repository) {
        println!("cargo::rustc-env=LABLET_COMMIT={commit}");
    }
}

/// The commit that is checked out; none where the sources are no repository of their own, e.g. unpacked below another one.
fn of_repository() -> Option<String> {
    let sources = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR")?).parent()?.canonicalize().ok()?;
    let git = |arguments: &[&str]| {
        let said = Command::new("git").arg("-C").arg(&sources).args(arguments).output().ok()?;
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != sources {
        return None;
    }
    // Each commit and each checkout adds a line to it.
    let history = sources.join(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    if history.exists() {
        println!("cargo::rerun-if-changed={}", history.display());
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}
