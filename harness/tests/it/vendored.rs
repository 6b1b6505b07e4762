//! Scripts of others are as they were published.

use std::path::Path;
use std::process::{Command, Output};

const FOLDERS: [&str; 2] = ["gateway/assets/vendor", "harness/vendor"];

fn check(repository: &Path) -> Output {
    Command::new("sh").arg(repository.join("scripts/vendor.sh")).arg("--check").output().unwrap()
}

/// Folder, script and nothing else of this repository.
fn copy() -> tempfile::TempDir {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("scripts")).unwrap();
    std::fs::copy(repository.join("scripts/vendor.sh"), copy.path().join("scripts/vendor.sh")).unwrap();
    for folder in FOLDERS {
        std::fs::create_dir_all(copy.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(repository.join(folder)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(folder).join(entry.file_name())).unwrap();
        }
    }
    copy
}

#[test]
fn scripts_of_others_are_as_they_were_published() {
    let checked = check(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn a_script_that_was_changed_added_or_lost_is_named() {
    let copy = copy();
    assert!(check(copy.path()).status.success());
    let htmx = copy.path().join("gateway/assets/vendor/htmx.min.js");
    let published = std::fs::read_to_string(&htmx).unwrap();
    let refused = |what: &str| {
        let checked = check(copy.path());
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(!checked.status.success() && said.contains(what), "{said}");
    };
    std::fs::write(&htmx, format!("{published};")).unwrap();
    refused("htmx.min.js is not what it should be");
    std::fs::remove_file(&htmx).unwrap();
    refused("htmx.min.js is missing");
    std::fs::write(&htmx, published).unwrap();
    std::fs::write(copy.path().join("gateway/assets/vendor/more.js"), "").unwrap();
    refused("more.js has no line");
}
