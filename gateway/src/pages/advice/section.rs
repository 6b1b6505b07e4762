//! The section *Advice* of a definition's page: what is configured, given, used and recommended beside each other.

use advice::left_out::LeftOut;
use advice::mixture::Mixture;
use advice::recommendation::{AskedTopology, Recommendation, ResourceRecommendation, TopologySource};
use advice::sizing::Sizing;
use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, Utc};
use domain::advice_policy::{Policy, Promise};
use domain::demand::ByResource;
use domain::lablet_definition::ResourceRequirements;
use domain::resource::Resource;
use domain::{DefinitionId, EventId, Whole};
use projections::ReadError;
use uuid::Uuid;

use super::amounts::{self, amount, kind, of_a_hundred, sentence, stated_if_known};
use super::back_test::BackTestTable;
use super::evidence;
use super::promise_curve::{DRAWN, PromiseCurve, PromisedSize};
use super::size_bars::SizeBars;
use super::topology_view::{TopologyView, kind_row};
use crate::pages::parts::{self, Badge, SessionLink, When};
use crate::pages::verdict;
use crate::queries::Queries;

/// Readings that are named of one number.
const MOST_READINGS: usize = 3;

/// Where the slider of the promise ends.
pub(crate) const LEAST_PROMISE: f64 = 0.5;
pub(crate) const GREATEST_PROMISE: f64 = 0.99;

/// What is recommended of a definition.
#[derive(Debug, Template)]
#[template(path = "advice/section.html")]
pub(crate) struct AdviceSection {
    id: DefinitionId,
    as_of: String,
    verdict: Badge,
    /// The share that is asked about, and the policy's own.
    promise: Promise,
    of_policy: Promise,
    rows: Vec<SizeRow>,
    back_test: Option<BackTestTable>,
    mixed: Vec<Mixture>,
    left_out: Vec<LeftOut>,
    topology: TopologyPart,
    /// What else the page was asked for.
    hidden: Vec<(&'static str, String)>,
}

impl HtmlSafe for AdviceSection {}

/// The nodes that the answer is about.
#[derive(Debug)]
struct TopologyPart {
    source: TopologySource,
    view: TopologyView,
    assumed: Vec<String>,
    changed: Option<TopologyChange>,
}

/// That sessions showed another topology than those before.
#[derive(Debug, Clone)]
pub(crate) struct TopologyChange {
    pub(crate) at: When,
    pub(crate) session: SessionLink,
    pub(crate) event_id: Uuid,
}

impl TopologyPart {
    fn new(asked: &AskedTopology, changed: Option<TopologyChange>) -> Self {
        let assumed = asked.assumed.iter().map(|assumed| {
            format!(
                "{} of {} state no size or image, and are taken to be as the most measured ones: {}.",
                assumed.count,
                assumed.stated.node_definition,
                kind_row(&assumed.taken, assumed.count).size
            )
        });
        Self {
            source: asked.source,
            view: TopologyView::new(asked.nodes.iter().map(|node| (&node.kind, node.count))),
            assumed: assumed.collect(),
            changed,
        }
    }

    fn words(&self) -> &'static str {
        match self.source {
            TopologySource::Stated => "as the definition states it",
            TopologySource::Learnt => "as its newest observed session showed it",
            TopologySource::Question => "as it was asked about",
            TopologySource::Unknown => "unknown",
        }
    }
}

/// One resource.
#[derive(Debug)]
struct SizeRow {
    resource: &'static str,
    configured: String,
    nominal: String,
    max: String,
    median: String,
    latest: String,
    recommended: String,
    /// What keeps the promise before it is rounded.
    value: String,
    /// Whether what is configured fits, and what decided.
    verdict: Option<(Badge, String)>,
    kind: &'static str,
    sentence: String,
    reasons: Vec<String>,
    /// The readings that set it, with their short ids.
    readings: Vec<(EventId, String)>,
    more_readings: usize,
    explanation: String,
    /// Where no session tells what is used, the table says all there is.
    bars: Option<SizeBars>,
    curve: Option<PromiseCurve>,
}

/// What a section is made of.
pub(crate) struct Advised<'a> {
    pub(crate) recommendation: &'a Recommendation,
    /// The promise of the policy.
    pub(crate) of_policy: Promise,
    /// The sizes of other promises, in their order.
    pub(crate) sizes: &'a ByResource<Vec<PromisedSize>>,
    /// What the recommended sizes would have meant.
    pub(crate) back_test: Option<BackTestTable>,
    /// Since when the topology is as its sessions showed it; `None`: it is stated, or never changed.
    pub(crate) changed: Option<TopologyChange>,
    /// What else the page was asked for.
    pub(crate) hidden: Vec<(&'static str, String)>,
}

impl AdviceSection {
    /// Of a definition.
    pub(crate) fn new(id: &DefinitionId, advised: Advised<'_>) -> Self {
        let Advised { recommendation, of_policy, sizes, back_test, changed, hidden } = advised;
        let promise = recommendation.policy.promise;
        let row = |resource: Resource| {
            let sizing = recommendation.sizing.as_ref().map(|sizing| resource.part(sizing));
            let recommended = resource.part(&recommendation.resources);
            row(id, (resource, promise), recommended, sizing, resource.part::<Vec<_>>(sizes))
        };
        Self {
            id: id.clone(),
            as_of: recommendation.as_of.clone(),
            verdict: verdict::of_definition(&recommendation.sizing),
            promise,
            of_policy,
            rows: Resource::ALL.map(row).into(),
            back_test,
            mixed: recommendation.mixed.clone(),
            left_out: recommendation.left_out.clone(),
            topology: TopologyPart::new(&recommendation.topology, changed),
            hidden,
        }
    }

    /// What is recommended now, for this promise, or as the policy says. `None`: the read model does not know the definition
    /// yet, or what is recommended by the policy cannot be read.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn read(
        queries: &Queries,
        now: DateTime<Utc>,
        id: &DefinitionId,
        promise: Option<Promise>,
        by_policy: Option<&Recommendation>,
        hidden: Vec<(&'static str, String)>,
    ) -> Result<Option<Self>, ReadError> {
        let Some(by_policy) = by_policy else { return Ok(None) };
        let recommendation = match promise {
            None => Some(by_policy.clone()),
            Some(_) => queries.recommendation(id, promise, None).await?,
        };
        let Some(recommendation) = recommendation else { return Ok(None) };
        let drawn: Vec<Policy> = DRAWN
            .into_iter()
            .filter_map(|share| Some(Policy { promise: Promise::new(share).ok()?, ..recommendation.policy }))
            .collect();
        let explained = queries.explanations_under(id, &drawn).await?.unwrap_or_default();
        let sizes = Resource::each(|resource| {
            let known = drawn.iter().zip(&explained).filter_map(|(policy, explained)| {
                let size = resource.part(explained).estimate.as_ref()?.value;
                Some(PromisedSize { promise: policy.promise, size })
            });
            known.collect()
        });
        let tested = queries.back_test(id, None, |stated| recommended(&recommendation, stated)).await?;
        let changed = match recommendation.topology.source {
            TopologySource::Learnt => queries.learnt_topology_change(id).await?,
            TopologySource::Stated | TopologySource::Question | TopologySource::Unknown => None,
        };
        let titles = queries.session_titles(changed.iter().map(|change| change.session_id.clone()).collect()).await?;
        let changed = changed.map(|change| TopologyChange {
            at: When::new(&change.observed_at, &now),
            session: SessionLink::by_start(&titles, &change.session_id, ""),
            event_id: change.event_id,
        });
        let of_policy = by_policy.policy.promise;
        let back_test = match tested {
            Some(report) => Some(BackTestTable::of_report(queries, &report).await?),
            None => None,
        };
        let advised = Advised { recommendation: &recommendation, of_policy, sizes: &sizes, back_test, changed, hidden };
        Ok(Some(Self::new(id, advised)))
    }

    /// Where the slider ends: at a greater promise, if one is asked about.
    fn greatest_promise(&self) -> String {
        self.promise.share().max(GREATEST_PROMISE).to_string()
    }

    fn promised(&self) -> String {
        of_a_hundred(self.promise)
    }

    fn promised_by_policy(&self) -> String {
        of_a_hundred(self.of_policy)
    }

    fn has_bars(&self) -> bool {
        self.rows.iter().any(|row| row.bars.is_some())
    }

    fn has_curves(&self) -> bool {
        self.rows.iter().any(|row| row.curve.is_some())
    }

    fn is_of_policy(&self) -> bool {
        self.promise == self.of_policy
    }
}

/// The sizes that are recommended, and the stated ones where nothing is.
fn recommended(recommendation: &Recommendation, stated: ResourceRequirements) -> ResourceRequirements {
    let of = |resource: Resource| resource.part(&recommendation.resources).requirement;
    ResourceRequirements {
        cpu_cores: whole_or(of(Resource::CpuCores), stated.cpu_cores),
        memory_gb: whole_or(of(Resource::MemoryMb), stated.memory_gb),
        storage_gb: whole_or(of(Resource::StorageMb), stated.storage_gb),
    }
}

/// These whole units, or those that are stated where nothing is known.
pub(crate) fn whole_or<const MOST: u64>(units: Option<u32>, stated: Whole<u32, 1, MOST>) -> Whole<u32, 1, MOST> {
    units.and_then(|units| Whole::new(units).ok()).unwrap_or(stated)
}

/// Whether a condition has more values than are listed.
fn is_cut(mixture: &Mixture) -> bool {
    (mixture.values.len() as u64) < mixture.count
}

fn row(
    id: &DefinitionId,
    (resource, promise): (Resource, Promise),
    found: &ResourceRecommendation,
    sizing: Option<&Sizing>,
    sizes: &[PromisedSize],
) -> SizeRow {
    let asked = found.value.map(|size| PromisedSize { promise, size });
    let field = resource.as_str();
    SizeRow {
        resource: amounts::name(resource),
        configured: amount(resource, found.configured),
        nominal: amount(resource, found.nominal),
        max: amount(resource, found.demand.max),
        median: amount(resource, found.demand.median),
        latest: amount(resource, found.demand.latest),
        recommended: stated_if_known(resource, found.requirement),
        value: amount(resource, found.value),
        verdict: sizing.map(|sizing| (verdict::sized(resource, sizing), verdict::because(resource, sizing))),
        kind: kind(found.kind),
        sentence: sentence(resource, promise, found),
        reasons: found.reasons.iter().map(|reason| reason.text.clone()).collect(),
        readings: found
            .evidence
            .iter()
            .take(MOST_READINGS)
            .map(|event| (event.clone(), parts::short_id(event)))
            .collect(),
        more_readings: found.evidence.len().saturating_sub(MOST_READINGS),
        explanation: format!("/definitions/{id}/advice?promise={}&resource={field}", promise.share()),
        bars: found.demand.max.map(|_| SizeBars::new(&format!("sizes-{field}"), resource, found)),
        curve: PromiseCurve::new(&format!("promises-{field}"), resource, sizes, asked, found.configured),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::advice::tests::recommendation_of_definition;

    #[test]
    fn sizes_stand_beside_each_other_with_finding_sentence_and_the_way_to_the_explanation() {
        let recommendation = recommendation_of_definition();
        let advised = Advised {
            recommendation: &recommendation,
            of_policy: Promise::default(),
            sizes: &ByResource::default(),
            back_test: None,
            changed: None,
            hidden: vec![("sessions", "50".to_owned())],
        };
        let id = DefinitionId::parse("asked").unwrap();
        let html = AdviceSection::new(&id, advised).render().unwrap();
        for text in [
            "4 GB keeps 95 of 100 sessions within their memory; seen 5 sessions",
            "/definitions/asked/advice?promise=0.95&#38;resource=memory_mb",
            "1 session excluded by somebody, with a reason.",
            "State its topology",
            "name=\"sessions\" value=\"50\"",
            "nothing is known",
        ] {
            assert!(html.contains(text), "{text}: {html}");
        }
    }
}
