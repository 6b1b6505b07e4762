//! The frame around every page: where one is, who one is, what is late, and how the page keeps itself fresh.

use std::sync::LazyLock;

use app::notice::NoticeSchema;
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use projections::freshness::Freshness;
use projections::{Parked, UnreadableRow};

use super::elsewhere::Elsewhere;
use super::visit::Visit;
use crate::attention::AttentionBadge;
use crate::authentication::Role;
use crate::problem::Problem;

/// How often a page asks for itself that shows what no event tells.
const REFRESH_SECONDS: u32 = 15;

/// Rows that cannot be read which a page names one by one.
const MOST_NAMED: usize = 10;

/// A part of the pages, as the navigation names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// What goes on as a whole.
    Overview,
    /// Sessions.
    Sessions,
    /// Definitions.
    Definitions,
    /// Whether advice held, what is proposed, and the policy.
    Advice,
    /// Workers.
    Workers,
    /// What keeps everything running.
    Operations,
    /// None of them.
    Elsewhere,
}

impl Section {
    /// Those in the navigation.
    const ALL: [Self; 6] =
        [Self::Overview, Self::Sessions, Self::Definitions, Self::Advice, Self::Workers, Self::Operations];

    fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Sessions => "Sessions",
            Self::Definitions => "Definitions",
            Self::Advice => "Advice",
            Self::Workers => "Workers",
            Self::Operations => "Operations",
            Self::Elsewhere => "",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Overview | Self::Elsewhere => "/",
            Self::Sessions => "/sessions",
            Self::Definitions => "/definitions",
            Self::Advice => "/advice",
            Self::Workers => "/workers",
            Self::Operations => "/operations",
        }
    }
}

/// What a page's frame shows.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    /// Where one is.
    pub(crate) section: Section,
    /// Who visits; `None`: nobody is signed in.
    pub(crate) visitor: Option<Visitor>,
    /// The time at which the page was made.
    pub(crate) now: DateTime<Utc>,
    /// Path of the same content as JSON.
    pub(crate) twin: Option<String>,
    /// Path of the stream that tells when the page is out of date.
    pub(crate) stream: Option<String>,
    /// Seconds after which the page asks for itself again, as it shows what no event tells.
    pub(crate) refresh: Option<u32>,
    /// Everything up to here is on the page.
    pub(crate) position: String,
    /// How many things need somebody, as far as is known.
    pub(crate) attention: Option<AttentionBadge>,
    /// Read models that are late.
    pub(crate) late: Vec<Freshness>,
    /// What the page shows as it was before an event that could not be applied.
    pub(crate) parked: Vec<Parked>,
    /// Rows that belong on the page and cannot be read.
    pub(crate) unreadable: Vec<UnreadableRow>,
    /// What was searched for.
    pub(crate) sought: String,
    /// Where the page was read, in words, where that was a question.
    pub(crate) read_from: Option<String>,
}

/// Who visits.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// By name.
    pub(crate) name: String,
    /// In a role.
    pub(crate) role: Role,
    /// For the form that signs out; empty where nobody signed in with a browser.
    pub(crate) csrf_token: String,
}

/// A link of the navigation.
pub(crate) struct Link {
    pub(crate) title: &'static str,
    pub(crate) path: &'static str,
    pub(crate) current: bool,
}

impl Shell {
    /// The frame for a page of this section.
    pub(crate) fn new(visit: &Visit, section: Section) -> Self {
        Self {
            section,
            visitor: Some(Visitor {
                name: visit.name().to_owned(),
                role: visit.role,
                csrf_token: visit.csrf_token.clone(),
            }),
            now: visit.now,
            twin: None,
            stream: None,
            refresh: None,
            attention: visit.attention,
            position: visit.freshness.position.to_string(),
            late: visit.freshness.late.clone(),
            unreadable: Vec::new(),
            parked: Vec::new(),
            sought: String::new(),
            read_from: visit.read_from.words(),
        }
    }

    /// The frame for somebody who is not signed in.
    pub(crate) fn signed_out(now: DateTime<Utc>) -> Self {
        Self {
            section: Section::Elsewhere,
            visitor: None,
            now,
            twin: None,
            stream: None,
            refresh: None,
            attention: None,
            position: String::new(),
            late: Vec::new(),
            unreadable: Vec::new(),
            parked: Vec::new(),
            sought: String::new(),
            read_from: None,
        }
    }

    /// The same, of a page whose content is also to be had as JSON at `path`.
    #[must_use]
    pub(crate) fn twin(mut self, path: impl Into<String>) -> Self {
        self.twin = Some(path.into());
        self
    }

    /// The same, of a page that is out of date when this stream tells something.
    #[must_use]
    pub(crate) fn live(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// The same, of a page that shows what no event tells: how controllers, the bus and the database stand.
    #[must_use]
    pub(crate) fn refreshed(mut self) -> Self {
        self.refresh = Some(REFRESH_SECONDS);
        self
    }

    /// The same, of a page on which these rows are missing, as they cannot be read.
    #[must_use]
    pub(crate) fn without(mut self, unreadable: impl IntoIterator<Item = UnreadableRow>) -> Self {
        for row in unreadable {
            // One row may be missing from several tables of a page.
            if !self.unreadable.contains(&row) {
                self.unreadable.push(row);
            }
        }
        self
    }

    /// The same, of a page that shows these as they were.
    #[must_use]
    pub(crate) fn parked<'a>(mut self, parked: impl IntoIterator<Item = &'a Parked>) -> Self {
        for item in parked {
            if !self.parked.contains(item) {
                self.parked.push(item.clone());
            }
        }
        self
    }

    /// How to get the same by the API, by the command line and by SQL.
    pub(crate) fn elsewhere(&self) -> Option<Elsewhere> {
        self.twin.as_deref().map(Elsewhere::new)
    }

    /// Those of the parked that are named one by one.
    pub(crate) fn named_parked(&self) -> &[Parked] {
        &self.parked[..self.parked.len().min(MOST_NAMED)]
    }

    /// Those of the rows that cannot be read which are named one by one.
    pub(crate) fn named_unreadable(&self) -> &[UnreadableRow] {
        &self.unreadable[..self.unreadable.len().min(MOST_NAMED)]
    }

    /// The navigation.
    pub(crate) fn links(&self) -> Vec<Link> {
        Section::ALL
            .into_iter()
            .map(|section| Link { title: section.title(), path: section.path(), current: section == self.section })
            .collect()
    }

    /// The time as the page's script reads it.
    pub(crate) fn made_at(&self) -> String {
        self.now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    }

    /// Names of the events that the stream tells, as the script has to know them.
    pub(crate) fn event_types(&self) -> &'static str {
        &EVENT_TYPES
    }

    /// Version of this build.
    pub(crate) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Every event's type, separated by spaces: an `EventSource` has to be told each by name.
static EVENT_TYPES: LazyLock<String> = LazyLock::new(|| {
    let types: Vec<String> = app::notice::schemas().iter().map(NoticeSchema::cloud_event_type).collect();
    types.join(" ")
});

/// Renders a page.
///
/// # Errors
/// 500 when the template cannot be rendered.
pub(crate) fn page(template: &impl askama::Template) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| Problem::internal("a page cannot be rendered", &error))?;
    Ok(Html(html).into_response())
}
