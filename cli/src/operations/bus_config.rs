//! `lablet bus-config`: the configuration of a nats-server on which each process and each team has a user of its own, with
//! the rights that it needs, and TLS.
//!
//! The folder is the state: users keep their keys when the command runs again, and a team that has one stays. The server's
//! files hold public keys only.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bus::clock::Clock;
use bus::rights::{BusUser, TeamName, authorization};
use bus::streams::LARGEST_COMMAND;
use chrono::Datelike as _;
use clap::Args;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer};

use crate::secret::write_private;
use crate::terminal::say;

/// Years for which an authority is valid that is made here.
const AUTHORITY_YEARS: i32 = 20;
/// Years for which a server's certificate is valid that is made here; each run makes a new one.
const SERVER_YEARS: i32 = 2;

/// What to write.
#[derive(Debug, Args)]
pub(crate) struct BusConfigArguments {
    /// The folder to write to, which may be there from an earlier run. Only its owner can look into it.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// A team that sends commands, e.g. `booking`; may be repeated. Teams of earlier runs stay.
    #[arg(long = "team", value_name = "NAME")]
    teams: Vec<TeamName>,
    /// A team that is to have no user any more; may be repeated.
    #[arg(long = "remove", value_name = "NAME")]
    removed: Vec<TeamName>,
    /// A user whose key is made anew, e.g. `relay`; may be repeated. The old one is refused once the server has read its
    /// configuration again.
    #[arg(long = "rotate", value_name = "NAME")]
    rotated: Vec<String>,
    /// A name or address by which the server is reached, for its certificate; may be repeated.
    #[arg(long = "server-name", value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
    server_names: Vec<String>,
    /// The port of the server.
    #[arg(long, default_value_t = 4222)]
    port: u16,
    /// Where the server finds the folder, if not where it is written, e.g. `/etc/nats`.
    #[arg(long, value_name = "FOLDER")]
    server_folder: Option<PathBuf>,
    /// Where the server keeps its streams.
    #[arg(long, value_name = "FOLDER", default_value = "/data")]
    store: PathBuf,
    /// Let other users of this machine read the keys, where a process runs as one of them and is given its file, as in a
    /// container. The folder stays closed to them.
    #[arg(long)]
    for_containers: bool,
}

pub(super) fn run(arguments: &BusConfigArguments) -> anyhow::Result<()> {
    let folder = Folder::open(&arguments.to, arguments.for_containers)?;
    let teams = folder.teams(arguments)?;
    let users: Vec<BusUser> = BusUser::OF_PROCESSES.into_iter().chain(teams.into_iter().map(BusUser::Team)).collect();
    for name in &arguments.rotated {
        if users.iter().all(|user| user.name() != name) {
            let known: Vec<&str> = users.iter().map(BusUser::name).collect();
            bail!("{name} is no user of this bus; expected one of {}", known.join(", "));
        }
    }
    let mut signed_in = Vec::new();
    for user in &users {
        let is_new = arguments.rotated.iter().any(|name| name == user.name());
        signed_in.push((user, format!("nkey: {}", folder.key_of(user, is_new)?)));
    }
    folder.write_certificates(&arguments.server_names)?;
    folder.write("users.conf", &authorization(signed_in))?;
    let at = arguments.server_folder.clone().unwrap_or_else(|| folder.path.clone());
    folder.write("nats.conf", &server_configuration(&at, &arguments.store, arguments.port))?;
    let address = arguments.server_names.first().map_or("localhost", String::as_str);
    for user in &users {
        folder.write(&format!("users/{}.env", user.name()), &folder.environment(user, address, arguments.port))?;
    }
    for team in &arguments.removed {
        say(&format!("{} has no user any more", team.as_str()))?;
    }
    say(&format!(
        "{} has the configuration of a server for {} users: nats-server -c {}",
        folder.path.display(),
        users.len(),
        at.join("nats.conf").display()
    ))?;
    say("a server that runs reads it again with: nats-server --signal reload")?;
    say(&format!(
        "each user's settings are in {0}/NAME.env, its key in {0}/NAME.nk",
        folder.path.join("users").display()
    ))
}

/// The server but for its users.
fn server_configuration(at: &Path, store: &Path, port: u16) -> String {
    let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
    let tls = at.join("tls");
    format!(
        "# Written by lablet bus-config. Settings of your own belong into a file that includes this one.\n\
         port: {port}\n\
         # For health checks on the same machine.\n\
         http: \"127.0.0.1:8222\"\n\
         # The largest command, and the margin that NATS needs around it.\n\
         max_payload: {}\n\
         jetstream {{ store_dir: {} }}\n\
         tls {{\n  cert_file: {}\n  key_file: {}\n}}\n\
         include \"users.conf\"\n",
        LARGEST_COMMAND,
        quoted(store),
        quoted(&tls.join("server.pem")),
        quoted(&tls.join("server.key")),
    )
}

/// What is written, and how.
struct Folder {
    path: PathBuf,
    /// Of files that hold a key.
    key_mode: u32,
}

impl Folder {
    fn open(path: &Path, for_containers: bool) -> anyhow::Result<Self> {
        let failed = || format!("{} cannot be made", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(failed)?;
        for part in ["tls", "users"] {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(path.join(part)).with_context(failed)?;
        }
        // Whoever made it before may have left it open.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(failed)?;
        let path = path.canonicalize().with_context(failed)?;
        Ok(Self { path, key_mode: if for_containers { 0o644 } else { 0o600 } })
    }

    /// The teams that are asked for, and those that have a key.
    fn teams(&self, arguments: &BusConfigArguments) -> anyhow::Result<BTreeSet<TeamName>> {
        let users = self.path.join("users");
        let failed = || format!("{} cannot be read", users.display());
        let mut teams: BTreeSet<TeamName> = arguments.teams.iter().cloned().collect();
        for entry in fs::read_dir(&users).with_context(failed)? {
            let path = entry.with_context(failed)?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "nk")
                && BusUser::OF_PROCESSES.iter().all(|user| user.name() != name)
            {
                teams.insert(name.parse().with_context(|| path.display().to_string())?);
            }
        }
        for team in &arguments.removed {
            if !teams.remove(team) {
                bail!("{} is no team of this bus", team.as_str());
            }
            for kind in ["nk", "env"] {
                let file = users.join(format!("{}.{kind}", team.as_str()));
                match fs::remove_file(&file) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("{} cannot be removed", file.display()));
                    }
                    _ => {}
                }
            }
        }
        Ok(teams)
    }

    /// The public key of a user, whose seed is kept.
    fn key_of(&self, user: &BusUser, is_new: bool) -> anyhow::Result<String> {
        let file = self.key_file(user);
        let unusable = || format!("{} holds no nkey", file.display());
        if !is_new && file.exists() {
            let seed = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            // The error of the library would show the seed's text.
            let key = KeyPair::from_seed(seed.trim()).ok().with_context(unusable)?;
            self.protect(&file)?;
            return Ok(key.public_key());
        }
        let key = KeyPair::new_user();
        let seed = key.seed().ok().context("a key that was just made has no seed")?;
        write_private(&file, &format!("{seed}\n"))?;
        self.protect(&file)?;
        Ok(key.public_key())
    }

    fn key_file(&self, user: &BusUser) -> PathBuf {
        self.path.join("users").join(format!("{}.nk", user.name()))
    }

    fn protect(&self, file: &Path) -> anyhow::Result<()> {
        let mode = fs::Permissions::from_mode(self.key_mode);
        fs::set_permissions(file, mode).with_context(|| format!("{} cannot be protected", file.display()))
    }

    /// The settings of whoever signs in as this user.
    fn environment(&self, user: &BusUser, address: &str, port: u16) -> String {
        format!(
            "LABLET_NATS_URL=nats://{address}:{port}\nLABLET_NATS_NKEY={}\nLABLET_NATS_CA={}\nLABLET_NATS_INBOX_PREFIX={}\n",
            self.key_file(user).display(),
            self.path.join("tls/ca.pem").display(),
            user.inbox_prefix()
        )
    }

    /// An authority of its own, which is kept, and a new certificate of the server by it.
    fn write_certificates(&self, names: &[String]) -> anyhow::Result<()> {
        let tls = self.path.join("tls");
        let (authority, authority_key) = (tls.join("ca.pem"), tls.join("ca.key"));
        let issuer = if authority.exists() {
            let read =
                |file: &Path| fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()));
            let key = rcgen::KeyPair::from_pem(&read(&authority_key)?)
                .with_context(|| format!("{} holds no key", authority_key.display()))?;
            Issuer::new(authority_parameters()?, key)
        } else {
            let key = rcgen::KeyPair::generate().context("no key of an authority can be made")?;
            let parameters = authority_parameters()?;
            let certificate = parameters.self_signed(&key).context("no authority can be made")?;
            // The key first: without it the certificate would be of no use.
            write_private(&authority_key, &key.serialize_pem())?;
            self.write("tls/ca.pem", &certificate.pem())?;
            Issuer::new(parameters, key)
        };
        let key = rcgen::KeyPair::generate().context("no key of the server can be made")?;
        let mut parameters = CertificateParams::new(names.to_vec()).context("the server's names are none")?;
        parameters.distinguished_name.push(DnType::CommonName, "Lablet's bus");
        valid_for(&mut parameters, SERVER_YEARS);
        let certificate = parameters.signed_by(&key, &issuer).context("no certificate of the server can be made")?;
        write_private(&tls.join("server.key"), &key.serialize_pem())?;
        self.protect(&tls.join("server.key"))?;
        self.write("tls/server.pem", &certificate.pem())
    }

    /// Writes a file without secrets, complete or not at all.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.path.join(name);
        write_private(&file, text)?;
        let mode = fs::Permissions::from_mode(0o644);
        fs::set_permissions(&file, mode).with_context(|| format!("{} cannot be opened to others", file.display()))
    }
}

/// What an authority says of itself; the same in each run, as certificates name it by that.
fn authority_parameters() -> anyhow::Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new()).context("an authority cannot be described")?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.distinguished_name.push(DnType::CommonName, "Authority of Lablet's bus");
    valid_for(&mut parameters, AUTHORITY_YEARS);
    Ok(parameters)
}

/// From the first day of this year on.
fn valid_for(parameters: &mut CertificateParams, years: i32) {
    let this_year = Clock::system().now().year();
    parameters.not_before = rcgen::date_time_ymd(this_year, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(this_year + years, 1, 1);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Written {
        #[command(flatten)]
        arguments: BusConfigArguments,
    }

    fn write(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let to = folder.join("bus");
        let given = [&["x", "--to", to.to_str().unwrap()], arguments].concat();
        run(&Written::try_parse_from(given)?.arguments)
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_reads_keys_and_the_server_is_told_of_none() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["--team", "grading", "--server-folder", "/etc/nats"]).unwrap();
        let bus = folder.path().join("bus");
        assert_eq!(mode(&bus), 0o700);
        for secret in ["users/relay.nk", "users/grading.nk", "tls/server.key", "tls/ca.key"] {
            assert_eq!(mode(&bus.join(secret)), 0o600, "{secret}");
        }
        let users = fs::read_to_string(bus.join("users.conf")).unwrap();
        let seed = fs::read_to_string(bus.join("users/relay.nk")).unwrap();
        let public = KeyPair::from_seed(seed.trim()).unwrap().public_key();
        assert!(users.contains(&public) && !users.contains(seed.trim()), "{users}");
        let server = fs::read_to_string(bus.join("nats.conf")).unwrap();
        assert!(server.contains("cert_file: \"/etc/nats/tls/server.pem\"") && server.contains("include"), "{server}");

        write(folder.path(), &["--for-containers"]).unwrap();
        assert_eq!((mode(&bus), mode(&bus.join("users/grading.nk"))), (0o700, 0o644), "the team is still there");
        assert_eq!(mode(&bus.join("tls/ca.key")), 0o600, "no process needs it");
        assert_eq!(fs::read_to_string(bus.join("users/relay.nk")).unwrap(), seed);
    }

    #[test]
    fn who_is_no_user_is_named_and_a_broken_key_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |arguments: &[&str]| format!("{:#}", write(folder.path(), arguments).unwrap_err());
        assert!(refused(&["--rotate", "gradin", "--team", "grading"]).contains("expected one of operator, relay"));
        assert!(refused(&["--remove", "booking"]).contains("booking is no team of this bus"));
        assert!(refused(&["--team", "relay"]).contains("none of operator, relay"));
        write(folder.path(), &[]).unwrap();
        let file = folder.path().join("bus/users/relay.nk");
        fs::write(&file, "s3cret").unwrap();
        let said = refused(&[]);
        assert!(said.contains("relay.nk holds no nkey") && !said.contains("s3cret"), "{said}");
    }
}
