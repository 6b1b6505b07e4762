//! Whether a size is too small, fits or is too large, in the same words and signs on every page.

use advice::sizing::{SizeVerdict, Sizing, SizingBasis, verdict_of_definition};
use domain::demand::ByResource;
use domain::resource::Resource;

use super::advice::amounts::{amount, noun};
use super::parts::{self, Badge, Tone};

/// A verdict with its sign, and with what is said of it.
fn signed(verdict: SizeVerdict, words: String) -> Badge {
    let (tone, sign) = match verdict {
        SizeVerdict::TooSmall => (Tone::Bad, "▲"),
        SizeVerdict::TooLarge => (Tone::Warn, "▽"),
        SizeVerdict::Fits => (Tone::Good, "✓"),
        SizeVerdict::Unknown => (Tone::Calm, "?"),
    };
    Badge::new(tone, sign, words)
}

/// A verdict alone.
pub(crate) fn named(verdict: SizeVerdict) -> Badge {
    signed(verdict, verdict.words().to_owned())
}

/// The verdict on one resource, with the amount.
pub(crate) fn sized(resource: Resource, sizing: &Sizing) -> Badge {
    let words = match (sizing.verdict, sizing.difference) {
        (verdict @ (SizeVerdict::TooSmall | SizeVerdict::TooLarge), Some(difference)) => {
            format!("{} by {}", verdict.words(), amount(resource, Some(difference.abs())))
        }
        (verdict, _) => verdict.words().to_owned(),
    };
    signed(sizing.verdict, words)
}

/// What decided, or why nothing can be said.
pub(crate) fn because(resource: Resource, sizing: &Sizing) -> String {
    match (sizing.basis, sizing.sufficient, sizing.unknown_because) {
        (Some(SizingBasis::Recommended), Some(sufficient), _) => {
            format!("{} keeps the promise", amount(resource, Some(sufficient)))
        }
        (Some(SizingBasis::LargestUse), Some(sufficient), _) => format!(
            "{} holds the largest use of {}",
            amount(resource, Some(sufficient)),
            parts::counted(&sizing.known_sessions, "session")
        ),
        (_, _, Some(because)) => because.words().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// The verdict on a definition in a few words: the worst of its resources, by name. `None`: advice does not know it yet.
pub(crate) fn of_definition(sizing: &Option<ByResource<Sizing>>) -> Badge {
    let Some(sizing) = sizing else { return signed(SizeVerdict::Unknown, "size unknown".to_owned()) };
    let worst = verdict_of_definition(sizing);
    let with = |verdict: SizeVerdict| {
        let named = Resource::ALL.into_iter().filter(|one| one.part(sizing).verdict == verdict);
        named.map(noun).collect::<Vec<_>>().join(", ")
    };
    let words = match worst {
        SizeVerdict::TooSmall | SizeVerdict::TooLarge
            if Resource::ALL.iter().all(|one| one.part(sizing).verdict == worst) =>
        {
            format!("all {}", worst.words())
        }
        SizeVerdict::TooSmall | SizeVerdict::TooLarge => format!("{} {}", with(worst), worst.words()),
        SizeVerdict::Fits => match with(SizeVerdict::Unknown).as_str() {
            "" => "size fits".to_owned(),
            unknown => format!("size fits, {unknown} unknown"),
        },
        SizeVerdict::Unknown => "size unknown".to_owned(),
    };
    signed(worst, words)
}

/// The size as it is, and what would do, e.g. `100 → 5 GB`.
pub(crate) fn change(resource: Resource, sizing: &Sizing) -> String {
    let units = |amount: f64| parts::grouped(&(amount / resource.unit()));
    match (sizing.configured, sizing.sufficient) {
        (Some(configured), Some(sufficient)) => {
            format!("{} → {} {}", units(configured), units(sufficient), resource.unit_name())
        }
        (Some(configured), None) => format!("{} {}, enough: unknown", units(configured), resource.unit_name()),
        (None, _) => "unknown".to_owned(),
    }
}

/// A gap over the sessions of a week, e.g. `1,330 GB·sessions`.
pub(crate) fn weekly(resource: Resource, gap: Option<f64>) -> String {
    gap.map_or_else(
        || "unknown".to_owned(),
        |gap| {
            let unit = resource.unit_name().trim_end_matches('s');
            format!("{} {unit}·sessions", parts::grouped(&(gap / resource.unit())))
        },
    )
}

/// How much of what is configured was used, e.g. `5 % used` or `5.4× over`.
pub(crate) fn share_used(configured: Option<f64>, used: Option<f64>) -> Option<String> {
    let share = used? / configured.filter(|configured| *configured > 0.0)?;
    Some(match share {
        share if share > 1.0 => format!("{}× over", parts::number(&share)),
        share => format!("{} % used", parts::number(&(share * 100.0).round())),
    })
}

#[cfg(test)]
mod tests {
    use advice::sizing::UnknownSizing;

    use super::*;

    fn sizing(verdict: SizeVerdict, configured: f64, sufficient: Option<f64>) -> Sizing {
        Sizing {
            verdict,
            configured: Some(configured),
            sufficient,
            difference: sufficient.map(|sufficient| sufficient - configured),
            basis: sufficient.map(|_| SizingBasis::LargestUse),
            known_sessions: 2,
            unknown_because: sufficient.is_none().then_some(UnknownSizing::NoSessionEnded),
        }
    }

    #[test]
    fn a_verdict_says_the_amount_and_what_decided() {
        let large = sizing(SizeVerdict::TooLarge, 102_400.0, Some(5_120.0));
        let told = |sizing: &Sizing| (sized(Resource::StorageMb, sizing).words, because(Resource::StorageMb, sizing));
        assert_eq!(
            told(&large),
            ("too large by 95 GB".to_owned(), "5 GB holds the largest use of 2 sessions".to_owned())
        );
        assert_eq!(change(Resource::StorageMb, &large), "100 → 5 GB");
        let unknown = sizing(SizeVerdict::Unknown, 102_400.0, None);
        assert_eq!(told(&unknown), ("unknown".to_owned(), "no session has ended".to_owned()));
        assert_eq!(change(Resource::StorageMb, &unknown), "100 GB, enough: unknown");
    }

    #[test]
    fn a_gap_is_told_over_the_sessions_of_a_week() {
        assert_eq!(weekly(Resource::StorageMb, Some(95.0 * 1024.0 * 14.0)), "1,330 GB·sessions");
        assert_eq!(weekly(Resource::CpuCores, Some(3.5)), "3.5 core·sessions");
        assert_eq!(weekly(Resource::CpuCores, None), "unknown");
    }

    #[test]
    fn used_is_a_share_of_what_is_configured_or_so_many_times_over() {
        assert_eq!(share_used(Some(100.0), Some(4.9)).as_deref(), Some("5 % used"));
        assert_eq!(share_used(Some(2.0), Some(10.8)).as_deref(), Some("5.4× over"));
        assert_eq!((share_used(Some(2.0), None), share_used(None, Some(2.0))), (None, None));
    }

    #[test]
    fn a_definition_is_told_by_its_worst_resources() {
        let fits = sizing(SizeVerdict::Fits, 1024.0, Some(1024.0));
        let mut all = Resource::each(|_| fits);
        assert_eq!(of_definition(&Some(all)).words, "size fits");
        all.storage_mb = sizing(SizeVerdict::Unknown, 1024.0, None);
        assert_eq!(of_definition(&Some(all)).words, "size fits, storage unknown");
        all.memory_mb = sizing(SizeVerdict::TooLarge, 2048.0, Some(1024.0));
        assert_eq!(of_definition(&Some(all)).words, "memory too large");
        all.cpu_cores = sizing(SizeVerdict::TooSmall, 1.0, Some(2.0));
        assert_eq!(of_definition(&Some(all)).words, "CPU too small");
        assert_eq!(of_definition(&None).words, "size unknown");
    }
}
