//! What a size would have meant for the sessions of the past, resource by resource.

use advice::back_test::BackTest;
use askama::Template;
use askama::filters::HtmlSafe;
use domain::SessionId;
use domain::demand::ByResource;
use domain::resource::Resource;
use projections::ReadError;
use projections::read_models::advice::back_test::BackTestReport;

use super::amounts::{self, amount};
use crate::pages::parts::{self, Badge, SessionLink, Tone};
use crate::queries::Queries;

/// Sessions that are listed at once; the others are behind a fold.
const MOST_LISTED: usize = 8;
/// Where a session's page shows what it used.
const USAGE: &str = "#usage";

/// A back-test of one size, or of several beside each other.
#[derive(Debug, Clone, Template)]
#[template(path = "advice/back_test.html")]
pub(crate) struct BackTestTable {
    rows: Vec<BackTestRow>,
    short: Vec<ShortSessions>,
    /// Whether the rows are told apart by the size that they are of.
    names_sizes: bool,
    /// Whether what was needed while booting counts.
    include_boot: bool,
}

impl HtmlSafe for BackTestTable {}

#[derive(Debug, Clone)]
struct BackTestRow {
    resource: &'static str,
    of: String,
    size: String,
    sessions: u64,
    unknown: u64,
    verdict: Badge,
    worst: String,
    unused: String,
    is_short: bool,
}

/// Sessions that would have been short of a resource.
#[derive(Debug, Clone)]
struct ShortSessions {
    title: String,
    /// Each with what it needed, in words.
    sessions: Vec<(SessionId, SessionLink, String)>,
    /// Those that are not listed.
    more: u64,
}

impl BackTestTable {
    /// Of one size.
    pub(crate) fn new(tests: &ByResource<BackTest>) -> Self {
        Self::of_sizes(&[("", tests)])
    }

    /// Of several sizes, each with what it is called.
    pub(crate) fn beside(sizes: &[(String, ByResource<BackTest>)]) -> Self {
        let sizes: Vec<(&str, &ByResource<BackTest>)> =
            sizes.iter().map(|(name, tests)| (name.as_str(), tests)).collect();
        Self::of_sizes(&sizes)
    }

    /// Says whether what was needed while booting counts.
    #[must_use]
    pub(crate) fn including_boot(self, include_boot: bool) -> Self {
        Self { include_boot, ..self }
    }

    /// Of one size, with its sessions by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn of_report(queries: &Queries, report: &BackTestReport) -> Result<Self, ReadError> {
        Self::new(&report.resources).including_boot(report.include_boot).named(queries).await
    }

    /// With the starts of the sessions that would have been short, by which they are known.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn named(mut self, queries: &Queries) -> Result<Self, ReadError> {
        let listed = self.short.iter().flat_map(|group| &group.sessions);
        let titles = queries.session_titles(listed.map(|(id, ..)| id.clone()).collect()).await?;
        for (id, link, _) in self.short.iter_mut().flat_map(|group| &mut group.sessions) {
            *link = SessionLink::by_start(&titles, id, USAGE);
        }
        Ok(self)
    }

    fn of_sizes(sizes: &[(&str, &ByResource<BackTest>)]) -> Self {
        let names_sizes = sizes.len() > 1;
        let each = || Resource::ALL.into_iter().flat_map(|resource| sizes.iter().map(move |size| (resource, size)));
        Self {
            rows: each().map(|(resource, (of, tests))| row(resource, of, resource.part(tests))).collect(),
            short: each()
                .filter_map(|(resource, (of, tests))| {
                    let of = if of.is_empty() { String::new() } else { format!(" ({of})") };
                    short_sessions(resource, &of, resource.part(tests))
                })
                .collect(),
            names_sizes,
            include_boot: false,
        }
    }
}

fn row(resource: Resource, of: &str, test: &BackTest) -> BackTestRow {
    let verdict = match (test.sessions, test.sessions_short) {
        (0, _) => Badge::new(Tone::Calm, "?", "unknown"),
        (_, 0) => Badge::new(Tone::Good, "✓", "none short"),
        (_, short) => Badge::new(Tone::Bad, "▲", format!("{short} short")),
    };
    BackTestRow {
        resource: amounts::name(resource),
        of: of.to_owned(),
        size: amount(resource, Some(test.size)),
        sessions: test.sessions,
        unknown: test.unknown_sessions,
        verdict,
        worst: test.worst_shortfall.map_or_else(|| "none".to_owned(), |worst| amount(resource, Some(worst))),
        unused: amount(resource, test.median_unused),
        is_short: test.sessions_short > 0,
    }
}

fn short_sessions(resource: Resource, of: &str, test: &BackTest) -> Option<ShortSessions> {
    let sessions: Vec<_> = test
        .short
        .iter()
        .map(|short| {
            let words = format!(
                "needed {}, {} more",
                amount(resource, Some(short.demand)),
                amount(resource, Some(short.shortfall))
            );
            (short.session_id.clone(), SessionLink::by_id(&short.session_id, USAGE), words)
        })
        .collect();
    (!sessions.is_empty()).then(|| ShortSessions {
        title: format!("Short of {}{of}: {}", amounts::noun(resource), parts::counted(&test.sessions_short, "session")),
        more: test.sessions_short.saturating_sub(sessions.len() as u64),
        sessions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use advice::back_test::PastDemand;

    fn tested(size: f64) -> BackTest {
        let past = [Some(3000.0), Some(5000.0), None, Some(4200.0)];
        let past = past.into_iter().enumerate().map(|(number, demand)| PastDemand {
            session_id: SessionId::parse(format!("s-{number}")).unwrap(),
            demand,
        });
        BackTest::new(size, &past.collect::<Vec<_>>())
    }

    #[test]
    fn sessions_that_would_have_been_short_are_counted_in_red_and_listed_with_links() {
        let tests =
            ByResource { cpu_cores: tested(1e6), memory_mb: tested(4096.0), storage_mb: BackTest::new(1.0, &[]) };
        let html = BackTestTable::new(&tests).render().unwrap();
        for text in [
            "2 short",
            "none short",
            "unknown",
            "Short of memory: 2 sessions",
            "/sessions/s-1#usage",
            "needed 4.88 GB, 0.88 GB more",
        ] {
            assert!(html.contains(text), "{text}: {html}");
        }
        assert_eq!(html.matches("badge bad").count(), 1, "{html}");
        assert!(!html.contains("boot included"), "{html}");
        let with_boot = BackTestTable::new(&tests).including_boot(true).render().unwrap();
        assert!(with_boot.contains("What sessions needed, boot included."), "{with_boot}");
        let beside =
            BackTestTable::beside(&["0.9", "0.95"].map(|name| (name.to_owned(), tests.clone()))).render().unwrap();
        assert!(
            beside.contains("Short of memory (0.95): 2 sessions") && beside.matches("2 short").count() == 2,
            "{beside}"
        );
    }
}
