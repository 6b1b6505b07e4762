//! Amounts of a resource, and shares, in words.

use advice::recommendation::{RecommendationKind, ResourceRecommendation};
use domain::advice_policy::Promise;
use domain::resource::Resource;

use crate::pages::parts;

/// What a resource is called.
pub(crate) fn name(resource: Resource) -> &'static str {
    match resource {
        Resource::CpuCores => "CPU",
        Resource::MemoryMb => "Memory",
        Resource::StorageMb => "Storage",
    }
}

/// What a resource is called within a sentence.
pub(crate) fn noun(resource: Resource) -> &'static str {
    match resource {
        Resource::CpuCores => "CPU",
        Resource::MemoryMb => "memory",
        Resource::StorageMb => "storage",
    }
}

/// An amount of cores or MB, in cores or GB, or that it is unknown.
pub(crate) fn amount(resource: Resource, amount: Option<f64>) -> String {
    match resource {
        Resource::CpuCores => parts::known_cores(&amount),
        Resource::MemoryMb | Resource::StorageMb => parts::known_gb(&amount),
    }
}

/// Whole cores or GB, as a definition states them.
pub(crate) fn stated(resource: Resource, units: u32) -> String {
    amount(resource, Some(f64::from(units) * resource.unit()))
}

/// Whole cores or GB that a definition would state, or that nothing is known.
pub(crate) fn stated_if_known(resource: Resource, units: Option<u32>) -> String {
    units.map_or_else(|| "unknown".to_owned(), |units| stated(resource, units))
}

/// A share as a percentage, e.g. `97.5 %`, or that it is unknown.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "unknown".to_owned(), |share| format!("{} %", parts::number(&(share * 100.0))))
}

/// An amount in a sentence: its number and its unit stay on one line.
pub(crate) fn unbroken(amount: &str) -> String {
    amount.replace(' ', "\u{a0}")
}

/// How many of a hundred a promise is of, e.g. `95 of 100`.
pub(crate) fn of_a_hundred(promise: Promise) -> String {
    format!("{} of 100", parts::number(&(promise.share() * 100.0)))
}

/// A ratio of which the logarithm is known, e.g. `× 1.04`.
pub(crate) fn factor(logarithm: f64) -> String {
    format!("× {}", parts::number(&logarithm.exp()))
}

/// What a recommendation rests on.
pub(crate) fn kind(kind: RecommendationKind) -> &'static str {
    match kind {
        RecommendationKind::Calibrated => "calibrated by past sessions",
        RecommendationKind::FromTopology => "from the topology alone",
        RecommendationKind::DistributionFree => "little evidence",
        RecommendationKind::Floored => "kept up by the policy",
        RecommendationKind::Capped => "kept down by the policy",
        RecommendationKind::Insufficient => "nothing is known",
    }
}

/// What is recommended, what that keeps, and what it rests on, in a sentence.
pub(crate) fn sentence(resource: Resource, promise: Promise, found: &ResourceRecommendation) -> String {
    let Some(units) = found.requirement else {
        return "Nothing is known of it yet, so no size is recommended.".to_owned();
    };
    let (size, hundred, noun) = (stated(resource, units), of_a_hundred(promise), noun(resource));
    let keeps = if resource == Resource::CpuCores && units != 1 { "keep" } else { "keeps" };
    let boot = if found.includes_boot() { ", boot included" } else { "" };
    let said = match found.kind {
        RecommendationKind::Capped => {
            format!(
                "{size} is as far as the policy goes, and {keeps} fewer than {hundred} sessions within their {noun}{boot}"
            )
        }
        RecommendationKind::Calibrated
        | RecommendationKind::FromTopology
        | RecommendationKind::DistributionFree
        | RecommendationKind::Floored
        | RecommendationKind::Insufficient => format!("{size} {keeps} {hundred} sessions within their {noun}{boot}"),
    };
    let seen = match (found.sessions, found.demand.max) {
        (0, _) => "no session was seen".to_owned(),
        (sessions, None) => format!("seen {}", parts::counted(&sessions, "session")),
        (sessions, Some(max)) => {
            format!("seen {}; the largest used {}", parts::counted(&sessions, "session"), amount(resource, Some(max)))
        }
    };
    format!("{said}; {seen}.")
}

#[cfg(test)]
mod tests {
    use advice::recommendation::{Reason, ReasonCode};

    use super::*;
    use crate::pages::advice::tests::recommendation;

    #[test]
    fn a_recommendation_is_told_in_a_sentence() {
        let promise = Promise::default();
        let mut found = recommendation();
        (found.requirement, found.sessions, found.demand.max) = (Some(6), 23, Some(5529.6));
        assert_eq!(
            sentence(Resource::MemoryMb, promise, &found),
            "6 GB keeps 95 of 100 sessions within their memory; seen 23 sessions; the largest used 5.4 GB."
        );
        found.reasons.push(Reason { code: ReasonCode::BootIncluded, text: String::new() });
        assert!(sentence(Resource::MemoryMb, promise, &found).contains("within their memory, boot included; seen"));
        found.reasons.clear();
        (found.kind, found.requirement) = (RecommendationKind::Capped, Some(4));
        assert!(
            sentence(Resource::MemoryMb, promise, &found)
                .starts_with("4 GB is as far as the policy goes, and keeps fewer")
        );
        (found.kind, found.sessions, found.demand.max) = (RecommendationKind::FromTopology, 0, None);
        assert_eq!(
            sentence(Resource::CpuCores, Promise::new(0.975).unwrap(), &found),
            "4 cores keep 97.5 of 100 sessions within their CPU; no session was seen."
        );
        found.requirement = None;
        assert!(sentence(Resource::CpuCores, promise, &found).contains("no size is recommended"));
    }

    #[test]
    fn shares_and_ratios_have_no_more_decimals_than_they_need() {
        assert_eq!((percent(Some(0.95)), percent(None), factor(0.0)), ("95 %".into(), "unknown".into(), "× 1".into()));
        assert_eq!(
            (stated(Resource::CpuCores, 1), stated_if_known(Resource::MemoryMb, None)),
            ("1 core".into(), "unknown".into())
        );
    }
}
