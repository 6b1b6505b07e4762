//! `GET /sizing`: which sizes are off, by what that costs over the sessions of a week; too small apart from too large.

use advice::sizing::SizeVerdict;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::Invalid;
use domain::resource::Resource;
use projections::read_models::advice::sizing_gaps::{
    MOST_GAPS, SizingGap, SizingGapFilter, SizingGapSort, SizingTotal,
};
use projections::read_models::advice::sizing_ranking::SizingRanking;
use projections::{Listed, ReadModel};
use serde::{Deserialize, Serialize};

use super::advice::amounts::{self, amount, percent, unbroken};
use super::definition::draft::Draft;
use super::parts::{self, Badge};
use super::query::{PageQuery, address};
use super::shell::{Section, Shell, page};
use super::table::{Column, Format, cell, csv_without};
use super::verdict;
use super::visit::Visit;
use crate::answer_cache::AnswerCache;
use crate::caller::{Caller, Viewing};
use crate::paging::check_text;
use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Rows of each table.
const ROWS: u32 = 100;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SizingQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<SizeVerdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Resource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<SizingGapSort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
}

impl SizingQuery {
    fn filter(&self) -> Result<SizingGapFilter, Invalid> {
        Ok(SizingGapFilter {
            verdict: self.verdict,
            resource: self.resource,
            text: check_text("text", self.text.clone())?,
            sort: self.sort.unwrap_or_default(),
        })
    }

    fn is_filtered(&self) -> bool {
        self.text.is_some() || self.resource.is_some() || self.verdict.is_some()
    }
}

/// A size that is off, as a row.
pub(crate) struct GapRow {
    pub(crate) key: String,
    pub(crate) definition_id: String,
    pub(crate) definition: String,
    pub(crate) resource: &'static str,
    pub(crate) verdict: Badge,
    pub(crate) because: String,
    /// What is configured and what would do.
    pub(crate) change: String,
    /// The largest use, with the event that says so.
    pub(crate) used: String,
    pub(crate) used_share: Option<String>,
    pub(crate) used_event: Option<String>,
    pub(crate) sessions_a_week: String,
    pub(crate) weekly: String,
    pub(crate) share: String,
    /// The review of the size that would do; `None`: there is none.
    pub(crate) review: Option<String>,
}

impl GapRow {
    pub(crate) fn new(gap: &SizingGap) -> Self {
        let (resource, sizing) = (gap.resource, &gap.sizing);
        let used = gap.largest_use.as_ref().map(|used| used.value);
        Self {
            key: format!("{}-{}", gap.definition_id, resource.as_str()),
            definition_id: gap.definition_id.to_string(),
            definition: gap.definition_name.clone(),
            resource: amounts::name(resource),
            verdict: verdict::sized(resource, sizing),
            because: verdict::because(resource, sizing),
            change: verdict::change(resource, sizing),
            used: amount(resource, used),
            used_share: verdict::share_used(sizing.configured, used),
            used_event: gap.largest_use.as_ref().map(|used| used.event_id.to_string()),
            sessions_a_week: parts::grouped(&gap.sessions_a_week),
            weekly: verdict::weekly(resource, gap.weekly_gap),
            share: percent(gap.share.map(rounded)),
            review: sizing.sufficient.map(|_| Draft::of_recommended_size().review_address(&gap.definition_id)),
        }
    }
}

/// A share to a tenth of a per cent.
fn rounded(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}

/// Sizes with one verdict.
struct GapTable {
    id: &'static str,
    title: &'static str,
    /// What they are together.
    together: String,
    nothing: &'static str,
    rows: Vec<GapRow>,
    /// How many there are of which these are the first.
    in_all: u64,
}

/// How many sizes there are with a verdict.
struct VerdictTile {
    path: String,
    count: u64,
    words: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "sizing.html")]
struct SizingPage {
    shell: Shell,
    query: SizingQuery,
    text: String,
    tiles: Vec<VerdictTile>,
    tables: Vec<GapTable>,
    is_filtered: bool,
    csv: String,
    json: String,
}

pub(crate) async fn show(
    (State(queries), State(cache)): (State<Queries>, State<AnswerCache<SizingRanking>>),
    _: Caller<Viewing>,
    since: Since,
    visit: Visit,
    PageQuery(query): PageQuery<SizingQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter()?;
    let reached = since.reached(&queries, &[ReadModel::Definitions, ReadModel::Advice]).await?;
    let ranking = cache.get(reached.0, queries.sizing_ranking(visit.now)).await?;
    let mut unreadable = ranking.unreadable().to_vec();
    if query.format == Some(Format::Csv) {
        let found = queries.sizing_gaps(&ranking, &filter, MOST_GAPS).await?;
        unreadable.extend(found.unreadable);
        return csv_without("sizing-gaps", &COLUMNS, &found.items, &unreadable);
    }
    let shown = query.verdict.map_or_else(|| vec![SizeVerdict::TooSmall, SizeVerdict::TooLarge], |one| vec![one]);
    let mut tables = Vec::new();
    for verdict in shown {
        let of_verdict = SizingGapFilter { verdict: Some(verdict), ..filter.clone() };
        let Listed { items, unreadable: without } = queries.sizing_gaps(&ranking, &of_verdict, ROWS).await?;
        unreadable.extend(without);
        tables.push(table(verdict, &query, ranking.totals(), &items));
    }
    let at_rest = SizingQuery { format: None, ..query.clone() };
    let json = address("/api/sizing-gaps", &at_rest);
    page(&SizingPage {
        shell: Shell::new(&visit, Section::Definitions).twin(json.clone()).without(unreadable),
        text: query.text.clone().unwrap_or_default(),
        tiles: SizeVerdict::ALL.map(|verdict| tile(verdict, &at_rest, ranking.totals())).into(),
        tables,
        is_filtered: query.is_filtered(),
        csv: address("/sizing", &SizingQuery { format: Some(Format::Csv), ..at_rest.clone() }),
        json,
        query,
    })
}

fn table(verdict: SizeVerdict, query: &SizingQuery, totals: &[SizingTotal], gaps: &[SizingGap]) -> GapTable {
    let (id, title, nothing) = match verdict {
        SizeVerdict::TooSmall => ("too-small", "Too small", "No size is known to be too small."),
        SizeVerdict::TooLarge => ("too-large", "Too large", "No size is known to be too large."),
        SizeVerdict::Fits => ("fits", "Fits", "Of no size it is known that it fits."),
        SizeVerdict::Unknown => ("unknown", "Unknown", "Of every size it is known what sessions used."),
    };
    let asked = |total: &&SizingTotal| {
        total.verdict == verdict && query.resource.is_none_or(|resource| resource == total.resource)
    };
    let of_verdict: Vec<&SizingTotal> = totals.iter().filter(asked).collect();
    let together = of_verdict.iter().filter(|total| total.weekly_gap.is_some_and(|gap| gap > 0.0)).map(|total| {
        let share = total
            .share
            .map(rounded)
            .map_or_else(String::new, |share| format!(" ({} of what is configured)", unbroken(&percent(Some(share)))));
        format!(
            "{}: {} a week{share}",
            amounts::name(total.resource),
            unbroken(&verdict::weekly(total.resource, total.weekly_gap))
        )
    });
    let together: Vec<String> = together.collect();
    // Totals are over all definitions, so a text that narrows the list leaves only its own rows to be counted.
    let in_all = match query.text {
        None => of_verdict.iter().map(|total| total.definitions).sum(),
        Some(_) => gaps.len() as u64,
    };
    GapTable {
        id,
        title,
        together: if query.text.is_none() { together.join("; ") } else { String::new() },
        nothing,
        rows: gaps.iter().map(GapRow::new).collect(),
        in_all,
    }
}

fn tile(verdict: SizeVerdict, query: &SizingQuery, totals: &[SizingTotal]) -> VerdictTile {
    let is_chosen = query.verdict == Some(verdict);
    let verdict_asked = (!is_chosen).then_some(verdict);
    VerdictTile {
        path: address("/sizing", &SizingQuery { verdict: verdict_asked, ..query.clone() }),
        count: totals.iter().filter(|total| total.verdict == verdict).map(|total| total.definitions).sum(),
        words: match verdict {
            SizeVerdict::TooSmall => "sizes too small",
            SizeVerdict::TooLarge => "sizes too large",
            SizeVerdict::Fits => "sizes that fit",
            SizeVerdict::Unknown => "sizes unknown",
        },
        is_chosen,
    }
}

/// The gaps as CSV. Amounts are in the unit of their row; what is unknown is empty.
pub(crate) const COLUMNS: [Column<SizingGap>; 19] = [
    ("definition_id", |row| row.definition_id.to_string()),
    ("definition_name", |row| row.definition_name.clone()),
    ("version", |row| row.version.as_str().to_owned()),
    ("revision", |row| row.revision.to_string()),
    ("resource", |row| row.resource.as_str().to_owned()),
    ("unit", |row| row.resource.unit_name().to_owned()),
    ("verdict", |row| row.sizing.verdict.as_str().to_owned()),
    ("because", |row| verdict::because(row.resource, &row.sizing)),
    ("configured", |row| units(row, row.sizing.configured)),
    ("sufficient", |row| units(row, row.sizing.sufficient)),
    ("difference", |row| units(row, row.sizing.difference)),
    ("largest_use", |row| units(row, row.largest_use.as_ref().map(|used| used.value))),
    ("largest_use_session_id", |row| cell(row.largest_use.as_ref().map(|used| &used.session_id))),
    ("largest_use_event_id", |row| cell(row.largest_use.as_ref().map(|used| used.event_id).as_ref())),
    ("known_sessions", |row| row.sizing.known_sessions.to_string()),
    ("sessions_in_4_weeks", |row| row.sessions_in_4_weeks.to_string()),
    ("sessions_a_week", |row| row.sessions_a_week.to_string()),
    ("weekly_gap", |row| units(row, row.weekly_gap)),
    ("share", |row| cell(row.share.as_ref())),
];

/// An amount of cores or MB in the unit of its row: cores or GB.
fn units(row: &SizingGap, amount: Option<f64>) -> String {
    cell(amount.map(|amount| amount / row.resource.unit()).as_ref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn total(verdict: &str, resource: &str, definitions: u64, weekly_gap: Option<f64>) -> SizingTotal {
        let value = json!({"verdict": verdict, "resource": resource, "definitions": definitions,
            "weekly_gap": weekly_gap, "share": weekly_gap.map(|_| 0.612_34)});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_off_is_added_up_by_resource_and_the_rest_is_counted() {
        let totals = [
            total("too_large", "storage_mb", 2, Some(95.0 * 1024.0 * 14.0)),
            total("too_large", "cpu_cores", 1, Some(0.0)),
            total("unknown", "cpu_cores", 3, None),
        ];
        let found = table(SizeVerdict::TooLarge, &SizingQuery::default(), &totals, &[]);
        assert_eq!(found.together, "Storage: 1,330\u{a0}GB·sessions a week (61.2\u{a0}% of what is configured)");
        assert_eq!(found.in_all, 3);
        let tiles = SizeVerdict::ALL.map(|verdict| tile(verdict, &SizingQuery::default(), &totals));
        assert_eq!(tiles.map(|tile| tile.count), [0, 3, 0, 3]);
    }
}
