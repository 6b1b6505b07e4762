//! The cluster in a data folder: made whole or not at all, cleared of what an earlier run left.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ServerError;
use crate::folder::{DataFolder, read_if_there, remove_file, remove_folder, write_private};
use crate::process::{HELD_FOLDER, Signal, User, end_left_over, neutral_environment, running, tail};

use super::{SUPERUSER, programs};

pub(crate) struct Cluster {
    path: PathBuf,
    programs: PathBuf,
    version: u32,
    user: Option<User>,
}

impl Cluster {
    /// A cluster that a server can be started on.
    pub(crate) async fn prepare(folder: &DataFolder, password: &str, durable: bool) -> Result<Self, ServerError> {
        let path = folder.join("cluster");
        let installed = programs::installed()?;
        // What is here under this name was killed while it was made.
        remove_folder(&folder.join("new"))?;
        let kept_version = read_if_there(&path.join("PG_VERSION"))?.and_then(|text| text.trim().parse::<u32>().ok());
        let (cluster, version) = match kept_version {
            Some(version) => {
                let programs = installed.get(&version).ok_or_else(|| ServerError::OtherVersion {
                    folder: path.clone(),
                    cluster: version,
                    installed: installed.keys().map(u32::to_string).collect::<Vec<_>>().join(", "),
                })?;
                let user = if folder.is_privileged() { Some(owner_or_default(&path)?) } else { None };
                let cluster = Self { path, programs: programs.clone(), version, user };
                (cluster, version)
            }
            None => {
                let Some((version, programs)) = installed.into_iter().next_back() else {
                    // `installed` answers an error instead of nothing.
                    return Err(ServerError::NotInstalled { program: "Postgres", advice: String::new() });
                };
                let cluster =
                    Self { path, programs, version, user: folder.is_privileged().then(unprivileged_user).transpose()? };
                tracing::info!(
                    version,
                    folder = %folder.path().display(),
                    "making a private Postgres cluster; this takes a few seconds"
                );
                cluster.make(folder, password, durable)?;
                (cluster, version)
            }
        };
        cluster.clear_left_over(folder).await?;
        tracing::info!(version, programs = %cluster.programs.display(), "starting Postgres");
        Ok(cluster)
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Major version of the server.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn user(&self) -> Option<User> {
        self.user
    }

    /// As another user the server could not reach its folder by name when a folder above is closed to others.
    pub(crate) fn held_folder(&self) -> Option<&Path> {
        self.is_held().then_some(self.path.as_path())
    }

    pub(crate) fn path_for_server(&self) -> OsString {
        if self.is_held() { HELD_FOLDER.into() } else { self.path.clone().into_os_string() }
    }

    fn is_held(&self) -> bool {
        self.user.is_some() && Path::new("/proc/self/fd").exists()
    }

    /// initdb works in a folder of its own, which gets its name when everything is there: whoever is killed
    /// meanwhile leaves no half cluster.
    fn make(&self, folder: &DataFolder, password: &str, durable: bool) -> Result<(), ServerError> {
        let new = folder.join("new");
        DirBuilder::new().mode(0o700).create(&new).map_err(ServerError::io("create the folder", &new))?;
        let password_file = new.join("password");
        write_private(&password_file, password)?;
        if let Some(user) = self.user {
            for path in [&password_file, &new] {
                chown(path, Some(user.uid), Some(user.gid)).map_err(ServerError::io("hand over", path))?;
            }
        }
        let log = folder.join("initdb.log");
        remove_file(&log)?;
        let log_file = File::create(&log).map_err(ServerError::io("create", &log))?;
        let errors = log_file.try_clone().map_err(ServerError::io("create", &log))?;
        let (seen_as, stdin) = if self.is_held() {
            let held = File::open(&new).map_err(ServerError::io("open", &new))?;
            (PathBuf::from(HELD_FOLDER), Stdio::from(held))
        } else {
            (new.clone(), Stdio::null())
        };
        let mut pwfile = OsString::from("--pwfile=");
        pwfile.push(seen_as.join("password"));
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec 9<&0 0</dev/null; exec \"$@\"", "initdb"])
            .arg(self.program("initdb"))
            .arg("-D")
            .arg(seen_as.join("cluster"))
            .arg(pwfile)
            .args(["-U", SUPERUSER])
            // A client that was built without optimisation takes 40 ms for SCRAM, at each connection. In tests a
            // password in clear text on the loopback does.
            .arg(if durable { "--auth=scram-sha-256" } else { "--auth=password" })
            .args(["--encoding=UTF8", "--no-locale", "--no-instructions"])
            .stdin(stdin)
            .stdout(log_file)
            .stderr(errors)
            .current_dir("/")
            .process_group(0);
        if !durable {
            command.arg("--no-sync");
        }
        neutral_environment(&mut command);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let status = command.status().map_err(ServerError::io("run", &self.program("initdb")))?;
        if !status.success() {
            let tail = tail(&log, 0);
            remove_folder(&new)?;
            return Err(ServerError::Initdb { status: status.to_string(), tail });
        }
        fs::rename(new.join("cluster"), &self.path).map_err(ServerError::io("move into place", &self.path))?;
        if durable {
            File::open(folder.path())
                .and_then(|opened| opened.sync_all())
                .map_err(ServerError::io("sync", folder.path()))?;
        }
        remove_folder(&new)
    }

    /// A server of this very folder that outlived its parent is ended (or its end awaited); the lock file of
    /// one that is gone, whose number may belong to a stranger by now, is removed.
    async fn clear_left_over(&self, folder: &DataFolder) -> Result<(), ServerError> {
        let lock_file = self.path.join("postmaster.pid");
        let Some(text) = read_if_there(&lock_file)? else {
            return Ok(());
        };
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        if let Some(pid) = pid
            && self.is_server_of_this_cluster(pid)
        {
            tracing::info!(pid, "ending the Postgres that an earlier run left behind");
            end_left_over(pid, folder.path(), Signal::Interrupt, |pid| self.is_server_of_this_cluster(pid)).await?;
        }
        remove_file(&lock_file)
    }

    fn is_server_of_this_cluster(&self, pid: u32) -> bool {
        let Some(found) = running(pid) else {
            return false;
        };
        if !found.command.contains("postgres") {
            return false;
        }
        match found.working_folder {
            // Postgres works in its data folder.
            Some(folder) => folder == self.path,
            None => found.command.contains(self.path.to_string_lossy().as_ref()),
        }
    }
}

/// Settings are given at each start, so that a kept cluster follows the program.
pub(crate) fn settings(version: u32, port: u16, fsync: bool) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        "shared_buffers=128MB".to_owned(),
        "max_wal_size=1GB".to_owned(),
        "password_encryption=scram-sha-256".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        // A writer that stays open holds up every reader of the log.
        "idle_in_transaction_session_timeout=60s".to_owned(),
        // One that was prepared and forgotten holds them up for ever.
        "max_prepared_transactions=0".to_owned(),
        "log_checkpoints=off".to_owned(),
        "jit=off".to_owned(),
    ];
    if version >= 17 {
        // 64 MB in place of 8 GB: everybody may NOTIFY, and whoever listens and does not read keeps it all.
        settings.push("max_notify_queue_pages=8192".to_owned());
    }
    if fsync {
        settings.push("fsync=on".to_owned());
    } else {
        // Commits still reach the system before they are answered: only a crash of the machine may lose them.
        settings
            .extend(["fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0"].map(str::to_owned));
    }
    settings
}

/// The user that owns a kept cluster; one that belongs to root is handed over first.
fn owner_or_default(cluster: &Path) -> Result<User, ServerError> {
    let found = fs::metadata(cluster).map_err(ServerError::io("look at", cluster))?;
    if found.uid() != 0 {
        return Ok(User { uid: found.uid(), gid: found.gid() });
    }
    let user = unprivileged_user()?;
    hand_over(cluster, user)?;
    Ok(user)
}

/// For a cluster that was copied by root.
fn hand_over(path: &Path, user: User) -> Result<(), ServerError> {
    let found = fs::symlink_metadata(path).map_err(ServerError::io("look at", path))?;
    if found.is_dir() {
        for entry in fs::read_dir(path).map_err(ServerError::io("read", path))? {
            let entry = entry.map_err(ServerError::io("read", path))?;
            hand_over(&entry.path(), user)?;
        }
    }
    if found.is_symlink() {
        return Ok(());
    }
    chown(path, Some(user.uid), Some(user.gid)).map_err(ServerError::io("hand over", path))
}

/// Postgres refuses to run as root: `postgres` where the package made that user, else `nobody`.
fn unprivileged_user() -> Result<User, ServerError> {
    let path = Path::new("/etc/passwd");
    let text = fs::read_to_string(path).map_err(ServerError::io("read", path))?;
    find_user(&text, "postgres").or_else(|| find_user(&text, "nobody")).ok_or_else(|| ServerError::NotInstalled {
        program: "a user to run Postgres as",
        advice: "Postgres refuses to run as root, and /etc/passwd knows neither postgres nor nobody. \
                     Make one of them, or run this as another user"
            .to_owned(),
    })
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then_some(User { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_as_they_stand_in_the_list() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      nobody:x:65534:65533::/nonexistent:/usr/sbin/nologin\n\
                      toor:x:0:0::/root:/bin/sh\n";
        assert_eq!(find_user(passwd, "nobody"), Some(User { uid: 65534, gid: 65533 }));
        assert_eq!(find_user(passwd, "postgres"), None);
        assert_eq!(find_user(passwd, "toor"), None);
    }
}
