//! The answer: how large a definition must be, why, and what it rests on.

use domain::DefinitionId;
use domain::EventId;
use domain::demand::ByResource;
use domain::lablet_definition::Finding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Base, PoolSource};
use crate::estimate::Estimate;
use crate::left_out::LeftOut;
use crate::mixture::Mixture;
use crate::requirement::{Bound, Requirement};
use crate::sizing::{RecommendedSize, Sizing, SizingFacts, compared};
use crate::topology::{AssumedKind, NodeKind, ResolvedTopology};
use domain::advice_policy::Policy;
use domain::resource::Resource;

/// n/(n + 1) is this share with nine sessions.
const SESSIONS_TO_90_PERCENT: u64 = 9;
/// Most node definitions that are named in a reason.
const MOST_NAMED: usize = 5;

/// What a recommendation rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecommendationKind {
    /// Scores of past advice.
    Calibrated,
    /// The topology alone.
    FromTopology,
    /// The largest session, as there are few scores: it covers the next one with probability n/(n + 1).
    DistributionFree,
    /// The policy's floor, or its largest step on the way down: it is more than the promise needs.
    Floored,
    /// The policy's cap, or its largest step on the way up: it is less than the promise needs.
    Capped,
    /// Nothing.
    Insufficient,
}

/// Why a number is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// It rests on sessions.
    FromSessions,
    /// It rests on the topology.
    FromTopology,
    /// Neither topology nor sessions are known.
    NoEvidence,
    /// Some nodes were never measured.
    NodesNeverMeasured,
    /// No session had this topology.
    TopologyChanged,
    /// There are few scores of past advice.
    LittleEvidence,
    /// The largest session was above what was computed.
    LargestSession,
    /// The definition's own past asks for another level than the promise.
    OwnPast,
    /// The last sessions lay above or below what was expected.
    RecentSessions,
    /// What the nodes were given is less than what was computed.
    Nominal,
    /// Older sessions count less, by the policy.
    HalfLife,
    /// What was needed while booting counts, by the policy.
    BootIncluded,
    /// Of some sessions this resource is unknown.
    UnknownSessions,
    /// The promise costs more than it gives.
    CostlyPromise,
    /// The policy's floor raised it.
    PolicyFloor,
    /// The policy's cap lowered it: the promise is not kept.
    PolicyCap,
    /// The policy's largest step stopped it.
    LargestStep,
    /// The change is too small to be proposed.
    SmallChange,
}

/// Why a number is what it is, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// For programs.
    pub code: ReasonCode,
    /// For people.
    pub text: String,
}

/// What sessions needed, beside the estimate: cores or MB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DemandSummary {
    /// The greatest; null: none is known.
    pub max: Option<f64>,
    /// The middle one; null: none is known.
    pub median: Option<f64>,
    /// That of the newest session; null: none is known.
    pub latest: Option<f64>,
}

/// What is known of one resource of a definition, or of a topology.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceFacts {
    /// What the definition states: whole cores or GB; `None`: there is no definition.
    pub configured: Option<u32>,
    /// What the nodes are given: cores or MB.
    pub nominal: Option<f64>,
    /// What sessions needed.
    pub demand: DemandSummary,
    /// Sessions whose demand is unknown.
    pub unknown_sessions: u64,
    /// The events that set the number.
    pub evidence: Vec<EventId>,
}

/// How much of one resource is recommended. Amounts are cores or MB; null is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRecommendation {
    /// What the definition states.
    pub configured: Option<f64>,
    /// What the nodes are given.
    pub nominal: Option<f64>,
    /// What sessions needed.
    pub demand: DemandSummary,
    /// Sessions whose demand is known.
    pub sessions: u64,
    /// Sessions whose demand is unknown.
    pub unknown_sessions: u64,
    /// What keeps the promise; null: nothing is known.
    pub value: Option<f64>,
    /// The whole cores or GB that a definition would state, within the policy; null: nothing is known.
    pub requirement: Option<u32>,
    /// What is found of what is configured; null: nothing is configured.
    pub finding: Option<Finding>,
    /// What it rests on.
    pub kind: RecommendationKind,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The probability that the next session needs no more than the largest one did; null: there is none.
    pub covers_next: Option<f64>,
    /// The confidence that the largest session needed as much as the promised share of all to come: 1 − pⁿ, where sessions of
    /// one day count for less; null: there is none.
    #[serde(default)]
    pub covers_promised_share: Option<f64>,
    /// Sessions that are lacking until that is 90 %.
    pub sessions_to_90_percent: u64,
    /// The events that set it.
    pub evidence: Vec<EventId>,
}

/// How large a definition must be, or a lab of a topology.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// The definition; null: a topology was asked about.
    pub definition_id: Option<DefinitionId>,
    /// Its revision.
    pub revision: Option<u32>,
    /// The position up to which everything is known that it rests on.
    pub as_of: String,
    /// The share of future sessions to cover.
    pub promise: f64,
    /// The policy.
    pub policy: Policy,
    /// What is found of the whole definition; null: there is none.
    pub finding: Option<Finding>,
    /// Each resource.
    pub resources: ByResource<ResourceRecommendation>,
    /// Whether what is configured is too small, fits or is too large; null: there is no definition.
    #[serde(default)]
    pub sizing: Option<ByResource<Sizing>>,
    /// The topology that it is for.
    pub topology: AskedTopology,
    /// In what the evidence differs.
    pub mixed: Vec<Mixture>,
    /// What of its sessions does not count, and why.
    pub left_out: Vec<LeftOut>,
}

/// Where a topology is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopologySource {
    /// The question names it.
    Question,
    /// The definition states it.
    Stated,
    /// It was learnt from the newest session that was observed.
    Learnt,
    /// Nothing is known of the nodes.
    Unknown,
}

/// The topology that a recommendation is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AskedTopology {
    /// Where it is from.
    pub source: TopologySource,
    /// Its nodes by kind, as they are taken.
    pub nodes: Vec<KindCount>,
    /// Number of nodes that are machines.
    pub node_count: u64,
    /// Nodes that state no image or size, and are taken to be as the most measured ones like them.
    pub assumed: Vec<AssumedKind>,
}

/// Nodes of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KindCount {
    /// Their kind.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// How many there are.
    pub count: u32,
}

impl AskedTopology {
    /// A topology from this source.
    pub fn new(source: TopologySource, resolved: &ResolvedTopology) -> Self {
        let nodes = resolved.topology.kinds().map(|(kind, count)| KindCount { kind: kind.clone(), count });
        Self {
            source,
            nodes: nodes.collect(),
            node_count: resolved.topology.node_count(),
            assumed: resolved.assumed.clone(),
        }
    }
}

/// How a number came about: the estimate with each of its steps, and how a definition would state it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The estimate; null: nothing is known.
    pub estimate: Option<Estimate>,
    /// What a definition would state; null: nothing is known.
    pub requirement: Option<Requirement>,
}

impl Explanation {
    /// The explanation of an estimate under a policy. `configured` is in whole cores or GB.
    pub fn new(resource: Resource, estimate: Option<Estimate>, configured: Option<u32>, policy: &Policy) -> Self {
        let requirement =
            estimate.as_ref().map(|estimate| Requirement::new(resource, estimate.value, configured, policy));
        Self { estimate, requirement }
    }
}

impl ResourceRecommendation {
    /// What is recommended by an explanation, beside what is known.
    pub fn new(resource: Resource, explanation: &Explanation, facts: ResourceFacts, policy: &Policy) -> Self {
        let sessions = explanation.estimate.as_ref().map_or(0, |estimate| estimate.prediction.sessions);
        let mut reasons = reasons(resource, explanation, &facts, policy);
        let finding = finding(resource, explanation, facts.configured, policy, &mut reasons);
        #[expect(clippy::cast_precision_loss, reason = "a definition has fewer than 2^53 sessions")]
        let covers_next = (sessions > 0).then(|| sessions as f64 / (sessions as f64 + 1.0));
        Self {
            configured: facts.configured.map(|configured| f64::from(configured) * resource.unit()),
            nominal: facts.nominal,
            demand: facts.demand,
            sessions,
            unknown_sessions: facts.unknown_sessions,
            value: explanation.estimate.as_ref().map(|estimate| estimate.value),
            requirement: explanation.requirement.map(|requirement| requirement.value),
            finding,
            kind: kind(explanation),
            reasons,
            covers_next,
            covers_promised_share: explanation.estimate.as_ref().and_then(|estimate| estimate.largest_covers),
            sessions_to_90_percent: SESSIONS_TO_90_PERCENT.saturating_sub(sessions),
            evidence: facts.evidence,
        }
    }
}

impl ResourceRecommendation {
    /// Whether what is configured is too small, fits or is too large.
    pub fn sizing(&self, resource: Resource, facts: SizingFacts, policy: &Policy) -> Sizing {
        let Self { configured, requirement, finding, sessions, .. } = *self;
        Sizing::new(resource, RecommendedSize { configured, requirement, finding, sessions }, facts, policy)
    }

    /// Whether it covers what is needed while booting.
    pub fn includes_boot(&self) -> bool {
        self.reasons.iter().any(|reason| reason.code == ReasonCode::BootIncluded)
    }
}

/// What is found of a definition by what is found of its resources: what is short comes first.
pub fn finding_of_definition(resources: &ByResource<ResourceRecommendation>) -> Option<Finding> {
    let found: Vec<Finding> = Resource::ALL.iter().filter_map(|resource| resource.part(resources).finding).collect();
    let order =
        [Finding::UnderProvisioned, Finding::OverProvisioned, Finding::RightSized, Finding::InsufficientEvidence];
    order.into_iter().find(|finding| found.contains(finding))
}

fn kind(explanation: &Explanation) -> RecommendationKind {
    let Some((estimate, requirement)) = explanation.estimate.as_ref().zip(explanation.requirement) else {
        return RecommendationKind::Insufficient;
    };
    match requirement.bound {
        Some(Bound::Floor | Bound::StepDown) => RecommendationKind::Floored,
        Some(Bound::Cap | Bound::StepUp) => RecommendationKind::Capped,
        None if estimate.prediction.sessions == 0 => RecommendationKind::FromTopology,
        None if estimate.calibration.rests_on_little() => RecommendationKind::DistributionFree,
        None => RecommendationKind::Calibrated,
    }
}

fn finding(
    resource: Resource,
    explanation: &Explanation,
    configured: Option<u32>,
    policy: &Policy,
    reasons: &mut Vec<Reason>,
) -> Option<Finding> {
    let configured = configured?;
    let Some((estimate, requirement)) = explanation.estimate.as_ref().zip(explanation.requirement) else {
        return Some(Finding::InsufficientEvidence);
    };
    if estimate.prediction.sessions < u64::from(policy.minimum_sessions) {
        return Some(Finding::InsufficientEvidence);
    }
    let found = compared(configured, requirement.value, policy);
    if found == Finding::RightSized && requirement.value != configured {
        let text = format!(
            "{} {} instead of {configured} would be less than the smallest change that the policy proposes.",
            requirement.value,
            resource.unit_name()
        );
        reasons.push(Reason { code: ReasonCode::SmallChange, text });
    }
    Some(found)
}

fn reasons(resource: Resource, explanation: &Explanation, facts: &ResourceFacts, policy: &Policy) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut because = |code, text: String| reasons.push(Reason { code, text });
    let amount = |amount: f64| format!("{:.1} {}", amount / resource.unit(), resource.unit_name());
    if let Some(estimate) = &explanation.estimate {
        of_evidence(estimate, &amount, &mut because);
    } else {
        because(ReasonCode::NoEvidence, "Neither a topology nor a session tells what is needed.".to_owned());
    }
    if policy.include_boot {
        let text =
            "By the policy it covers the boot: a session needed the larger of its peaks while booting and afterwards.";
        because(ReasonCode::BootIncluded, text.to_owned());
    }
    if facts.unknown_sessions > 0 {
        let text = format!("Of {} more sessions it is unknown what they needed.", facts.unknown_sessions);
        because(ReasonCode::UnknownSessions, text);
    }
    if policy.promise.is_costly() {
        let text = "Above a promise of 0.97 each further point costs more than it gives.".to_owned();
        because(ReasonCode::CostlyPromise, text);
    }
    let Some(requirement) = explanation.requirement else { return reasons };
    let states = |value: u32| format!("{value} {}", resource.unit_name());
    let (rounded, value) = (states(requirement.rounded), states(requirement.value));
    match requirement.bound {
        Some(Bound::Floor) => {
            because(ReasonCode::PolicyFloor, format!("The policy's floor makes {rounded} into {value}."))
        }
        Some(Bound::Cap) => because(
            ReasonCode::PolicyCap,
            format!("The policy's cap makes {rounded} into {value}, which keeps less than the promise."),
        ),
        Some(Bound::StepUp) => because(
            ReasonCode::LargestStep,
            format!("One step of the policy leads to {value}, and the promise needs {rounded}."),
        ),
        Some(Bound::StepDown) => because(
            ReasonCode::LargestStep,
            format!("One step of the policy leads to {value}, though {rounded} would keep the promise."),
        ),
        None => {}
    }
    reasons
}

fn of_evidence(estimate: &Estimate, amount: &impl Fn(f64) -> String, because: &mut impl FnMut(ReasonCode, String)) {
    let Estimate { prediction, calibration, base, .. } = estimate;
    match prediction.sessions {
        0 => because(
            ReasonCode::FromTopology,
            "No session is known: it is sized by what its nodes need elsewhere.".to_owned(),
        ),
        1 => because(ReasonCode::FromSessions, "One session is known.".to_owned()),
        sessions => because(ReasonCode::FromSessions, format!("{sessions} sessions are known.")),
    }
    if let Some(text) = base.as_ref().and_then(never_measured) {
        because(ReasonCode::NodesNeverMeasured, text);
    }
    if prediction.sessions > 0 && prediction.sessions_of_topology == 0 && base.is_some() {
        let text = "None of them had this topology: they tell how the definition differs from what its nodes need.";
        because(ReasonCode::TopologyChanged, text.to_owned());
    }
    if !estimate.is_calibrated {
        let text = format!(
            "It rests on little: {} scores of past advice for about as many sessions, where 200 would do; it is widened for that.",
            calibration.scores
        );
        because(ReasonCode::LittleEvidence, text);
    }
    if let Some(largest) = estimate.raised_to_largest {
        because(
            ReasonCode::LargestSession,
            format!("The largest session needed {}, which is more than was computed.", amount(largest)),
        );
    }
    if (calibration.level - estimate.promise.share()).abs() > 0.001 {
        let text = format!(
            "By its own past, {:.1} % of the fleet's scores are covered in order to keep {:.1} %.",
            100.0 * calibration.level,
            100.0 * estimate.promise.share()
        );
        because(ReasonCode::OwnPast, text);
    }
    if prediction.followed.abs() > 0.01 {
        let change = 100.0 * (prediction.followed.exp() - 1.0);
        let text = format!("It follows the last sessions, which differed from what was expected, by {change:+.0} %.");
        because(ReasonCode::RecentSessions, text);
    }
    if let Some(days) = estimate.half_life_days {
        let text = format!(
            "A session counts half after {days} days: {} of them count as {}.",
            estimate.all_sessions, prediction.sessions
        );
        because(ReasonCode::HalfLife, text);
    }
    if let Some(nominal) = estimate.capped_by_nominal {
        because(ReasonCode::Nominal, format!("Its nodes are given {} and can use no more.", amount(nominal)));
    }
}

/// Which nodes of a base were never measured.
fn never_measured(base: &Base) -> Option<String> {
    let mut names: Vec<&str> = base
        .parts
        .iter()
        .filter(|part| matches!(part.source, PoolSource::Nominal | PoolSource::NodeDefinition | PoolSource::AnyNode))
        .map(|part| part.kind.node_definition.as_str())
        .collect();
    names.dedup();
    let more = names.len().saturating_sub(MOST_NAMED);
    let named = names.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("Nodes like these were never measured: {named}{more}. They count by their nominal size, or by other nodes where it is unknown."))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::{Amount, SessionId};
    use serde_json::json;

    use super::*;
    use crate::evidence::{KindRuns, NodeDemand, SessionEvidence};
    use crate::fleet::{Fleet, SessionSteps};
    use crate::topology::Topology;
    use domain::advice_policy::Limits;
    use domain::advice_policy::Promise;

    const MEMORY: Resource = Resource::MemoryMb;

    fn definition(name: &str) -> DefinitionId {
        DefinitionId::parse(name).unwrap()
    }

    fn topology() -> Topology {
        Topology::new([(NodeKind::new("iosv", None, Some(1.0), Some(2048.0)), 2)])
    }

    /// Sessions of a definition that needed this much memory, with what they added.
    fn run(fleet: &mut Fleet, name: &str, demands: &[f64]) -> Vec<(SessionEvidence, SessionSteps)> {
        let session = |(number, demand): (usize, &f64)| {
            let only_memory = |demand| ByResource { memory_mb: Some(demand), ..ByResource::default() };
            let node =
                |(kind, _): (&NodeKind, u32)| NodeDemand { kind: kind.clone(), demand: only_memory(demand / 2.0) };
            let session = SessionEvidence {
                session_id: SessionId::parse(format!("{name}-{number}")).unwrap(),
                definition_id: definition(name),
                ended_at: DateTime::from_timestamp(1_772_000_000 + 3600 * i64::try_from(number).unwrap(), 0).unwrap(),
                topology: topology(),
                demand: only_memory(*demand),
                nodes: KindRuns::from_nodes(topology().kinds().map(node)),
            };
            let steps = fleet.advance(&session);
            (session, steps)
        };
        demands.iter().enumerate().map(session).collect()
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        for number in 0..6 {
            run(&mut fleet, &format!("other-{number}"), &[1900.0, 2000.0, 2100.0, 2050.0]);
        }
        run(&mut fleet, "asked", &[2000.0, 2100.0, 1950.0, 2050.0, 2000.0]);
        fleet
    }

    fn recommend(fleet: &Fleet, name: &str, configured: Option<u32>, policy: &Policy) -> ResourceRecommendation {
        let estimate = fleet.estimate(&definition(name), &topology(), MEMORY, policy);
        let explanation = Explanation::new(MEMORY, estimate, configured, policy);
        let facts = ResourceFacts { configured, nominal: topology().nominal(MEMORY), ..ResourceFacts::default() };
        ResourceRecommendation::new(MEMORY, &explanation, facts, policy)
    }

    fn codes(recommendation: &ResourceRecommendation) -> Vec<ReasonCode> {
        recommendation.reasons.iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn a_definition_is_found_to_have_too_much_too_little_or_what_it_needs() {
        let (fleet, policy) = (fleet(), Policy::default());
        let found = |configured| recommend(&fleet, "asked", Some(configured), &policy);
        assert_eq!(found(8).finding, Some(Finding::OverProvisioned));
        assert_eq!(found(1).finding, Some(Finding::UnderProvisioned));
        assert_eq!(found(3).finding, Some(Finding::RightSized));
        let answer = found(8);
        assert_eq!((answer.requirement, answer.configured, answer.nominal), (Some(3), Some(8192.0), Some(4096.0)));
        assert!(answer.value.is_some_and(|value| (2100.0..2600.0).contains(&value)), "{answer:?}");
        assert_eq!((answer.sessions, answer.covers_next, answer.sessions_to_90_percent), (5, Some(5.0 / 6.0), 4));
        assert!(codes(&answer).contains(&ReasonCode::LittleEvidence), "29 sessions are a small fleet: {answer:?}");
        assert_eq!(answer.kind, RecommendationKind::DistributionFree);
    }

    #[test]
    fn a_change_below_the_smallest_one_is_not_proposed_and_says_so() {
        let fleet = fleet();
        let policy = Policy { minimum_change: domain::Share::new(0.5).unwrap(), ..Policy::default() };
        let answer = recommend(&fleet, "asked", Some(4), &policy);
        assert_eq!((answer.requirement, answer.finding), (Some(3), Some(Finding::RightSized)));
        assert!(codes(&answer).contains(&ReasonCode::SmallChange));
    }

    #[test]
    fn under_a_half_life_what_is_long_ago_counts_less_and_it_says_so() {
        let mut fleet = fleet();
        for number in 0..5_i64 {
            let demand = ByResource { memory_mb: Some(1200.0), ..ByResource::default() };
            fleet.advance(&SessionEvidence {
                session_id: SessionId::parse(format!("asked-later-{number}")).unwrap(),
                definition_id: definition("asked"),
                ended_at: DateTime::from_timestamp(1_772_000_000 + 86_400 * (365 + number), 0).unwrap(),
                topology: topology(),
                demand,
                nodes: Vec::new(),
            });
        }
        let policy = Policy { half_life_days: Some(domain::Whole::new(30).unwrap()), ..Policy::default() };
        let estimate = |policy: &Policy| fleet.estimate(&definition("asked"), &topology(), MEMORY, policy);
        let (all, newest) = (estimate(&Policy::default()).unwrap(), estimate(&policy).unwrap());
        assert_eq!((all.prediction.sessions, newest.prediction.sessions, newest.all_sessions), (10, 5, 10));
        assert!(newest.prediction.ratio.unwrap() < all.prediction.ratio.unwrap() - 0.1, "{newest:?} {all:?}");
        let answer = recommend(&fleet, "asked", Some(8), &policy);
        let reason = answer.reasons.iter().find(|reason| reason.code == ReasonCode::HalfLife).unwrap();
        assert_eq!(reason.text, "A session counts half after 30 days: 10 of them count as 5.");
    }

    #[test]
    fn a_definition_that_never_ran_is_sized_by_its_topology() {
        let answer = recommend(&fleet(), "new", Some(8), &Policy::default());
        assert_eq!(
            (answer.kind, answer.finding),
            (RecommendationKind::FromTopology, Some(Finding::InsufficientEvidence))
        );
        assert!(answer.value.is_some_and(|value| (2000.0..4096.0).contains(&value)), "{answer:?}");
        assert_eq!((answer.covers_next, answer.sessions_to_90_percent), (None, 9));
        assert_eq!(codes(&answer)[0], ReasonCode::FromTopology);
        let of_no_definition = recommend(&fleet(), "new", None, &Policy::default());
        assert_eq!((of_no_definition.finding, of_no_definition.configured), (None, None));
    }

    #[test]
    fn nodes_that_were_never_measured_are_named() {
        let answer = recommend(&Fleet::default(), "new", Some(8), &Policy::default());
        assert_eq!(answer.value, Some(4096.0), "their nominal size");
        let reason = answer.reasons.iter().find(|reason| reason.code == ReasonCode::NodesNeverMeasured).unwrap();
        assert!(reason.text.contains("iosv"), "{}", reason.text);
    }

    #[test]
    fn evidence_that_is_all_excluded_leaves_the_topology() {
        let mut fleet = fleet();
        for (session, steps) in run(&mut fleet, "emptied", &[2000.0, 2100.0, 1950.0]) {
            fleet.exclude(&session, &steps);
        }
        assert_eq!(recommend(&fleet, "emptied", Some(8), &Policy::default()).kind, RecommendationKind::FromTopology);
    }

    #[test]
    fn a_policy_that_bounds_the_answer_is_told_by_kind_and_reason() {
        let (fleet, mut policy) = (fleet(), Policy::default());
        policy.limits.memory_mb = Limits { floor: None, cap: Some(Amount::new(2048.0).unwrap()) };
        let answer = recommend(&fleet, "asked", Some(8), &policy);
        assert_eq!((answer.requirement, answer.kind), (Some(2), RecommendationKind::Capped));
        assert!(codes(&answer).contains(&ReasonCode::PolicyCap));
        policy.limits.memory_mb = Limits { floor: Some(Amount::new(5000.0).unwrap()), cap: None };
        let answer = recommend(&fleet, "asked", Some(8), &policy);
        assert_eq!((answer.requirement, answer.kind), (Some(5), RecommendationKind::Floored));
    }

    #[test]
    fn where_nothing_is_known_nothing_is_recommended() {
        let explanation = Explanation::new(MEMORY, None, Some(8), &Policy::default());
        let facts = ResourceFacts { configured: Some(8), unknown_sessions: 3, ..ResourceFacts::default() };
        let answer = ResourceRecommendation::new(MEMORY, &explanation, facts, &Policy::default());
        assert_eq!((answer.value, answer.requirement, answer.kind), (None, None, RecommendationKind::Insufficient));
        assert_eq!(answer.finding, Some(Finding::InsufficientEvidence));
        assert_eq!(codes(&answer), [ReasonCode::NoEvidence, ReasonCode::UnknownSessions]);
    }

    #[test]
    fn a_policy_that_includes_the_boot_is_told_in_a_reason() {
        let policy = Policy { include_boot: true, ..Policy::default() };
        assert!(codes(&recommend(&fleet(), "asked", Some(8), &policy)).contains(&ReasonCode::BootIncluded));
        assert!(!codes(&recommend(&fleet(), "asked", Some(8), &Policy::default())).contains(&ReasonCode::BootIncluded));
    }

    #[test]
    fn a_costly_promise_is_warned_of() {
        let policy = Policy { promise: Promise::new(0.999).unwrap(), ..Policy::default() };
        assert!(codes(&recommend(&fleet(), "asked", Some(8), &policy)).contains(&ReasonCode::CostlyPromise));
    }

    #[test]
    fn what_is_short_is_found_of_the_whole_definition() {
        let found = |configured| recommend(&fleet(), "asked", configured, &Policy::default());
        let resources = |cpu, memory, storage| ByResource { cpu_cores: cpu, memory_mb: memory, storage_mb: storage };
        let all = resources(found(Some(8)), found(Some(1)), found(Some(3)));
        assert_eq!(finding_of_definition(&all), Some(Finding::UnderProvisioned));
        assert_eq!(
            finding_of_definition(&resources(found(None), found(Some(3)), found(None))),
            Some(Finding::RightSized)
        );
        assert_eq!(finding_of_definition(&resources(found(None), found(None), found(None))), None);
    }

    #[test]
    fn the_answer_has_the_members_that_were_agreed() {
        let answer = serde_json::to_value(recommend(&fleet(), "asked", Some(8), &Policy::default())).unwrap();
        let mut members: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        let agreed = [
            "configured",
            "covers_next",
            "covers_promised_share",
            "demand",
            "evidence",
            "finding",
            "kind",
            "nominal",
            "reasons",
            "requirement",
            "sessions",
            "sessions_to_90_percent",
            "unknown_sessions",
            "value",
        ];
        assert_eq!(members, agreed);
        assert_eq!((&answer["finding"], &answer["kind"]), (&json!("over_provisioned"), &json!("distribution_free")));
    }
}
