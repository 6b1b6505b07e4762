//! Whether a definition's size is too small, fits or is too large: the one rule by which every page, list, command and view
//! says so.
//!
//! What sessions *used* decides, never what they were given. Where as many sessions are known as the policy wants, the size
//! that keeps the promise is compared with what is configured; where there are fewer, the largest use of a session of this
//! topology is. Where no use is known nothing is said, but why.

use domain::advice_policy::Policy;
use domain::demand::ByResource;
use domain::lablet_definition::Finding;
use domain::resource::Resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a size compares with what sessions used, worst first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SizeVerdict {
    /// Sessions use more than is configured, or soon will.
    TooSmall,
    /// More is configured than sessions use.
    TooLarge,
    /// It is what sessions use, or near enough.
    Fits,
    /// What sessions use is unknown.
    #[default]
    Unknown,
}

impl SizeVerdict {
    /// Each of them, worst first.
    pub const ALL: [Self; 4] = [Self::TooSmall, Self::TooLarge, Self::Fits, Self::Unknown];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooSmall => "too_small",
            Self::TooLarge => "too_large",
            Self::Fits => "fits",
            Self::Unknown => "unknown",
        }
    }

    /// It in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::TooSmall => "too small",
            Self::TooLarge => "too large",
            Self::Fits => "fits",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Finding> for SizeVerdict {
    /// Findings are what proposals are made of; people read all of them on one scale.
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::UnderProvisioned => Self::TooSmall,
            Finding::OverProvisioned => Self::TooLarge,
            Finding::RightSized => Self::Fits,
            Finding::InsufficientEvidence => Self::Unknown,
        }
    }
}

/// What decided a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SizingBasis {
    /// The size that keeps the promise.
    Recommended,
    /// The largest use of a session of this topology, as fewer sessions are known than the policy wants.
    LargestUse,
}

/// Why nothing can be said of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownSizing {
    /// The definition is not known, so neither is what it states.
    NotConfigured,
    /// No session has ended: a session counts from its end on.
    NoSessionEnded,
    /// No session tells what it used.
    NeverMeasured,
    /// Few sessions are known, and none of this topology.
    OtherTopology,
}

impl UnknownSizing {
    /// It in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotConfigured => "the definition is not known",
            Self::NoSessionEnded => "no session has ended",
            Self::NeverMeasured => "no session tells what it used",
            Self::OtherTopology => "no session of this topology is known",
        }
    }
}

/// How the size of one resource compares with what sessions used. Amounts are cores or MB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sizing {
    /// The verdict.
    pub verdict: SizeVerdict,
    /// What the definition states; null: unknown.
    pub configured: Option<f64>,
    /// What would do, in whole cores or GB as a definition states them; null: unknown.
    pub sufficient: Option<f64>,
    /// What would do less what is configured: above zero that much is lacking, below zero that much is to spare. Null: unknown.
    pub difference: Option<f64>,
    /// What decided; null: nothing did.
    pub basis: Option<SizingBasis>,
    /// Sessions that ended whose use is known.
    pub known_sessions: u64,
    /// Why nothing can be said; null: something is.
    pub unknown_because: Option<UnknownSizing>,
}

/// What is known of the sessions of a definition.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SizingFacts {
    /// Sessions that ended.
    pub ended_sessions: u64,
    /// The largest use of a session of the topology that is asked about: cores or MB.
    pub largest_use: Option<f64>,
}

/// What is recommended of one resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecommendedSize {
    /// What the definition states: cores or MB.
    pub configured: Option<f64>,
    /// Whole cores or GB that would be stated.
    pub requirement: Option<u32>,
    /// What is found of what is configured.
    pub finding: Option<Finding>,
    /// Sessions whose use is known.
    pub sessions: u64,
}

/// What is found of what is configured where another size would do, both in whole cores or GB.
pub fn compared(configured: u32, sufficient: u32, policy: &Policy) -> Finding {
    let change = f64::from(sufficient.abs_diff(configured));
    if change == 0.0 || change < policy.minimum_change.get() * f64::from(configured) {
        return Finding::RightSized;
    }
    if sufficient > configured { Finding::UnderProvisioned } else { Finding::OverProvisioned }
}

impl Sizing {
    /// Of one resource, by what is recommended of it.
    pub fn new(resource: Resource, recommended: RecommendedSize, facts: SizingFacts, policy: &Policy) -> Self {
        let unknown = |because| Self {
            verdict: SizeVerdict::Unknown,
            configured: recommended.configured,
            sufficient: None,
            difference: None,
            basis: None,
            known_sessions: recommended.sessions,
            unknown_because: Some(because),
        };
        let Some(configured) = recommended.configured else { return unknown(UnknownSizing::NotConfigured) };
        let decided = match (recommended.finding, recommended.requirement, facts.largest_use) {
            (Some(finding), Some(sufficient), _) if finding != Finding::InsufficientEvidence => {
                (finding, sufficient, SizingBasis::Recommended)
            }
            (_, _, Some(used)) => {
                let sufficient = resource.rounded_up(used);
                let stated = resource.rounded_up(configured);
                (compared(stated, sufficient, policy), sufficient, SizingBasis::LargestUse)
            }
            (_, _, None) if facts.ended_sessions == 0 => return unknown(UnknownSizing::NoSessionEnded),
            (_, _, None) if recommended.sessions == 0 => return unknown(UnknownSizing::NeverMeasured),
            (_, _, None) => return unknown(UnknownSizing::OtherTopology),
        };
        let (finding, sufficient, basis) = decided;
        let sufficient = f64::from(sufficient) * resource.unit();
        Self {
            verdict: finding.into(),
            configured: Some(configured),
            sufficient: Some(sufficient),
            difference: Some(sufficient - configured),
            basis: Some(basis),
            known_sessions: recommended.sessions,
            unknown_because: None,
        }
    }
}

/// The verdict on a definition: the worst of those on its resources.
pub fn verdict_of_definition(sizing: &ByResource<Sizing>) -> SizeVerdict {
    let verdicts = Resource::ALL.map(|resource| resource.part(sizing).verdict);
    verdicts.into_iter().min().unwrap_or(SizeVerdict::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Resource = Resource::MemoryMb;

    /// What is recommended of a definition that states 8 GB, of which so many sessions are known.
    fn recommended(finding: Finding, requirement: Option<u32>, sessions: u64) -> RecommendedSize {
        RecommendedSize { configured: Some(8192.0), requirement, finding: Some(finding), sessions }
    }

    fn sizing(recommended: RecommendedSize, largest_use: Option<f64>) -> Sizing {
        let facts = SizingFacts { ended_sessions: recommended.sessions, largest_use };
        Sizing::new(MEMORY, recommended, facts, &Policy::default())
    }

    #[test]
    fn with_enough_sessions_the_size_that_keeps_the_promise_decides() {
        let found = sizing(recommended(Finding::OverProvisioned, Some(3), 9), Some(7000.0));
        assert_eq!((found.verdict, found.basis), (SizeVerdict::TooLarge, Some(SizingBasis::Recommended)));
        assert_eq!((found.sufficient, found.difference), (Some(3072.0), Some(-5120.0)));
        let found = sizing(recommended(Finding::UnderProvisioned, Some(9), 9), None);
        assert_eq!((found.verdict, found.difference), (SizeVerdict::TooSmall, Some(1024.0)));
        let found = sizing(recommended(Finding::RightSized, Some(8), 9), Some(9000.0));
        assert_eq!(
            (found.verdict, found.difference),
            (SizeVerdict::Fits, Some(0.0)),
            "one session of many is no verdict"
        );
    }

    #[test]
    fn with_few_sessions_the_largest_use_decides_and_what_was_given_never_does() {
        let few = recommended(Finding::InsufficientEvidence, Some(12), 2);
        let found = sizing(few, Some(2500.0));
        assert_eq!((found.verdict, found.basis), (SizeVerdict::TooLarge, Some(SizingBasis::LargestUse)));
        assert_eq!((found.sufficient, found.difference), (Some(3072.0), Some(-5120.0)), "12 GB rest on too little");
        assert_eq!(sizing(few, Some(8193.0)).verdict, SizeVerdict::TooSmall);
        assert_eq!(sizing(few, Some(7500.0)).verdict, SizeVerdict::Fits);
    }

    #[test]
    fn a_difference_below_the_policys_smallest_change_fits() {
        let mut few = recommended(Finding::InsufficientEvidence, None, 1);
        few.configured = Some(102_400.0);
        assert_eq!(sizing(few, Some(95.0 * 1024.0)).verdict, SizeVerdict::Fits);
        assert_eq!(sizing(few, Some(5.0 * 1024.0)).verdict, SizeVerdict::TooLarge);
    }

    #[test]
    fn where_nothing_is_known_it_is_said_why() {
        let why = |recommended: RecommendedSize, ended_sessions| {
            let facts = SizingFacts { ended_sessions, largest_use: None };
            let found = Sizing::new(MEMORY, recommended, facts, &Policy::default());
            assert_eq!((found.verdict, found.sufficient, found.difference), (SizeVerdict::Unknown, None, None));
            found.unknown_because.unwrap()
        };
        let never = recommended(Finding::InsufficientEvidence, Some(3), 0);
        assert_eq!(why(never, 0), UnknownSizing::NoSessionEnded);
        assert_eq!(why(never, 4), UnknownSizing::NeverMeasured);
        assert_eq!(why(recommended(Finding::InsufficientEvidence, None, 2), 2), UnknownSizing::OtherTopology);
        let nobody = RecommendedSize { configured: None, finding: None, ..never };
        assert_eq!(why(nobody, 4), UnknownSizing::NotConfigured);
    }

    #[test]
    fn the_worst_resource_speaks_for_the_definition() {
        let of = |finding| sizing(recommended(finding, Some(8), 9), None);
        let mut all = Resource::each(|_| of(Finding::RightSized));
        assert_eq!(verdict_of_definition(&all), SizeVerdict::Fits);
        all.storage_mb = of(Finding::OverProvisioned);
        assert_eq!(verdict_of_definition(&all), SizeVerdict::TooLarge);
        all.cpu_cores = of(Finding::UnderProvisioned);
        assert_eq!(verdict_of_definition(&all), SizeVerdict::TooSmall);
    }
}
