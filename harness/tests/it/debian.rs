//! The package for Debian: made of the executable that is tested, with everything in it that a machine of its own needs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::tidy::repository;

fn said(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_package_has_the_executable_the_units_the_manual_and_nothing_that_starts_by_itself() {
    if Command::new("dpkg-shlibdeps").arg("--version").output().is_err() {
        eprintln!("dpkg-dev is not installed here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = said(
        Command::new(repository().join("scripts/debian-package.sh"))
            .arg(env!("CARGO_BIN_EXE_lablet-under-test"))
            .arg(folder.path())
            .env("COMPRESSION", "none"),
    );
    let package = Path::new(made.trim());
    let field = |name: &str| said(Command::new("dpkg-deb").arg("--field").arg(package).arg(name)).trim().to_owned();
    assert_eq!(field("Version"), concat!(env!("CARGO_PKG_VERSION"), "-1"));
    assert!(field("Depends").contains("libc6 (>= "), "{}", field("Depends"));

    let root = folder.path().join("root");
    said(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root));
    let version = said(Command::new(root.join("usr/bin/lablet")).arg("--version"));
    assert_eq!(version, said(Command::new(env!("CARGO_BIN_EXE_lablet-under-test")).arg("--version")));
    for role in ["migrate", "serve", "project", "relay", "deliver", "control"] {
        let unit = format!("usr/lib/systemd/system/lablet-{role}.service");
        let ours = repository().join(format!("packaging/systemd/lablet-{role}.service"));
        assert_eq!(std::fs::read(root.join(&unit)).unwrap(), std::fs::read(ours).unwrap());
        assert!(root.join(format!("usr/share/man/man1/lablet-{role}.1.gz")).exists(), "{role}");
    }
    for file in [
        "usr/lib/systemd/system/lablet-.service.d/10-lablet.conf",
        "usr/share/bash-completion/completions/lablet",
        "usr/share/doc/lablet/changelog.gz",
        "usr/share/doc/lablet/README.Debian",
    ] {
        assert!(root.join(file).exists(), "{file}");
    }
    let copyright = std::fs::read_to_string(root.join("usr/share/doc/lablet/copyright")).unwrap();
    assert!(copyright.contains("\nLicense: Expat\n MIT License\n .\n"), "{copyright}");
    // Nobody but root looks where the secrets will lie, and what is there stays when the package goes.
    for secret in ["etc/lablet", "etc/lablet/secrets"] {
        assert_eq!(std::fs::metadata(root.join(secret)).unwrap().permissions().mode() & 0o777, 0o700, "{secret}");
    }
    assert!(!root.join("etc/systemd").exists(), "no role is switched on");
    let control = folder.path().join("control");
    said(Command::new("dpkg-deb").arg("--control").arg(package).arg(&control));
    assert_eq!(std::fs::read_to_string(control.join("conffiles")).unwrap(), "/etc/lablet/lablet.env\n");
    for script in ["postinst", "prerm", "postrm"] {
        said(Command::new("sh").arg("-n").arg(control.join(script)));
    }
}
