//! Amounts of a resource, and shares, in words.

use domain::advice_policy::Promise;
use domain::resource::Resource;

use crate::pages::parts;

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

/// A share as a percentage, e.g. `97.5 %`, or that it is unknown.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "unknown".to_owned(), |share| format!("{} %", parts::number(&(share * 100.0))))
}

/// How many of a hundred a promise is of, e.g. `95 of 100`.
pub(crate) fn of_a_hundred(promise: Promise) -> String {
    format!("{} of 100", parts::number(&(promise.share() * 100.0)))
}
