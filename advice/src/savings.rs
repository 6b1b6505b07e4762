//! What a proposal frees or protects.

use domain::demand::ByResource;
use domain::lablet_definition::ResourceRequirements;
use domain::resource::Resource;

/// The weeks whose sessions say how many there are a week.
pub const WEEKS: u32 = 4;

/// Cores and MB that a size frees over the sessions of a week, less than zero where it gives more than the one before and so
/// protects sessions from being short. `sessions` are those of the last [`WEEKS`].
pub fn weekly_savings(before: &ResourceRequirements, after: &ResourceRequirements, sessions: u64) -> ByResource<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a definition has fewer than 2^53 sessions")]
    let a_week = sessions as f64 / f64::from(WEEKS);
    Resource::each(|resource| {
        let difference = f64::from(resource.configured(before)) - f64::from(resource.configured(after));
        difference * resource.unit() * a_week
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_freed_counts_for_each_session_of_a_week() {
        let size = |cpu_cores: u32, memory_gb: u32| -> ResourceRequirements {
            serde_json::from_value(json!({"cpu_cores": cpu_cores, "memory_gb": memory_gb, "storage_gb": 20})).unwrap()
        };
        let found = weekly_savings(&size(4, 16), &size(6, 8), 10);
        assert_eq!((found.cpu_cores, found.memory_mb, found.storage_mb), (-5.0, 20_480.0, 0.0));
        assert_eq!(weekly_savings(&size(4, 16), &size(6, 8), 0).memory_mb, 0.0);
    }
}
