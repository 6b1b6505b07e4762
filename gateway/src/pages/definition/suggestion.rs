//! What a definition's number would be after what was observed: rounded up to what a definition allows, and said so.

use advice::recommendation::Recommendation;
use advice::sizing::SizeVerdict;
use domain::lablet_definition::ResourceRequirements;
use domain::resource::Resource;
use projections::read_models::observations::{DefinitionObservations, Spread};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::pages::{parts, verdict};

/// Where the numbers of a form come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// The greatest of each quantity.
    Max,
    /// Of the most recently observed session that knows it.
    Latest,
    /// What would do, by the verdict on each resource; what fits stays.
    Recommended,
    /// What is configured now, to be changed by hand.
    #[default]
    Custom,
}

impl Source {
    /// The button that leads here.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Max => "Apply max",
            Self::Latest => "Apply latest",
            Self::Recommended => "Apply recommended",
            Self::Custom => "Custom",
        }
    }

    fn select<T: Copy>(self, spread: &Spread<T>) -> Option<(T, Option<Uuid>)> {
        match self {
            Self::Max => spread.max.map(|value| (value, spread.max_event_id)),
            Self::Latest => spread.latest.map(|value| (value, spread.latest_event_id)),
            Self::Recommended | Self::Custom => None,
        }
    }
}

/// A number for a definition, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suggestion {
    /// The number, in the definition's unit.
    pub(crate) value: u32,
    /// How it came about, rounding included.
    pub(crate) words: String,
    /// The event that it comes from.
    pub(crate) event_id: Option<Uuid>,
}

/// The three numbers of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suggestions {
    /// Whole cores.
    pub(crate) cpu_cores: Suggestion,
    /// Whole GB.
    pub(crate) memory_gb: Suggestion,
    /// Whole GB.
    pub(crate) storage_gb: Suggestion,
}

impl Suggestions {
    /// What `source` makes of the observations, for a definition that is configured like this.
    pub(crate) fn new(
        source: Source,
        configured: &ResourceRequirements,
        observed: &DefinitionObservations,
        recommended: Option<&Recommendation>,
    ) -> Self {
        let aggregate = &observed.aggregate;
        let suggest = |resource: Resource, spread: &Spread<f64>| {
            let (unit, configured) = (Unit::from(resource), resource.configured(configured));
            match source {
                Source::Max | Source::Latest => from_observed(source.select(spread), unit, configured),
                Source::Recommended => from_recommended(resource, recommended, configured),
                Source::Custom => by_hand(spread, unit, configured),
            }
        };
        Self {
            cpu_cores: suggest(Resource::CpuCores, &aggregate.cpu_cores),
            memory_gb: suggest(Resource::MemoryMb, &aggregate.memory_mb),
            storage_gb: suggest(Resource::StorageMb, &aggregate.storage_mb),
        }
    }

    /// The events that the numbers come from, each once.
    pub(crate) fn event_ids(&self) -> Vec<Uuid> {
        let mut ids = Vec::new();
        for suggestion in [&self.cpu_cores, &self.memory_gb, &self.storage_gb] {
            ids.extend(suggestion.event_id.filter(|id| !ids.contains(id)));
        }
        ids
    }
}

/// A definition's unit, and that of what is observed.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// Cores; observed in cores.
    Cores,
    /// GB; observed in MB.
    Gigabytes,
}

impl From<Resource> for Unit {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::CpuCores => Self::Cores,
            Resource::MemoryMb | Resource::StorageMb => Self::Gigabytes,
        }
    }
}

impl Unit {
    fn convert(self, observed: f64) -> f64 {
        match self {
            Self::Cores => observed,
            Self::Gigabytes => parts::gigabytes(observed),
        }
    }

    /// A whole number of this unit.
    fn whole(self, value: u32) -> String {
        match (self, value) {
            (Self::Cores, 1) => "1 core".to_owned(),
            (Self::Cores, _) => format!("{value} cores"),
            (Self::Gigabytes, _) => format!("{value} GB"),
        }
    }

    /// What was observed, in its own unit and in this one.
    fn observed(self, observed: f64) -> String {
        match self {
            Self::Cores => parts::known_cores(&Some(observed)),
            Self::Gigabytes => {
                let gigabytes = parts::gigabytes(observed);
                let text = parts::number(&gigabytes);
                // Two decimals may hide what is rounded up: 8193 MB are not 8 GB.
                let nearly = match text.parse::<f64>() {
                    Ok(whole) if whole.fract() == 0.0 && gigabytes > whole => "just over ",
                    Ok(whole) if whole.fract() == 0.0 && gigabytes < whole => "just under ",
                    _ => "",
                };
                format!("{} MB = {nearly}{text} GB", parts::number(&observed))
            }
        }
    }
}

/// Sums of shares carry noise far below anything that matters: 3.0000000000000004 cores are 3.
const NOISE: f64 = 1e-6;

fn from_observed(observed: Option<(f64, Option<Uuid>)>, unit: Unit, configured: u32) -> Suggestion {
    let Some((observed, event_id)) = observed else {
        let words = format!("unknown: stays {}", unit.whole(configured));
        return Suggestion { value: configured, words, event_id: None };
    };
    let exact = unit.convert(observed);
    let value = rounded_up(exact);
    let said = unit.observed(observed);
    let words = if exact < NOISE {
        format!("{said}, raised to {}, the least a definition allows", unit.whole(value))
    } else if f64::from(value) - exact > NOISE {
        format!("{said}, rounded up to {}", unit.whole(value))
    } else {
        said
    };
    Suggestion { value, words, event_id }
}

/// What would do, where the size does not fit; else it stays, and it is said why.
fn from_recommended(resource: Resource, recommended: Option<&Recommendation>, configured: u32) -> Suggestion {
    let unit = Unit::from(resource);
    let stays = |why: String| Suggestion {
        value: configured,
        words: format!("{why}: stays {}", unit.whole(configured)),
        event_id: None,
    };
    let Some((recommended, sizing)) = recommended.and_then(|found| Some((found, found.sizing.as_ref()?))) else {
        return stays("unknown".to_owned());
    };
    let sizing = resource.part(sizing);
    match (sizing.verdict, sizing.sufficient) {
        (SizeVerdict::TooSmall | SizeVerdict::TooLarge, Some(sufficient)) => Suggestion {
            value: resource.rounded_up(sufficient),
            words: verdict::because(resource, sizing),
            event_id: resource
                .part(&recommended.resources)
                .evidence
                .first()
                .and_then(|event| event.as_str().parse().ok()),
        },
        (SizeVerdict::Fits, _) => stays("it fits".to_owned()),
        _ => stays(verdict::because(resource, sizing)),
    }
}

fn by_hand(spread: &Spread<f64>, unit: Unit, configured: u32) -> Suggestion {
    let words = match (spread.max, spread.latest) {
        (Some(max), Some(latest)) => {
            format!("observed: at most {}; latest {}", unit.observed(max), unit.observed(latest))
        }
        _ => "observed: unknown".to_owned(),
    };
    Suggestion { value: configured, words, event_id: None }
}

/// Up to the next whole number, and at least 1. What is beyond any definition stays beyond it, so that it is refused.
fn rounded_up(value: f64) -> u32 {
    let up = (value - NOISE).ceil().clamp(1.0, f64::from(u32::MAX));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the bounds of u32"
    )]
    let whole = up as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(observed: f64, unit: Unit) -> (u32, String) {
        let suggestion = from_observed(Some((observed, Some(Uuid::nil()))), unit, 20);
        (suggestion.value, suggestion.words)
    }

    #[test]
    fn what_was_observed_is_rounded_up_and_the_rounding_is_said() {
        assert_eq!(told(8448.0, Unit::Gigabytes), (9, "8448 MB = 8.25 GB, rounded up to 9 GB".to_owned()));
        assert_eq!(told(8192.0, Unit::Gigabytes), (8, "8192 MB = 8 GB".to_owned()));
        assert_eq!(told(8193.0, Unit::Gigabytes), (9, "8193 MB = just over 8 GB, rounded up to 9 GB".to_owned()));
        assert_eq!(told(23_549.0, Unit::Gigabytes).1, "23549 MB = just under 23 GB, rounded up to 23 GB");
        assert_eq!(told(2.5, Unit::Cores), (3, "2.5 cores, rounded up to 3 cores".to_owned()));
        assert_eq!(told(4.0, Unit::Cores), (4, "4 cores".to_owned()));
        assert_eq!(told(0.2, Unit::Cores), (1, "0.2 cores, rounded up to 1 core".to_owned()));
    }

    #[test]
    fn noise_of_a_sum_is_not_rounded_up() {
        assert_eq!(told(0.1 + 0.2 + 2.7, Unit::Cores), (3, "3 cores".to_owned()));
        assert_eq!(told(3.000_000_000_000_000_4, Unit::Cores).0, 3);
    }

    #[test]
    fn nothing_is_less_than_a_definition_allows_and_what_is_too_much_stays_too_much() {
        let least = "0 MB = 0 GB, raised to 1 GB, the least a definition allows".to_owned();
        assert_eq!(told(0.0, Unit::Gigabytes), (1, least));
        assert_eq!(told(1e9, Unit::Cores).0, 1_000_000_000);
        assert_eq!(told(1e12, Unit::Cores).0, u32::MAX);
    }

    #[test]
    fn what_is_unknown_stays_as_it_is() {
        let stays = from_observed(None, Unit::Gigabytes, 20);
        assert_eq!((stays.value, stays.words.as_str(), stays.event_id), (20, "unknown: stays 20 GB", None));
    }
}
