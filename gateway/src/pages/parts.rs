//! Pieces that many pages show: times, ids, states, amounts. Each is a template of its own, so that a page names what it
//! shows, and the same thing looks the same everywhere. Unknown is said in words.

use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::demand::ByResource;
use domain::evidence::{Contradiction, NoEvidence};
use domain::lablet_session::SessionStatus;
use domain::port_drift::DriftState;
use domain::{DefinitionId, LabId, SessionId, WorkerId};
use projections::read_models::observation_requests::RequestOutcome;
use projections::read_models::sessions::{PortComparison, SessionRow, SessionTitles};

/// How a thing stands, for its colour. The words say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Neither good nor bad.
    Calm,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Failed.
    Bad,
}

impl Tone {
    /// The class of the style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A time: how long ago, with the time itself at hand.
#[derive(Debug, Clone, Copy, Template)]
#[template(
    source = r#"<time datetime="{{ self.machine() }}" title="{{ self.absolute() }}" data-relative>{{ self.relative() }}</time>"#,
    ext = "html"
)]
pub(crate) struct When {
    at: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl HtmlSafe for When {}

impl When {
    /// A time, seen from now.
    pub(crate) fn new(at: &DateTime<Utc>, now: &DateTime<Utc>) -> Self {
        Self { at: *at, now: *now }
    }

    fn machine(&self) -> String {
        self.at.to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// The time itself.
    pub(crate) fn absolute(&self) -> String {
        to_second(self.at) + " UTC"
    }

    /// The same words as the page's script makes.
    fn relative(&self) -> String {
        relative(self.now - self.at)
    }
}

/// E.g. `2026-03-01 10:00:00`. Not by a pattern, which would be parsed for each of the hundreds of times on a page.
pub(crate) fn to_second(at: DateTime<Utc>) -> String {
    let mut text = at.to_rfc3339_opts(SecondsFormat::Secs, true).replacen('T', " ", 1);
    text.truncate(text.len() - "Z".len());
    text
}

/// E.g. `2026-03-01 10:00`.
pub(crate) fn to_minute(at: DateTime<Utc>) -> String {
    let mut text = to_second(at);
    text.truncate(text.len() - ":00".len());
    text
}

fn relative(ago: TimeDelta) -> String {
    let seconds = ago.num_seconds().abs();
    let text = match seconds {
        0..2 => return "now".to_owned(),
        2..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    };
    if ago < TimeDelta::zero() { format!("in {text}") } else { format!("{text} ago") }
}

/// An id with a button that copies it.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<span class="id">{{ id }}</span><button type="button" class="copy needs-js" data-copy="{{ id }}" aria-label="Copy {{ id }}">copy</button>"#,
    ext = "html"
)]
pub(crate) struct CopyId {
    id: String,
}

impl HtmlSafe for CopyId {}

impl CopyId {
    /// Of this id.
    pub(crate) fn new(id: &impl ToString) -> Self {
        Self { id: id.to_string() }
    }
}

/// A lab by what it is called in CML, and its short id to be copied; where that is unknown, by its id.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"{% match title %}{% when Some with (title) %}<span title="{{ id }}">{{ title }}</span> <button type="button" class="copy id" data-copy aria-label="Copy id {{ self.short() }}">{{ self.short() }}</button>{% when None %}{{ CopyId::new(id) }}{% endmatch %}"#,
    ext = "html"
)]
pub(crate) struct LabName {
    id: String,
    title: Option<String>,
}

impl HtmlSafe for LabName {}

impl LabName {
    /// Of this lab.
    pub(crate) fn new(id: &LabId, title: Option<&String>) -> Self {
        Self { id: id.to_string(), title: title.cloned() }
    }

    fn short(&self) -> String {
        short_id(&self.id)
    }
}

/// A UUID by its last eight characters, which tell it apart at a glance. Other ids were chosen by somebody and stay whole.
pub(crate) fn short_id(id: &impl ToString) -> String {
    let id = id.to_string();
    if uuid::Uuid::try_parse(&id).is_err() || id.len() != uuid::fmt::Hyphenated::LENGTH {
        return id;
    }
    format!("…{}", &id[id.len() - 8..])
}

/// A session by what it is known, linked to its page, and its short id to be copied; where nothing else is known of it,
/// the short id alone. The whole id is at hand.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"{% match title %}{% when Some with (title) %}<a href="/sessions/{{ id }}{{ fragment }}" title="{{ id }}">{{ title }}</a> <button type="button" class="copy id" data-copy aria-label="Copy id {{ self.short() }}">{{ self.short() }}</button>{% when None %}<a class="id" href="/sessions/{{ id }}{{ fragment }}" title="{{ id }}">{{ self.short() }}</a>{% endmatch %}"#,
    ext = "html"
)]
pub(crate) struct SessionLink {
    id: String,
    title: Option<String>,
    fragment: &'static str,
}

impl HtmlSafe for SessionLink {}

impl SessionLink {
    /// By its id alone.
    pub(crate) fn by_id(id: &SessionId, fragment: &'static str) -> Self {
        Self { id: id.to_string(), title: None, fragment }
    }

    /// By the definition's name and the start, to a part of the session's page, e.g. `#ports`; empty: to its beginning.
    pub(crate) fn row(session: &SessionRow, fragment: &'static str) -> Self {
        Self { id: session.id.to_string(), title: Some(session_name(session)), fragment }
    }

    /// The same, of a session of which only the id is at hand.
    pub(crate) fn titled(titles: &SessionTitles, id: &SessionId, fragment: &'static str) -> Self {
        let title = titles.get(id).map(|_| session_title(titles, id));
        Self { id: id.to_string(), title, fragment }
    }

    /// By the start alone, where the page is about the definition.
    pub(crate) fn by_start(titles: &SessionTitles, id: &SessionId, fragment: &'static str) -> Self {
        let title = titles.get(id).map(|title| to_minute(title.starts_at));
        Self { id: id.to_string(), title, fragment }
    }

    fn short(&self) -> String {
        short_id(&self.id)
    }
}

/// A session as people know it, e.g. `First steps, 2026-03-01 10:00`.
pub(crate) fn session_name(session: &SessionRow) -> String {
    known_as(session.definition_name.as_deref(), &session.definition_id, session.starts_at())
}

fn known_as(definition_name: Option<&str>, definition_id: &DefinitionId, starts_at: DateTime<Utc>) -> String {
    format!("{}, {}", definition_name.unwrap_or(definition_id.as_str()), to_minute(starts_at))
}

/// The same, of a session of which only the id is at hand; its short id where nothing else is known.
pub(crate) fn session_title(titles: &SessionTitles, id: &SessionId) -> String {
    titles.get(id).map_or_else(
        || short_id(id),
        |title| known_as(title.definition_name.as_deref(), &title.definition_id, title.starts_at),
    )
}

/// When a session starts, where the page is about the definition; its short id where that is unknown.
pub(crate) fn session_start(titles: &SessionTitles, id: &SessionId) -> String {
    titles.get(id).map_or_else(|| short_id(id), |title| to_minute(title.starts_at))
}

/// A thing with a name that links to its page, by its id where it has none.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<a href="{{ path }}{{ id }}" title="{{ id }}">{{ name }}</a>{% if has_id %} <button type="button" class="copy id" data-copy aria-label="Copy id {{ self.short() }}">{{ self.short() }}</button>{% endif %}"#,
    ext = "html"
)]
pub(crate) struct NamedLink {
    path: &'static str,
    id: String,
    name: String,
    has_id: bool,
}

impl HtmlSafe for NamedLink {}

impl NamedLink {
    /// To a definition's page.
    pub(crate) fn definition(id: &DefinitionId, name: Option<&String>) -> Self {
        Self::new("/definitions/", id.to_string(), name)
    }

    /// To a worker's page.
    pub(crate) fn worker(id: &WorkerId, name: Option<&String>) -> Self {
        Self::new("/workers/", id.to_string(), name)
    }

    fn new(path: &'static str, id: String, name: Option<&String>) -> Self {
        Self { path, name: name.unwrap_or(&id).clone(), id, has_id: false }
    }

    /// With its short id beside it, to be copied.
    pub(crate) fn with_id(self) -> Self {
        Self { has_id: true, ..self }
    }

    fn short(&self) -> String {
        short_id(&self.id)
    }
}

/// A sign and a word.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="badge {{ tone.class() }}"><span aria-hidden="true">{{ sign }}</span> {{ words }}</span>"#,
    ext = "html"
)]
pub(crate) struct Badge {
    /// Its colour.
    pub(crate) tone: Tone,
    /// Its sign, which says nothing that the words do not.
    pub(crate) sign: &'static str,
    /// Its words.
    pub(crate) words: String,
}

impl HtmlSafe for Badge {}

impl Badge {
    /// With this sign and these words.
    pub(crate) fn new(tone: Tone, sign: &'static str, words: impl Into<String>) -> Self {
        Self { tone, sign, words: words.into() }
    }

    /// Where a session is in its life.
    pub(crate) fn status(status: &SessionStatus) -> Self {
        let (tone, sign) = match status {
            SessionStatus::Pending | SessionStatus::Scheduled => (Tone::Calm, "◌"),
            SessionStatus::Instantiating | SessionStatus::Ready => (Tone::Calm, "◔"),
            SessionStatus::Running => (Tone::Good, "▶"),
            SessionStatus::Collecting | SessionStatus::Grading => (Tone::Good, "◑"),
            SessionStatus::Stopping | SessionStatus::Stopped | SessionStatus::Archived => (Tone::Calm, "■"),
            SessionStatus::Terminated | SessionStatus::Expired => (Tone::Warn, "✕"),
        };
        Self::new(tone, sign, status.as_str())
    }

    /// That a session goes on after its timeslot; `None`: it does not.
    pub(crate) fn overdue(session: &SessionRow, now: &DateTime<Utc>) -> Option<Self> {
        let is_up = match session.status {
            SessionStatus::Instantiating | SessionStatus::Ready | SessionStatus::Running => true,
            SessionStatus::Pending
            | SessionStatus::Scheduled
            | SessionStatus::Collecting
            | SessionStatus::Grading
            | SessionStatus::Stopping
            | SessionStatus::Stopped
            | SessionStatus::Archived
            | SessionStatus::Terminated
            | SessionStatus::Expired => false,
        };
        let over = session.timeslot.as_ref().is_some_and(|timeslot| timeslot.is_over(*now));
        (is_up && over).then(|| Self::new(Tone::Warn, "◷", "timeslot is over"))
    }

    /// Whether ports drifted; `None`: unknown.
    pub(crate) fn drift(drifted: &Option<bool>) -> Self {
        Self::drift_state(&match drifted {
            Some(true) => DriftState::Open,
            Some(false) => DriftState::None,
            None => DriftState::Unknown,
        })
    }

    /// How a session's ports stand at a time.
    pub(crate) fn ports(session: &SessionRow, now: &DateTime<Utc>) -> Self {
        Self::drift_state(&session.drift_state(*now))
    }

    /// How ports stand.
    pub(crate) fn drift_state(state: &DriftState) -> Self {
        match state {
            DriftState::Open => Self::new(Tone::Warn, "▲", "ports drifted"),
            DriftState::Acknowledged => Self::new(Tone::Calm, "✓", "drift acknowledged"),
            DriftState::None => Self::new(Tone::Good, "✓", "ports as planned"),
            DriftState::Unknown => Self::new(Tone::Calm, "?", "ports unknown"),
        }
    }

    /// Why an observation counts nowhere, or that some of its numbers do not; `None`: all count.
    pub(crate) fn doubt(contradictions: &[Contradiction], no_evidence: &Option<NoEvidence>) -> Option<Self> {
        match no_evidence {
            Some(NoEvidence::NothingRan) => Some(Self::new(Tone::Calm, "○", "no evidence: nothing ran")),
            None if contradictions.is_empty() => None,
            None => Some(Self::new(Tone::Warn, "≠", "inconsistent")),
        }
    }

    /// Whether an observation saw everything; `None`: its sender did not say.
    pub(crate) fn complete(complete: &Option<bool>) -> Self {
        match complete {
            Some(true) => Self::new(Tone::Good, "✓", "complete"),
            Some(false) => Self::new(Tone::Warn, "◐", "incomplete"),
            None => Self::new(Tone::Calm, "?", "coverage unknown"),
        }
    }

    /// How a request for an observation stands.
    pub(crate) fn outcome(outcome: &RequestOutcome) -> Self {
        match outcome {
            RequestOutcome::Open => Self::new(Tone::Warn, "…", "open"),
            RequestOutcome::Recorded => Self::new(Tone::Good, "✓", "recorded"),
            RequestOutcome::Failed => Self::new(Tone::Bad, "✕", "failed"),
            RequestOutcome::Skipped => Self::new(Tone::Calm, "→", "skipped"),
        }
    }

    /// How an allocated and an observed port compare.
    pub(crate) fn comparison(comparison: &PortComparison) -> Self {
        match comparison {
            PortComparison::AsPlanned => Self::new(Tone::Good, "✓", "as planned"),
            PortComparison::Renamed => Self::new(Tone::Good, "✓", "as planned, named otherwise"),
            PortComparison::Added => Self::new(Tone::Warn, "+", "added"),
            PortComparison::Removed => Self::new(Tone::Warn, "−", "removed"),
            PortComparison::Changed => Self::new(Tone::Warn, "≠", "changed"),
            PortComparison::Unallocated => Self::new(Tone::Calm, "○", "nothing was allocated"),
            PortComparison::Unknown => Self::new(Tone::Calm, "?", "unknown"),
        }
    }
}

/// A total that is not the sum of its own nodes, in words and with both numbers.
pub(crate) fn contradiction(found: &Contradiction) -> String {
    let told = |value: &f64| {
        if found.field.ends_with("cpu_cores") { known_cores(&Some(*value)) } else { format!("{} MB", number(value)) }
    };
    format!(
        "{} says {}, its nodes add up to {}: it is no evidence",
        found.field,
        told(&found.stated),
        told(&found.of_nodes)
    )
}

/// A number for people: at most two decimals, and no trailing zeros.
pub(crate) fn number(value: &f64) -> String {
    // Most are whole, for which rounding by decimals is slowest.
    if value.fract() == 0.0 {
        return if *value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The same, or that it is unknown.
pub(crate) fn known(value: &Option<f64>) -> String {
    value.as_ref().map_or_else(|| "unknown".to_owned(), number)
}

/// MB as GB, at 1024 MB to a GB as CML counts, or that it is unknown.
pub(crate) fn known_gb(megabytes: &Option<f64>) -> String {
    megabytes.map_or_else(|| "unknown".to_owned(), |megabytes| format!("{} GB", grouped(&gigabytes(megabytes))))
}

/// MB as GB, at 1024 MB to a GB as CML counts.
pub(crate) fn gigabytes(megabytes: f64) -> f64 {
    megabytes / 1024.0
}

/// The same with its thousands apart, e.g. `1,330`.
pub(crate) fn grouped(value: &f64) -> String {
    let text = number(value);
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |(whole, fraction)| (whole, fraction));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !fraction.is_empty() {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

/// Cores, or that they are unknown.
pub(crate) fn known_cores(cores: &Option<f64>) -> String {
    match cores {
        None => "unknown".to_owned(),
        Some(cores) => format!("{} {}", grouped(cores), if number(cores) == "1" { "core" } else { "cores" }),
    }
}

/// What was used of CPU and memory, e.g. `0.5 cores, 1.2 GB`; that nothing is known is said once.
pub(crate) fn used(of_each: &ByResource<Option<f64>>) -> String {
    match (of_each.cpu_cores, of_each.memory_mb) {
        (None, None) => "unknown".to_owned(),
        (cores, memory) => format!("{}, {}", known_cores(&cores), known_gb(&memory)),
    }
}

/// What a session used of what it was given, e.g. `0.5 / 3 cores, 1.2 / 4 GB`; that nothing is known is said once.
pub(crate) fn used_of_allocated(session: &SessionRow) -> String {
    let (cores, memory) = (known_cores(&session.nominal_cpu_cores), known_gb(&session.nominal_memory_mb));
    if session.used.cpu_cores.is_none() && session.used.memory_mb.is_none() {
        return format!("unknown / {cores}, {memory}");
    }
    let used_gb = known(&session.used.memory_mb.map(gigabytes));
    format!("{} / {cores}, {used_gb} / {memory}", known(&session.used.cpu_cores))
}

/// `1 session`, `2 sessions`.
pub(crate) fn counted(count: &u64, singular: &str) -> String {
    let count = *count;
    if count == 1 { format!("1 {singular}") } else { format!("{count} {singular}s") }
}

/// `never`, `once`, `2 times`.
pub(crate) fn times(count: &u64) -> String {
    match *count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// A text as one part of a path or a query.
pub(crate) fn encoded(text: impl AsRef<str>) -> String {
    url::form_urlencoded::byte_serialize(text.as_ref().as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_relative_with_the_time_itself_at_hand() {
        let at: DateTime<Utc> = "2026-03-01T10:00:00Z".parse().unwrap();
        let when = |seconds| When::new(&at, &(at + TimeDelta::seconds(seconds)));
        insta::assert_snapshot!(when(65).render().unwrap(), @r#"<time datetime="2026-03-01T10:00:00.000Z" title="2026-03-01 10:00:00 UTC" data-relative>1 min ago</time>"#);
        let told = [0, 59, 3_599, 7_200, 200_000, -90].map(|seconds| when(seconds).relative());
        assert_eq!(told, ["now", "59 s ago", "59 min ago", "2 h ago", "2 d ago", "in 1 min"]);
        assert_eq!(to_minute(at + TimeDelta::milliseconds(59_999)), "2026-03-01 10:00");
    }

    #[test]
    fn a_session_is_named_by_the_end_of_its_uuid_with_the_whole_at_hand() {
        let link = SessionLink::by_id(&SessionId::parse("019b2c1e-5f7a-7c3e-9d4b-00000000abcd").unwrap(), "#ports");
        insta::assert_snapshot!(link.render().unwrap(), @r##"<a class="id" href="/sessions/019b2c1e-5f7a-7c3e-9d4b-00000000abcd#ports" title="019b2c1e-5f7a-7c3e-9d4b-00000000abcd">…0000abcd</a>"##);
        assert_eq!(short_id(&"order-7"), "order-7");
    }

    #[test]
    fn a_number_has_no_more_decimals_than_it_needs() {
        assert_eq!(
            [7.0, 8.25, 0.1 + 0.2, -0.001, -0.0, 1e15, 1234.5].map(|value| number(&value)),
            ["7", "8.25", "0.3", "0", "0", "1000000000000000", "1234.5"]
        );
        assert_eq!(known_gb(&Some(8448.0)), "8.25 GB");
        assert_eq!(known_cores(&Some(1.0)), "1 core");
    }

    #[test]
    fn thousands_stand_apart() {
        let told = [0.0, 999.0, 1_330.0, -1_234_567.5, 12_345.678].map(|value| grouped(&value));
        assert_eq!(told, ["0", "999", "1,330", "-1,234,567.5", "12,345.68"]);
    }

    #[test]
    fn unknown_is_said_and_is_no_zero() {
        assert_eq!(
            (known(&None), known_gb(&None), known_cores(&None)),
            ("unknown".into(), "unknown".into(), "unknown".into())
        );
        assert_eq!(Badge::drift(&None).words, "ports unknown");
        let half = ByResource { cpu_cores: Some(0.5), ..ByResource::default() };
        assert_eq!((used(&ByResource::default()), used(&half)), ("unknown".into(), "0.5 cores, unknown".into()));
    }

    #[test]
    fn what_others_wrote_is_text() {
        let html = CopyId::new(&r#"<b>"x"</b>"#).render().unwrap();
        assert!(!html.contains("<b>") && !html.contains("\"x\""), "{html}");
    }
}
