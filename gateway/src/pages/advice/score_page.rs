//! `GET /advice`: whether advice held, by resource, over time and by what was known; what is found of all definitions; what
//! is proposed; and the default policy.

use advice::advice_score::AdviceScore;
use advice::scores::Bucket;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::lablet_definition::ProposalStatus;
use domain::resource::Resource;
use projections::read_models::advice::counts::VerdictCount;
use projections::read_models::advice::proposals::ProposalFilter;
use projections::read_models::advice::score::{AdviceMiss, AdviceScoreFilter, AdviceScoreReport};
use projections::read_models::sessions::SessionTitles;
use projections::{PageRequest, ReadModel};

use super::amounts::{self, amount, percent};
use super::policy::PolicyNow;
use super::policy_draft;
use super::score_chart::ScoreChart;
use crate::caller::{Caller, Viewing};
use crate::pages::parts::{Badge, SessionLink, Tone, When};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::verdict;
use crate::pages::visit::Visit;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Misses that are listed.
const MOST_MISSES: usize = 40;
/// Open proposals that are counted.
const MOST_COUNTED: u32 = 200;
/// Months that are drawn, the newest.
const MOST_MONTHS: usize = 24;
/// How far below the promise advice may be before it is a warning.
const TOLERATED: f64 = 0.02;

/// How advice did, of one resource.
struct ScoreRow {
    name: String,
    promised: String,
    achieved: String,
    verdict: Badge,
    count: u64,
    silent: u64,
    waste: String,
    configured_waste: String,
    nominal_waste: String,
}

/// A session that needed more than was advised.
struct MissRow {
    session: SessionLink,
    resource: &'static str,
    advised: String,
    needed: String,
    event: Option<String>,
    known: u64,
    ended: When,
}

#[derive(Template)]
#[template(path = "advice.html")]
struct AdvicePage {
    shell: Shell,
    totals: Vec<ScoreRow>,
    charts: Vec<ScoreChart>,
    by_sessions: Vec<(Resource, Vec<ScoreRow>)>,
    verdicts: Vec<(Badge, u64)>,
    misses: Vec<MissRow>,
    more_misses: usize,
    policy: PolicyNow,
    members: Vec<(&'static str, String)>,
    /// Where open proposals are listed, and how many there are.
    open_proposals: (String, String),
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
) -> Result<Response, Problem> {
    since.reached(&queries, &[ReadModel::Advice]).await?;
    let report = queries.advice_score(&AdviceScoreFilter::default()).await?;
    let policy = PolicyNow::of_all(&queries).await?;
    let verdicts = queries.definitions_by_verdict().await?;
    let open = ProposalFilter { definition_id: None, status: Some(ProposalStatus::Open) };
    let open = queries.proposals(&open, &PageRequest::first(MOST_COUNTED)).await?;
    let count = match open.next {
        None => open.items.len().to_string(),
        Some(_) => format!("more than {MOST_COUNTED}"),
    };
    let misses = &report.misses[..report.misses.len().min(MOST_MISSES)];
    let titles = queries.session_titles(misses.iter().map(|miss| miss.session_id.clone()).collect()).await?;
    page(&AdvicePage {
        shell: Shell::new(&visit, Section::Advice)
            .twin("/api/advice-score")
            .live("/api/stream?aggregate=lablet_definition"),
        totals: report.totals.iter().map(|total| score_row(amounts::name(total.resource), &total.score)).collect(),
        charts: Resource::ALL.into_iter().filter_map(|resource| chart(resource, &report)).collect(),
        by_sessions: by_sessions(&report),
        verdicts: verdicts.iter().map(verdict_row).collect(),
        misses: misses.iter().map(|miss| miss_row(miss, &titles, &visit)).collect(),
        more_misses: report.misses.len() - misses.len(),
        members: policy_draft::members(&policy.applies()),
        policy,
        open_proposals: (format!("/proposals?status={}", ProposalStatus::Open), count),
    })
}

fn chart(resource: Resource, report: &AdviceScoreReport) -> Option<ScoreChart> {
    let mut months: Vec<(String, AdviceScore)> = report
        .by_month
        .iter()
        .filter(|month| month.score.resource == resource)
        .map(|month| (month.month.clone(), month.score.score))
        .collect();
    months.drain(..months.len().saturating_sub(MOST_MONTHS));
    let title = format!("{}: promised and achieved by month", amounts::name(resource));
    ScoreChart::new(&format!("months-{}", resource.as_str()), &title, &months)
}

fn by_sessions(report: &AdviceScoreReport) -> Vec<(Resource, Vec<ScoreRow>)> {
    let of = |resource: Resource| {
        let rows: Vec<ScoreRow> = report
            .by_sessions
            .iter()
            .filter(|part| part.score.resource == resource)
            .map(|part| score_row(bucket(part.sessions_before), &part.score.score))
            .collect();
        (!rows.is_empty()).then_some((resource, rows))
    };
    Resource::ALL.into_iter().filter_map(of).collect()
}

fn bucket(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::None => "0",
        Bucket::From1 => "1 to 2",
        Bucket::From3 => "3 to 5",
        Bucket::From6 => "6 to 10",
        Bucket::From11 => "11 to 20",
        Bucket::From21 => "21 to 50",
        Bucket::From51 => "51 and more",
    }
}

fn score_row(name: &str, score: &AdviceScore) -> ScoreRow {
    let verdict = match score.promised.zip(score.achieved) {
        None => Badge::new(Tone::Calm, "?", "nothing was advised"),
        Some((promised, achieved)) if achieved + TOLERATED < promised => {
            Badge::new(Tone::Warn, "▲", "below the promise")
        }
        Some(_) => Badge::new(Tone::Good, "✓", "kept"),
    };
    ScoreRow {
        name: name.to_owned(),
        promised: percent(score.promised),
        achieved: percent(score.achieved),
        verdict,
        count: score.count,
        silent: score.silent,
        waste: percent(score.waste),
        configured_waste: percent(score.configured_waste),
        nominal_waste: percent(score.nominal_waste),
    }
}

fn verdict_row(count: &VerdictCount) -> (Badge, u64) {
    (verdict::named(count.verdict), count.definitions)
}

fn miss_row(miss: &AdviceMiss, titles: &SessionTitles, visit: &Visit) -> MissRow {
    let advice = &miss.advice;
    MissRow {
        session: SessionLink::titled(titles, &miss.session_id, "#evidence"),
        resource: amounts::name(miss.resource),
        advised: amount(miss.resource, advice.scored.advised),
        needed: amount(miss.resource, Some(advice.scored.demand)),
        event: miss.event_id.map(|event| event.to_string()),
        known: advice.sessions_before,
        ended: When::new(&miss.ended_at, &visit.now),
    }
}

#[cfg(test)]
mod tests {
    use advice::sizing::SizeVerdict;

    use super::*;

    fn score(promised: Option<f64>, achieved: Option<f64>) -> AdviceScore {
        AdviceScore {
            count: 20,
            silent: 1,
            promised,
            achieved,
            waste: Some(0.25),
            configured_waste: None,
            nominal_waste: None,
        }
    }

    #[test]
    fn a_promise_counts_as_kept_within_two_points_and_what_is_unknown_is_said() {
        let told = |promised, achieved| score_row("Memory", &score(promised, achieved)).verdict.words;
        assert_eq!(told(Some(0.95), Some(0.94)), "kept");
        assert_eq!(told(Some(0.95), Some(0.9)), "below the promise");
        assert_eq!(told(None, None), "nothing was advised");
        let row = score_row("Memory", &score(Some(0.95), Some(1.0)));
        assert_eq!((row.waste.as_str(), row.configured_waste.as_str()), ("25 %", "unknown"));
    }

    #[test]
    fn definitions_are_counted_by_their_verdict() {
        let count = VerdictCount { verdict: SizeVerdict::TooSmall, definitions: 2 };
        assert_eq!(verdict_row(&count).0.words, "too small");
    }
}
