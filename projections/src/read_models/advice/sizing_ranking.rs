//! Every size of every definition, in the order of what its gap costs.
//!
//! A gap's share rests on what all definitions state, so no index has this order: it is made of a row a definition, whose
//! verdicts the fold keeps ([`Sizing`]), and of the sessions that ended, counted by the index over their ends. Whoever asks
//! often keeps it.

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;

use advice::savings::WEEKS;
use advice::sizing::{SizeVerdict, Sizing};
use chrono::{DateTime, TimeDelta, Utc};
use domain::DefinitionId;
use domain::demand::ByResource;
use domain::lablet_definition::DefinitionVersion;
use domain::resource::Resource;
use serde::Deserialize;
use sqlx::QueryBuilder;

use super::sizing_gaps::{LargestUse, MOST_GAPS, SizingGap, SizingGapFilter, SizingGapSort, SizingTotal};
use crate::page::{self, Listed, UnreadableRow};
use crate::{Projections, ReadError};

/// Every size of every definition, the costliest gap first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SizingRanking {
    /// None has its largest use yet.
    gaps: Vec<SizingGap>,
    totals: Vec<SizingTotal>,
    /// Definitions that cannot be read.
    unreadable: Vec<UnreadableRow>,
}

/// What is known of the sizes of a definition.
#[derive(Debug, Clone, Deserialize)]
struct SizedDefinition {
    definition_id: DefinitionId,
    definition_name: String,
    version: DefinitionVersion,
    revision: u32,
    sizing: ByResource<Sizing>,
    sessions_in_4_weeks: u64,
}

impl SizedDefinition {
    #[expect(clippy::cast_precision_loss, reason = "a definition has fewer sessions than 2⁵³")]
    fn sessions_a_week(&self) -> f64 {
        self.sessions_in_4_weeks as f64 / f64::from(WEEKS)
    }

    /// What it states of this resource for its sessions of a week.
    fn weekly(&self, resource: Resource) -> Option<f64> {
        Some(resource.part(&self.sizing).configured? * self.sessions_a_week())
    }

    /// `fleet`: what all definitions state for their sessions of a week.
    fn gap(&self, resource: Resource, fleet: f64) -> SizingGap {
        let sizing = *resource.part(&self.sizing);
        let weekly_gap = sizing.difference.map(|difference| difference.abs() * self.sessions_a_week());
        SizingGap {
            definition_id: self.definition_id.clone(),
            definition_name: self.definition_name.clone(),
            version: self.version.clone(),
            revision: self.revision,
            resource,
            sizing,
            sessions_in_4_weeks: self.sessions_in_4_weeks,
            sessions_a_week: self.sessions_a_week(),
            weekly_gap,
            share: weekly_gap.filter(|_| fleet > 0.0).map(|gap| gap / fleet),
            largest_use: None,
        }
    }
}

/// What is larger comes first, what is unknown last.
fn descending(left: Option<f64>, right: Option<f64>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => right.total_cmp(&left),
        (left, right) => right.is_some().cmp(&left.is_some()),
    }
}

/// The gap as a share of what is configured.
fn relative(gap: &SizingGap) -> Option<f64> {
    let configured = gap.sizing.configured.filter(|configured| *configured > 0.0)?;
    Some(gap.sizing.difference?.abs() / configured)
}

/// The costliest first; among equals the definition and the resource decide, so that lists never jump.
fn by_cost(left: &SizingGap, right: &SizingGap) -> Ordering {
    (left.sizing.verdict.cmp(&right.sizing.verdict))
        .then_with(|| descending(left.share, right.share))
        .then_with(|| descending(relative(left), relative(right)))
        .then_with(|| left.definition_id.cmp(&right.definition_id))
        .then_with(|| left.resource.as_str().cmp(right.resource.as_str()))
}

impl SizingRanking {
    fn new(definitions: Listed<SizedDefinition>) -> Self {
        let Listed { items: definitions, unreadable } = definitions;
        let mut gaps = Vec::with_capacity(definitions.len() * Resource::ALL.len());
        for resource in Resource::ALL {
            let fleet = definitions.iter().filter_map(|definition| definition.weekly(resource)).sum();
            gaps.extend(definitions.iter().map(|definition| definition.gap(resource, fleet)));
        }
        gaps.sort_by(by_cost);
        let totals = totals(&gaps);
        Self { gaps, totals, unreadable }
    }

    /// How many definitions there are by resource and verdict, and what their gaps are together.
    pub fn totals(&self) -> &[SizingTotal] {
        &self.totals
    }

    /// Definitions whose sizes cannot be read.
    pub fn unreadable(&self) -> &[UnreadableRow] {
        &self.unreadable
    }

    /// The gaps that the filter asks for, in its order. Its text is that of these definitions; `None`: it has none.
    fn find(&self, filter: &SizingGapFilter, named: Option<&HashSet<DefinitionId>>) -> Vec<&SizingGap> {
        let is_wanted = |gap: &&SizingGap| {
            let verdict = gap.sizing.verdict;
            let is_off = matches!(verdict, SizeVerdict::TooSmall | SizeVerdict::TooLarge);
            filter.verdict.map_or(is_off, |wanted| wanted == verdict)
                && filter.resource.is_none_or(|wanted| wanted == gap.resource)
                && named.is_none_or(|named| named.contains(&gap.definition_id))
        };
        let mut found: Vec<&SizingGap> = self.gaps.iter().filter(is_wanted).collect();
        // Sorting keeps the order by cost among equals.
        match filter.sort {
            SizingGapSort::Cost => {}
            SizingGapSort::Resource => found.sort_by_key(|gap| (gap.sizing.verdict, gap.resource.as_str())),
            SizingGapSort::Sessions => found.sort_by_key(|gap| (gap.sizing.verdict, Reverse(gap.sessions_in_4_weeks))),
            SizingGapSort::Name => found.sort_by_cached_key(|gap| {
                let id = gap.definition_id.clone();
                (gap.sizing.verdict, gap.definition_name.to_lowercase(), id, gap.resource.as_str())
            }),
        }
        found
    }
}

fn totals(gaps: &[SizingGap]) -> Vec<SizingTotal> {
    let mut totals = Vec::new();
    for resource in Resource::ALL {
        for verdict in SizeVerdict::ALL {
            let counted = || gaps.iter().filter(|gap| (gap.resource, gap.sizing.verdict) == (resource, verdict));
            let sum = |part: fn(&SizingGap) -> Option<f64>| {
                counted().filter_map(part).fold(None, |sum, part| Some(sum.unwrap_or(0.0) + part))
            };
            let definitions = counted().count() as u64;
            if definitions > 0 {
                let (weekly_gap, share) = (sum(|gap| gap.weekly_gap), sum(|gap| gap.share));
                totals.push(SizingTotal { verdict, resource, definitions, weekly_gap, share });
            }
        }
    }
    totals
}

/// What the rows are called in an alarm.
const RANKING: &str = "sizing ranking";
const NAMED: &str = "definitions by text";
const LARGEST_USES: &str = "largest uses";

/// A row of the largest uses, and whose it is: the place in what was asked for, from 1.
#[derive(Debug, Deserialize)]
struct LargestUseRow {
    place: usize,
    largest_use: Option<LargestUse>,
}

#[derive(Debug, Deserialize)]
struct NamedDefinition {
    id: DefinitionId,
}

/// The largest use of each resource, by the index over it.
fn largest_use() -> String {
    let of = |resource: Resource| {
        let resource = resource.as_str();
        format!(
            "(SELECT x.session_id, x.demands -> '{resource}' -> 'demand' AS peak FROM read_advice.sessions x
               WHERE g.resource = '{resource}' AND x.definition_id = g.definition_id AND x.ended_position IS NOT NULL
                 AND x.{resource} IS NOT NULL AND NOT x.excluded
               ORDER BY x.{resource} DESC, x.ended_position LIMIT 1)"
        )
    };
    Resource::ALL.map(of).join(" UNION ALL ")
}

impl Projections {
    /// Every size of every definition by what its gap costs, with the sessions that ended in the last weeks.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sizing_ranking(&self, now: DateTime<Utc>) -> Result<SizingRanking, ReadError> {
        let mut query = QueryBuilder::new(page::select("definition_id", "definition_id"));
        query.push(
            "SELECT s.definition_id, d.name AS definition_name, d.version, d.revision, s.sizing,
                    coalesce(c.sessions, 0) AS sessions_in_4_weeks
               FROM read_advice.definition_sums s
               JOIN read_definitions.definitions d ON d.id = s.definition_id
               LEFT JOIN (SELECT definition_id, count(*) AS sessions FROM read_advice.sessions WHERE ended_at >= ",
        );
        query.push_bind(now - TimeDelta::weeks(i64::from(WEEKS)));
        query.push(" GROUP BY definition_id) c ON c.definition_id = s.definition_id WHERE s.sizing IS NOT NULL) r");
        Ok(SizingRanking::new(self.list_of(RANKING, query).await?))
    }

    /// Sizes that are off, as the filter asks, with the largest use of each. What is unknown has no gap, and comes last.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn sizing_gaps(
        &self,
        ranking: &SizingRanking,
        filter: &SizingGapFilter,
        limit: u32,
    ) -> Result<Listed<SizingGap>, ReadError> {
        let mut unreadable = Vec::new();
        let named = match filter.text.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let mut query = QueryBuilder::new(page::select("id", "id"));
                query.push("SELECT id FROM read_definitions.definitions WHERE search LIKE ");
                query.push_bind(page::like(text)).push(") r");
                let Listed { items, unreadable: without } = self.list_of::<NamedDefinition>(NAMED, query).await?;
                unreadable.extend(without);
                Some(items.into_iter().map(|named| named.id).collect())
            }
        };
        let limit = limit.clamp(1, MOST_GAPS) as usize;
        let mut gaps: Vec<SizingGap> = ranking.find(filter, named.as_ref()).into_iter().take(limit).cloned().collect();
        unreadable.extend(self.add_largest_uses(&mut gaps).await?);
        Ok(Listed { items: gaps, unreadable })
    }

    /// The largest use of all sessions that ended, for each of these gaps.
    async fn add_largest_uses(&self, gaps: &mut [SizingGap]) -> Result<Vec<UnreadableRow>, ReadError> {
        let definitions: Vec<String> = gaps.iter().map(|gap| gap.definition_id.to_string()).collect();
        let resources: Vec<String> = gaps.iter().map(|gap| gap.resource.as_str().to_owned()).collect();
        let mut query = QueryBuilder::new(page::select("definition_id", "place"));
        query.push(
            "SELECT g.definition_id, g.place, CASE WHEN u.peak IS NOT NULL THEN json_build_object('value', u.peak -> 'value',
                    'session_id', u.session_id, 'event_id', u.peak -> 'event_id') END AS largest_use
               FROM unnest(",
        );
        query
            .push_bind(definitions)
            .push("::text[], ")
            .push_bind(resources)
            .push("::text[]) WITH ORDINALITY g (definition_id, resource, place) LEFT JOIN LATERAL (");
        query.push(largest_use()).push(") u ON true) r");
        let Listed { items, unreadable } = self.list_of::<LargestUseRow>(LARGEST_USES, query).await?;
        for row in items {
            if let Some(gap) = row.place.checked_sub(1).and_then(|place| gaps.get_mut(place)) {
                gap.largest_use = row.largest_use;
            }
        }
        Ok(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(id: &str, sessions: u64, configured: f64, difference: Option<f64>) -> SizedDefinition {
        let verdict = match difference {
            None => "unknown",
            Some(difference) if difference > 0.0 => "too_small",
            Some(difference) if difference < 0.0 => "too_large",
            Some(_) => "fits",
        };
        let memory =
            json!({"verdict": verdict, "configured": configured, "difference": difference, "known_sessions": 1});
        let unknown = json!({"verdict": "unknown", "known_sessions": 0});
        let value = json!({"definition_id": id, "definition_name": id.to_uppercase(), "version": "1.0", "revision": 1,
            "sizing": {"cpu_cores": unknown, "memory_mb": memory, "storage_mb": unknown}, "sessions_in_4_weeks": sessions});
        serde_json::from_value(value).unwrap()
    }

    fn ranking(definitions: Vec<SizedDefinition>) -> SizingRanking {
        SizingRanking::new(Listed { items: definitions, unreadable: Vec::new() })
    }

    fn found(ranking: &SizingRanking, filter: &SizingGapFilter) -> Vec<String> {
        ranking.find(filter, None).into_iter().map(|gap| gap.definition_id.to_string()).collect()
    }

    #[test]
    fn what_is_too_small_comes_first_and_each_by_its_gap_times_its_sessions() {
        let ranking = ranking(vec![
            definition("rare", 1, 8192.0, Some(-6144.0)),
            definition("often", 40, 4096.0, Some(-1024.0)),
            definition("lacks", 2, 1024.0, Some(1024.0)),
            definition("fits", 9, 2048.0, Some(0.0)),
        ]);
        let by = |sort| found(&ranking, &SizingGapFilter { sort, ..SizingGapFilter::default() });
        assert_eq!(by(SizingGapSort::Cost), ["lacks", "often", "rare"]);
        assert_eq!(by(SizingGapSort::Name), ["lacks", "often", "rare"]);
        assert_eq!(by(SizingGapSort::Sessions), ["lacks", "often", "rare"]);
        let fits = SizingGapFilter { verdict: Some(SizeVerdict::Fits), ..SizingGapFilter::default() };
        assert_eq!(found(&ranking, &fits), ["fits"]);
        let cores = SizingGapFilter { resource: Some(Resource::CpuCores), ..SizingGapFilter::default() };
        assert_eq!(found(&ranking, &cores), <[String; 0]>::default());
    }

    #[test]
    fn a_share_is_of_what_all_definitions_state_for_their_sessions_of_a_week() {
        let ranking = ranking(vec![definition("a", 4, 4096.0, Some(-2048.0)), definition("b", 12, 4096.0, None)]);
        let gap = ranking.find(&SizingGapFilter::default(), None)[0];
        assert_eq!((gap.weekly_gap, gap.share), (Some(2048.0), Some(2048.0 / (4096.0 * 4.0))));
        let of = |verdict| {
            ranking.totals().iter().find(|total| (total.resource, total.verdict) == (Resource::MemoryMb, verdict))
        };
        assert_eq!(of(SizeVerdict::TooLarge).map(|total| (total.definitions, total.share)), Some((1, gap.share)));
        assert_eq!(of(SizeVerdict::Unknown).map(|total| (total.definitions, total.weekly_gap)), Some((1, None)));
        assert_eq!(of(SizeVerdict::Fits), None);
    }

    #[test]
    fn where_no_session_ended_the_gap_as_a_share_of_its_size_decides() {
        let ranking =
            ranking(vec![definition("a", 0, 8192.0, Some(-1024.0)), definition("b", 0, 2048.0, Some(-1024.0))]);
        assert_eq!(found(&ranking, &SizingGapFilter::default()), ["b", "a"]);
        assert!(ranking.gaps.iter().all(|gap| gap.share.is_none()));
    }
}
