//! `lablet context`: gateways by name, with the token for each.
//!
//! They are kept in `lablet/contexts.yaml` below `$XDG_CONFIG_HOME`, else below `~/.config`, which only its owner can read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::output::{Column, OutputFormat, column};
use crate::exit::{ExitStatus, Failure};
use crate::secret::{Secret, write_private};
use crate::terminal::say;

/// What to do with contexts.
#[derive(Debug, Args)]
pub(crate) struct ContextArguments {
    /// How to print the answer.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Table, global = true)]
    output: OutputFormat,
    #[command(subcommand)]
    command: ContextCommand,
}

#[derive(Debug, Subcommand)]
enum ContextCommand {
    /// List contexts. Tokens are not shown.
    List,
    /// Make a context the current one.
    Use {
        /// Its name.
        name: String,
    },
    /// Add a context, or put another in its place.
    Set {
        /// Its name: letters, digits, `.`, `_` and `-`.
        #[arg(value_parser = name)]
        name: String,
        /// The gateway.
        #[arg(long = "gateway", value_name = "URL")]
        gateway: Url,
        /// A file that holds the bearer token, read each time. Without it, the token is read from standard input and kept.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Remove a context with its token.
    Remove {
        /// Its name.
        name: String,
    },
}

fn name(text: &str) -> Result<String, String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(is_fine) {
        return Ok(text.to_owned());
    }
    Err("it has to be 1 to 64 letters, digits, '.', '_' and '-'".to_owned())
}

/// All contexts, and which is the current one.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// A gateway and the token for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The gateway.
    pub(crate) url: Url,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

impl Context {
    /// The token, from the file where one is named.
    pub(crate) fn token(&self) -> anyhow::Result<Secret> {
        let Some(file) = &self.token_file else {
            return self.token.clone().context("the context has no token");
        };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("the token in {} cannot be read", file.display()))?;
        text.trim().parse().map_err(|problem| anyhow::anyhow!("the token in {}: {problem}", file.display()))
    }
}

impl Contexts {
    /// Those of this user.
    pub(crate) fn read() -> anyhow::Result<Self> {
        match file(|name| std::env::var_os(name).map(PathBuf::from)) {
            Some(file) => Self::read_from(&file),
            None => Ok(Self::default()),
        }
    }

    fn read_from(file: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(file) {
            Ok(text) => {
                serde_norway::from_str(&text).map_err(|_| anyhow::anyhow!("{} holds no contexts", file.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }

    fn write_to(&self, file: &Path) -> anyhow::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = file.parent().context("contexts have no folder")?;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("{} cannot be made", folder.display()))?;
        write_private(file, &serde_norway::to_string(self).context("contexts cannot be written")?)
    }

    /// The context of this name.
    pub(crate) fn named(&self, name: &str) -> anyhow::Result<Context> {
        let unknown = || Failure::new(ExitStatus::NotFound, format!("there is no context {name:?}"));
        self.contexts.get(name).cloned().ok_or_else(unknown).map_err(anyhow::Error::new)
    }

    /// The current one, where one is set.
    pub(crate) fn current(&self) -> anyhow::Result<Option<Context>> {
        self.current.as_deref().map(|name| self.named(name)).transpose()
    }
}

/// Where contexts are kept; none where there is no home.
fn file(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let configured = variable("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    let folder = configured.or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(folder.join("lablet/contexts.yaml"))
}

/// Carries the command out.
pub(super) fn run(arguments: ContextArguments) -> anyhow::Result<()> {
    let file =
        file(|name| std::env::var_os(name).map(PathBuf::from)).context("neither XDG_CONFIG_HOME nor HOME is set")?;
    let mut contexts = Contexts::read_from(&file)?;
    match arguments.command {
        ContextCommand::List => return list(&contexts, arguments.output),
        ContextCommand::Use { name } => {
            contexts.named(&name)?;
            contexts.current = Some(name);
        }
        ContextCommand::Set { name, gateway, token_file } => {
            let token = match &token_file {
                Some(_) => None,
                None => Some(token_of_standard_input()?),
            };
            let token_file = token_file.map(std::path::absolute).transpose().context("the file has no path")?;
            contexts.contexts.insert(name.clone(), Context { url: gateway, token, token_file });
            contexts.current.get_or_insert(name);
        }
        ContextCommand::Remove { name } => {
            contexts.named(&name)?;
            contexts.contexts.remove(&name);
            contexts.current.take_if(|current| *current == name);
        }
    }
    contexts.write_to(&file)?;
    match &contexts.current {
        Some(current) => say(&format!("The current context is {current}.")),
        None => say("There is no current context."),
    }
}

fn token_of_standard_input() -> anyhow::Result<Secret> {
    let text = std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?;
    match text.trim() {
        "" => bail!("standard input holds no token; give one, or --token-file"),
        token => token.parse().map_err(anyhow::Error::msg),
    }
}

fn list(contexts: &Contexts, output: OutputFormat) -> anyhow::Result<()> {
    let rows: Vec<_> = contexts
        .contexts
        .iter()
        .map(|(name, context)| {
            let token = match &context.token_file {
                Some(file) => format!("in {}", file.display()),
                None => "kept".to_owned(),
            };
            let is_current = contexts.current.as_ref() == Some(name);
            json!({ "name": name, "url": context.url, "token": token, "current": is_current })
        })
        .collect();
    output.rows(COLUMNS, &rows)
}

const COLUMNS: &[Column] =
    &[column("NAME", "/name"), column("URL", "/url"), column("TOKEN", "/token"), column("CURRENT", "/current")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_kept_for_their_owner_alone_and_never_shown() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let file = file(|name| (name == "HOME").then(|| home.path().to_owned())).unwrap();
        assert!(file.ends_with(".config/lablet/contexts.yaml"));
        let token = home.path().join("token");
        std::fs::write(&token, "of-the-file\n").unwrap();
        let url: Url = "https://lablet.example.com".parse().unwrap();
        let mut contexts = Contexts::read_from(&file).unwrap();
        let kept = Context { url: url.clone(), token: Some("s3cret".parse().unwrap()), token_file: None };
        contexts.contexts.insert("lab".to_owned(), kept);
        contexts.contexts.insert("prod".to_owned(), Context { url, token: None, token_file: Some(token) });
        contexts.current = Some("lab".to_owned());
        contexts.write_to(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let contexts = Contexts::read_from(&file).unwrap();
        assert_eq!(contexts.current().unwrap().unwrap().token().unwrap().reveal(), "s3cret");
        assert_eq!(contexts.named("prod").unwrap().token().unwrap().reveal(), "of-the-file");
        assert!(!format!("{contexts:?}").contains("s3cret"));
        let unknown = contexts.named("nowhere").unwrap_err();
        assert_eq!(ExitStatus::from_error(&unknown), ExitStatus::NotFound);
        std::fs::write(&file, "contexts: {lab: {token: s3cret}}").unwrap();
        assert!(!format!("{:#}", Contexts::read_from(&file).unwrap_err()).contains("s3cret"));
    }
}
