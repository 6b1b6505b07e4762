//! The units for systemd: one for each role, which systemd accepts, each confined, and each with what `lablet bus-config` writes
//! for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bus::rights::BusUser;

/// Roles, and the user of the bus that each is.
const ROLES: [(&str, BusUser); 6] = [
    ("migrate", BusUser::Operator),
    ("serve", BusUser::Commands),
    ("project", BusUser::Projector),
    ("relay", BusUser::Relay),
    ("deliver", BusUser::Webhooks),
    ("control", BusUser::Controller),
];
/// Largest exposure that `systemd-analyze security` may find in a unit, of 10.
const MOST_EXPOSED: f64 = 1.5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

fn unit(role: &str) -> String {
    std::fs::read_to_string(folder().join(format!("lablet-{role}.service"))).unwrap()
}

#[test]
fn each_role_has_a_unit_with_its_own_key_for_the_bus_and_no_secret_in_it() {
    for (role, user) in ROLES {
        let unit = unit(role);
        for line in [
            format!("ExecStart=/usr/bin/lablet {role}"),
            format!("LoadCredential=bus-key:/etc/lablet/bus/users/{}.nk", user.name()),
            format!("Environment=LABLET_NATS_INBOX_PREFIX={}", user.inbox_prefix()),
        ] {
            assert!(unit.lines().any(|found| found == line), "lablet-{role}.service has no line {line}");
        }
        // The controller reaches no database; nobody but the migrations has the owner's account, and only what keeps the read
        // models may write them.
        let database = match role {
            "control" => None,
            "migrate" => Some("owner-database-url"),
            "project" => Some("projector-database-url"),
            _ => Some("app-database-url"),
        };
        let found = unit.lines().find_map(|line| line.strip_prefix("LoadCredential=database-url:/etc/lablet/secrets/"));
        assert_eq!(found, database, "{role}");
        for line in unit.lines().filter(|line| line.starts_with("Environment=")) {
            let is_secret = ["PASSWORD", "TOKEN", "_KEY=", "_URL="].iter().any(|word| line.contains(word));
            assert!(!is_secret, "{role}: {line}");
        }
    }
}

#[test]
fn processes_of_one_machine_do_not_ask_for_the_same_port() {
    let mut ports = BTreeMap::new();
    for (role, _) in ROLES {
        for line in unit(role).lines().filter_map(|line| line.strip_prefix("Environment=LABLET_METRICS_ADDRESS=")) {
            assert!(line.starts_with("127.0.0.1:"), "{role}: {line}");
            assert_eq!(ports.insert(line.to_owned(), role), None, "{role}: {line}");
        }
    }
    assert_eq!(ports.len(), 4, "{ports:?}");
}

#[test]
fn systemd_accepts_the_units_and_finds_them_confined() {
    let analyze = |arguments: &[&str], folder: &Path| {
        Command::new("systemd-analyze")
            .args(arguments)
            .args(ROLES.map(|(role, _)| format!("./lablet-{role}.service")))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(folder)
            .output()
    };
    if analyze(&["--version"], Path::new("/")).is_err() {
        // The other tests of this module read the files in any case.
        eprintln!("systemd is not installed here");
        return;
    }
    // It looks whether the executable is there, too.
    let copy = tempfile::tempdir().unwrap();
    let common = "lablet-.service.d/10-lablet.conf";
    std::fs::create_dir(copy.path().join("lablet-.service.d")).unwrap();
    std::fs::copy(folder().join(common), copy.path().join(common)).unwrap();
    for (role, _) in ROLES {
        let text = unit(role).replace("/usr/bin/lablet", "/bin/true");
        std::fs::write(copy.path().join(format!("lablet-{role}.service")), text).unwrap();
    }
    let answer = analyze(&["verify", "--man=no"], copy.path()).unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success() && !said.contains("lablet-"), "{said}");
    let answer = analyze(&["security", "--offline=true", "--no-pager"], copy.path()).unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    let levels: Vec<f64> = said
        .lines()
        .filter_map(|line| {
            line.split_once("Overall exposure level for lablet-")?.1.split_whitespace().nth(1)?.parse().ok()
        })
        .collect();
    assert_eq!(levels.len(), ROLES.len(), "{said}{}", String::from_utf8_lossy(&answer.stderr));
    assert!(levels.iter().all(|level| *level <= MOST_EXPOSED), "{levels:?}");
}
