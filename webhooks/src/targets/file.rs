//! The file of targets, read into types that hold nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use app::log::Position;
use serde::Deserialize;
use url::{Host, Url};

use super::{EventFilter, Format, RetryLimits, Target};
use crate::address::AllowedNetworks;
use crate::signature::SigningSecret;

/// Most targets of a file.
const MOST_TARGETS: usize = 100;
/// Longest name, in characters.
const LONGEST_NAME: usize = 64;
/// Most entries of a list.
const MOST_ENTRIES: usize = 200;

/// The fields of a target.
const FIELDS: [&str; 15] = [
    "url",
    "url_file",
    "format",
    "types",
    "subjects",
    "secret_files",
    "handshake",
    "allow",
    "allow_http",
    "ca_file",
    "timeout_seconds",
    "rate_per_minute",
    "start",
    "attempts",
    "give_up_after_hours",
];

/// A file of targets that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetsError(String);

impl TargetsError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }

    pub(super) fn in_file(self, file: &str) -> Self {
        Self(format!("{file}: {}", self.0))
    }
}

/// A target as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    url: Option<String>,
    url_file: Option<PathBuf>,
    format: Option<String>,
    types: Option<Vec<String>>,
    subjects: Option<Vec<String>>,
    secret_files: Vec<PathBuf>,
    handshake: Option<bool>,
    allow: Vec<String>,
    allow_http: bool,
    ca_file: Option<PathBuf>,
    timeout_seconds: Option<u64>,
    rate_per_minute: Option<u32>,
    start: Option<String>,
    attempts: Option<u32>,
    give_up_after_hours: Option<u64>,
}

/// A field and what is wrong with it.
type Problem = (&'static str, String);

pub(super) fn parse(text: &str, folder: &Path) -> Result<Vec<Target>, TargetsError> {
    // The parser's own message shows the line, in which a secret may stand by mistake.
    let tables: toml::Table = toml::from_str(text).map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(0, |span| text.get(..span.start).map_or(0, |before| before.matches('\n').count()));
        TargetsError::new(format!("line {} is no TOML: {}", line + 1, error.message()))
    })?;
    if tables.is_empty() {
        return Err(TargetsError::new("there is no target: begin one with its name in brackets, such as [booking]"));
    }
    if tables.len() > MOST_TARGETS {
        return Err(TargetsError::new(format!("there are {} targets; at most {MOST_TARGETS}", tables.len())));
    }
    tables.into_iter().map(|(name, value)| target(name, value, folder)).collect()
}

fn target(name: String, value: toml::Value, folder: &Path) -> Result<Target, TargetsError> {
    let is_right = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let well_formed = name.chars().next().is_some_and(is_right)
        && name.chars().all(|character| is_right(character) || matches!(character, '-' | '_'))
        && name.len() <= LONGEST_NAME;
    if !well_formed {
        let shown: String = name.chars().take(LONGEST_NAME).collect();
        return Err(TargetsError::new(format!(
            "the target {shown:?} has no right name: lower-case letters, digits, - and _, at most {LONGEST_NAME}"
        )));
    }
    let toml::Value::Table(table) = value else {
        let shown = closest(&name, FIELDS).map_or_else(String::new, |field| format!(", as {field} seems to be"));
        return Err(TargetsError::new(format!(
            "{name:?} is no table: fields stand below the name of their target in brackets{shown}"
        )));
    };
    if let Some(unknown) = table.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let meant = closest(unknown, FIELDS)
            .map_or_else(|| format!("there are {}", FIELDS.join(", ")), |meant| format!("did you mean {meant}?"));
        return Err(TargetsError::new(format!("target {name:?}: the field {unknown:?} is unknown; {meant}")));
    }
    let of_field = |(field, problem): Problem| TargetsError::new(format!("target {name:?}: {field} {problem}"));
    for (field, value) in &table {
        // One by one, so that the field is known and its value is not shown.
        let alone = toml::Table::from_iter([(field.clone(), value.clone())]);
        if let Err(error) = Written::deserialize(alone) {
            return Err(TargetsError::new(format!("target {name:?}: {field} {}", without_value(&error))));
        }
    }
    let written = Written::deserialize(table).map_err(|error| TargetsError::new(without_value(&error)))?;
    read(&name, written, folder).map_err(of_field)
}

/// What a deserializer says, without what it found: that may be a secret in the wrong place.
fn without_value(error: &toml::de::Error) -> String {
    let expected = error.message().split_once(", expected ").map_or("", |(_, expected)| expected.trim());
    let right = match expected {
        "a string" | "path string" => "a text in quotes",
        "a sequence" => "a list in brackets",
        "a boolean" => "true or false",
        "u32" | "u64" => "a whole number",
        _ => return "cannot be read".to_owned(),
    };
    format!("has to be {right}")
}

fn read(name: &str, written: Written, folder: &Path) -> Result<Target, Problem> {
    let format = match &written.format {
        None => Format::Structured,
        Some(text) => Format::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let names = Format::ALL.map(Format::name);
            let meant = closest(text, names).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            ("format", format!("is {text:?}, and has to be one of {}{meant}", names.join(", ")))
        })?,
    };
    let for_people =
        |field: &'static str| (field, format!("is for CloudEvents alone; {} knows nothing of it", format.name()));
    if !format.is_cloud_event() {
        if !written.secret_files.is_empty() {
            return Err(for_people("secret_files"));
        }
        if written.handshake == Some(true) {
            return Err(for_people("handshake"));
        }
    } else if written.secret_files.is_empty() {
        return Err((
            "secret_files",
            "is missing: every CloudEvent is signed, with a secret that stands in a file".into(),
        ));
    }
    let allowed = AllowedNetworks::parse(written.allow.iter().take(MOST_ENTRIES).map(String::as_str))
        .map_err(|entry| ("allow", format!("has the entry {entry:?}, which is no network such as 10.20.0.0/16")))?;
    let url = url(&written, folder, &allowed)?;
    let every = || vec!["*".to_owned()];
    let (types, subjects) = (written.types.unwrap_or_else(every), written.subjects.unwrap_or_else(every));
    for (field, list) in [("types", &types), ("subjects", &subjects), ("allow", &written.allow)] {
        if list.len() > MOST_ENTRIES {
            return Err((field, format!("has {} entries; at most {MOST_ENTRIES}", list.len())));
        }
    }
    Ok(Target {
        name: name.to_owned(),
        filter: EventFilter::parse(&types, &subjects)?,
        handshake: written.handshake.unwrap_or(format.is_cloud_event()),
        limits: RetryLimits {
            attempts: within("attempts", written.attempts, 15, 1..=100)?,
            time: Duration::from_secs(within("give_up_after_hours", written.give_up_after_hours, 24, 1..=168)? * 3_600),
        },
        start: start(written.start.as_deref())?,
        rate_per_minute: match written.rate_per_minute {
            Some(rate) => Some(within("rate_per_minute", Some(rate), 1, 1..=60_000)?),
            None => None,
        },
        secrets: secrets(&written.secret_files, folder)?,
        certificates: certificates(written.ca_file.as_deref(), folder)?,
        timeout: Duration::from_secs(within("timeout_seconds", written.timeout_seconds, 10, 1..=60)?),
        format,
        url,
        allowed,
    })
}

fn url(written: &Written, folder: &Path, allowed: &AllowedNetworks) -> Result<Url, Problem> {
    let (field, text) = match (&written.url, &written.url_file) {
        (Some(url), None) => ("url", url.clone()),
        (None, Some(file)) => ("url_file", secret_text("url_file", file, folder)?),
        (Some(_), Some(_)) => return Err(("url", "and url_file are both given; one of them is right".into())),
        (None, None) => return Err(("url", "is missing, and url_file, too".into())),
    };
    let refused = |problem: String| (field, problem);
    let url = Url::parse(&text).map_err(|error| refused(format!("is no address: {error}")))?;
    match url.scheme() {
        "https" => {}
        "http" if written.allow_http => {}
        "http" => {
            return Err(refused(
                "is no https address; `allow_http = true` lets everybody on the way read along".into(),
            ));
        }
        _ => return Err(refused("is no https address".into())),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "holds a user or a password, which would be sent with every request; messages are signed".into(),
        ));
    }
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(address.into()),
        Some(Host::Ipv6(address)) => Some(address.into()),
        Some(Host::Domain(_)) => None,
        None => return Err(refused("names no host".into())),
    };
    if let Some(address) = literal {
        allowed.check(address).map_err(|error| refused(format!("is not reached: {error}")))?;
    }
    Ok(url)
}

fn secrets(files: &[PathBuf], folder: &Path) -> Result<Vec<SigningSecret>, Problem> {
    const FIELD: &str = "secret_files";
    if files.len() > 5 {
        return Err((FIELD, format!("has {} entries; at most 5", files.len())));
    }
    files
        .iter()
        .map(|file| {
            let text = secret_text(FIELD, file, folder)?;
            SigningSecret::parse(&text).map_err(|problem| (FIELD, format!("names {}, which {problem}", file.display())))
        })
        .collect()
}

fn secret_text(field: &'static str, file: &Path, folder: &Path) -> Result<String, Problem> {
    let text = std::fs::read_to_string(folder.join(file))
        .map_err(|error| (field, format!("names {}, which cannot be read: {error}", file.display())))?;
    let text = text.trim();
    if text.is_empty() {
        return Err((field, format!("names {}, which is empty", file.display())));
    }
    Ok(text.to_owned())
}

fn certificates(file: Option<&Path>, folder: &Path) -> Result<Option<Vec<reqwest::Certificate>>, Problem> {
    const FIELD: &str = "ca_file";
    let Some(file) = file else { return Ok(None) };
    let pem = std::fs::read(folder.join(file))
        .map_err(|error| (FIELD, format!("names {}, which cannot be read: {error}", file.display())))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err((FIELD, format!("names {}, which holds no certificate in PEM", file.display())));
    }
    Ok(Some(certificates))
}

fn start(text: Option<&str>) -> Result<Option<Position>, Problem> {
    match text {
        None | Some("now") => Ok(None),
        Some("beginning") => Ok(Some(Position::START)),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| ("start", "is none of now, beginning and a position, as every notice has one".to_owned())),
    }
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(
    field: &'static str,
    written: Option<T>,
    unless: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, Problem> {
    let value = written.unwrap_or(unless);
    if range.contains(&value) {
        return Ok(value);
    }
    Err((field, format!("is {value}; {} to {} are right", range.start(), range.end())))
}

/// The known word that `text` may be, misspelt.
pub(super) fn closest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text: String = text.chars().take(200).collect();
    let most = (text.chars().count() / 3).clamp(1, 4);
    let known: BTreeSet<&str> = known.into_iter().collect();
    let by_distance = known.into_iter().map(|word| (strsim::osa_distance(&text, word), word));
    by_distance.filter(|(distance, _)| *distance <= most).min().map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn parsed(toml: &str) -> Result<Vec<Target>, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("secret", &format!("{SECRET}\n"));
        write("bad-secret", "s3cret");
        write("empty", "\n");
        write("slack.url", "https://hooks.slack.com/services/T0/B0/s3cret\n");
        parse(toml, folder.path()).map_err(|error| error.to_string())
    }

    /// A target with one line beside a right address and a right secret.
    fn with(line: &str) -> Result<Vec<Target>, String> {
        parsed(&format!("[booking]\nurl = \"https://booking.example.com/x\"\nsecret_files = [\"secret\"]\n{line}"))
    }

    #[test]
    fn a_target_has_what_its_table_says_and_defaults_for_the_rest() {
        let target = with("").unwrap().remove(0);
        assert_eq!((target.name.as_str(), target.host().as_str()), ("booking", "booking.example.com"));
        assert_eq!((target.format, target.handshake, target.start), (Format::Structured, true, None));
        assert_eq!((target.limits.attempts, target.limits.time.as_secs()), (15, 24 * 3_600));
        assert_eq!((target.timeout.as_secs(), target.rate_per_minute), (10, None));
        let target = with("start = \"beginning\"\nrate_per_minute = 60\nhandshake = false\nformat = \"binary\"")
            .unwrap()
            .remove(0);
        assert_eq!((target.format, target.handshake, target.start), (Format::Binary, false, Some(Position::START)));
        let slack = parsed("[lab]\nformat = \"slack\"\nurl_file = \"slack.url\"").unwrap().remove(0);
        assert_eq!((slack.host().as_str(), slack.handshake), ("hooks.slack.com", false));
        assert!(!format!("{slack:?}").contains("s3cret"), "{slack:?}");
    }

    #[test]
    fn what_is_wrong_is_named_by_target_and_field_with_what_was_meant() {
        for (line, words) in [
            ("typs = []", "the field \"typs\" is unknown; did you mean types?"),
            ("colour = 1", "the field \"colour\" is unknown; there are url, url_file"),
            ("types = []", "types is empty"),
            ("types = \"*\"", "types has to be a list in brackets"),
            ("types = [\"io.lablet.lablet_session.runing.v1\"]", "did you mean io.lablet.lablet_session.running.v1?"),
            (
                "format = \"slak\"",
                "format is \"slak\", and has to be one of structured, binary, slack, teams; did you mean slack?",
            ),
            ("format = \"teams\"", "secret_files is for CloudEvents alone"),
            ("allow = [\"inside\"]", "allow has the entry \"inside\", which is no network"),
            ("timeout_seconds = 0", "timeout_seconds is 0; 1 to 60 are right"),
            ("timeout_seconds = \"10\"", "timeout_seconds has to be a whole number"),
            ("attempts = 101", "attempts is 101"),
            ("give_up_after_hours = 999", "give_up_after_hours is 999"),
            ("handshake = 1", "handshake has to be true or false"),
            ("attempts = -1", "attempts has to be a whole number"),
            ("rate_per_minute = 0", "rate_per_minute is 0"),
            ("start = \"yesterday\"", "start is none of now, beginning and a position"),
            ("url_file = \"slack.url\"", "url and url_file are both given"),
            ("ca_file = \"secret\"", "ca_file names secret, which holds no certificate in PEM"),
            ("ca_file = \"absent\"", "ca_file names absent, which cannot be read"),
        ] {
            let refused = with(line).map(drop).unwrap_err();
            assert!(refused.starts_with("target \"booking\": ") && refused.contains(words), "{line}: {refused}");
        }
    }

    #[test]
    fn an_address_or_a_secret_that_is_wrong_is_refused_and_not_repeated() {
        for (table, words) in [
            ("url = \"https://x.example/?token=s3cret\"", "secret_files is missing"),
            ("url = \"http://x.example/s3cret\"\nsecret_files = [\"secret\"]", "is no https address"),
            ("url = \"ftp://x.example/s3cret\"\nsecret_files = [\"secret\"]", "is no https address"),
            ("url = \"s3cret\"\nsecret_files = [\"secret\"]", "url is no address"),
            ("url = \"https://ada:s3cret@x.example/\"\nsecret_files = [\"secret\"]", "holds a user or a password"),
            ("url = 5\nsecret_files = [\"secret\"]", "url has to be a text in quotes"),
            ("secret_files = [\"secret\"]", "url is missing, and url_file, too"),
            ("url_file = \"absent\"\nsecret_files = [\"secret\"]", "url_file names absent, which cannot be read"),
            ("url_file = \"empty\"\nsecret_files = [\"secret\"]", "url_file names empty, which is empty"),
            (
                "url = \"https://x.example\"\nsecret_files = [\"bad-secret\"]",
                "names bad-secret, which does not begin with whsec_",
            ),
            (
                "url = \"https://x.example\"\nsecret_files = \"whsec_s3cret\"",
                "secret_files has to be a list in brackets",
            ),
            ("url = \"https://x.example\"\nformat = \"slack\"\nhandshake = true", "handshake is for CloudEvents alone"),
        ] {
            let refused = parsed(&format!("[booking]\n{table}")).map(drop).unwrap_err();
            assert!(refused.contains(words), "{table}: {refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
        for (text, words) in [
            ("", "there is no target"),
            ("url = \"https://x.example/s3cret\"", "\"url\" is no table"),
            ("[Booking]", "has no right name"),
            ("[a]\nurl = \"s3cret", "line 2 is no TOML"),
            ("[a]\nurl = \"s3cret\"\n[a]", "line 3 is no TOML"),
        ] {
            let refused = parsed(text).map(drop).unwrap_err();
            assert!(refused.contains(words) && !refused.contains("s3cret"), "{text}: {refused}");
        }
    }
}
