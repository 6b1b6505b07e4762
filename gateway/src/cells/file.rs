//! The cells, as a file in TOML names them: a table a cell.
//!
//! ```toml
//! [east]
//! region = "Frankfurt"
//! gateway = "https://lablet-east.example.com"
//! token_file = "east.token"
//! analyst_url_file = "east.analyst"
//! ```
//!
//! Secrets stand in files of their own, beside this one. No error and no log line repeats them.

use std::path::{Path, PathBuf};

use http::HeaderValue;
use serde::Deserialize;
use url::Url;

use crate::outward::is_safe;

/// Most cells of a console.
pub(super) const MOST_CELLS: usize = 50;
/// Longest name of a cell: it is a part of the name of a schema.
const LONGEST_NAME: usize = 40;
/// Longest name of a region, in characters.
const LONGEST_REGION: usize = 100;

/// A file of cells that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CellsError(String);

/// A cell: a Lablet of its own, with a log of its own, for the workers of a region.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Its name: lower-case letters, digits and underscores.
    pub name: String,
    /// Where its workers are, in words.
    pub region: Option<String>,
    /// Its gateway.
    pub gateway: Url,
    /// A file that holds the address of its database for analysts.
    pub analyst_url_file: Option<PathBuf>,
    /// The certificates by which its gateway is trusted, as PEM; those of the system where there are none.
    pub(crate) certificates: Option<Vec<u8>>,
    /// The value of the `Authorization` header; it is not shown.
    pub(crate) authorization: HeaderValue,
}

/// A cell as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    region: Option<String>,
    gateway: String,
    token_file: PathBuf,
    analyst_url_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl Cell {
    /// Reads the cells of a file, by name. Files that it names are looked up beside it.
    ///
    /// # Errors
    /// [`CellsError`] names the cell and the field.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, CellsError> {
        let of_file = |problem: String| CellsError(format!("{}: {problem}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| of_file(format!("cannot be read: {error}")))?;
        Self::parse_all(&text, path.parent().unwrap_or(Path::new("."))).map_err(of_file)
    }

    fn parse_all(text: &str, folder: &Path) -> Result<Vec<Self>, String> {
        // The parser's own message shows the line, in which a secret may stand by mistake.
        let tables: toml::Table =
            toml::from_str(text).map_err(|error: toml::de::Error| format!("is no TOML: {}", error.message()))?;
        match tables.len() {
            0 => Err("there is no cell: begin one with its name in brackets, such as [east]".to_owned()),
            count if count > MOST_CELLS => Err(format!("there are {count} cells; at most {MOST_CELLS}")),
            _ => tables
                .into_iter()
                .map(|(name, table)| {
                    Self::parse(&name, table, folder).map_err(|problem| format!("cell {name:?}: {problem}"))
                })
                .collect(),
        }
    }

    fn parse(name: &str, table: toml::Value, folder: &Path) -> Result<Self, String> {
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let is_right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !begins || name.len() > LONGEST_NAME || !name.bytes().all(is_right) {
            return Err(format!(
                "the name has to be a lower-case letter and up to {} lower-case letters, digits and underscores",
                LONGEST_NAME - 1
            ));
        }
        let written = Written::deserialize(table).map_err(|error| error.message().to_owned())?;
        if written.region.as_ref().is_some_and(|region| region.chars().count() > LONGEST_REGION) {
            return Err(format!("region is longer than {LONGEST_REGION} characters"));
        }
        let gateway = Url::parse(&written.gateway).map_err(|error| format!("gateway is no address: {error}"))?;
        if !is_safe(&gateway) || gateway.host().is_none() {
            return Err("gateway is neither https nor http on this machine; the token would be read on its way".into());
        }
        if !gateway.username().is_empty() || gateway.password().is_some() || gateway.query().is_some() {
            return Err("gateway holds more than scheme, host, port and path; who asks stands in token_file".into());
        }
        let token = text_of("token_file", &folder.join(&written.token_file))?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| "token_file holds what no token can hold".to_owned())?;
        authorization.set_sensitive(true);
        let certificates = written.ca_file.map(|file| text_of("ca_file", &folder.join(file)));
        Ok(Self {
            name: name.to_owned(),
            region: written.region,
            gateway,
            analyst_url_file: written.analyst_url_file.map(|file| folder.join(file)),
            certificates: certificates.transpose()?.map(String::into_bytes),
            authorization,
        })
    }

    /// The address of something that its gateway has, e.g. of `/sessions/s1`.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.gateway.as_str().trim_end_matches('/'))
    }
}

/// What a file beside the cells holds.
fn text_of(field: &str, file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{field} names {}, which cannot be read: {error}", file.display()))?;
    match text.trim() {
        "" => Err(format!("{field} names {}, which is empty", file.display())),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Cell>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("east.token"), "a-secret\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        Cell::parse_all(text, folder.path())
    }

    #[test]
    fn a_cell_has_a_gateway_and_a_token_that_is_not_shown() {
        let cells = parsed(
            "[east]\nregion = \"Frankfurt\"\ngateway = \"https://lablet.example.com/east/\"\ntoken_file = \"east.token\"",
        );
        let [east] = cells.unwrap().try_into().unwrap();
        assert_eq!((east.name.as_str(), east.region.as_deref()), ("east", Some("Frankfurt")));
        assert_eq!(east.address("/sessions/s1"), "https://lablet.example.com/east/sessions/s1");
        assert_eq!(east.authorization.as_bytes(), b"Bearer a-secret");
        assert!(!format!("{east:?}").contains("a-secret"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |fields: &str| parsed(&format!("[east]\n{fields}\n")).unwrap_err();
        for (fields, named) in [
            ("", "missing field `gateway`"),
            ("gateway = \"https://a.example\"", "missing field `token_file`"),
            ("gateway = \"https://a.example\"\ntoken_file = \"empty\"", "which is empty"),
            ("gateway = \"https://a.example\"\ntoken_file = \"none\"", "which cannot be read"),
            ("gateway = \"http://a.example\"\ntoken_file = \"east.token\"", "gateway is neither https"),
            ("gateway = \"https://ada@a.example\"\ntoken_file = \"east.token\"", "gateway holds more"),
            ("gateway = \"east\"\ntoken_file = \"east.token\"", "gateway is no address"),
            ("gatway = \"https://a.example\"", "unknown field `gatway`"),
        ] {
            let problem = with(fields);
            assert!(problem.contains("\"east\"") && problem.contains(named), "{fields}: {problem}");
        }
        assert!(parsed("").unwrap_err().contains("there is no cell"));
        assert!(parsed("[East]\n").unwrap_err().contains("the name has to be"));
        assert!(parsed("east = ").unwrap_err().contains("is no TOML"));
    }
}
