//! What a definition can state: whole cores and whole GB, within the bounds of a policy.

use domain::advice_policy::{Limits, Policy};
use domain::resource::Resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What moved a requirement away from what keeps the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The policy's floor raised it.
    Floor,
    /// The policy's cap lowered it.
    Cap,
    /// The policy's largest step stopped it on its way up.
    StepUp,
    /// The policy's largest step stopped it on its way down.
    StepDown,
}

/// What a definition would state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// Whole cores or GB that keep the promise.
    pub rounded: u32,
    /// What bounds it; null: nothing.
    pub bound: Option<Bound>,
    /// Whole cores or GB within the bounds.
    pub value: u32,
}

impl Requirement {
    /// Rounds an amount of cores or MB up, and keeps it within the policy. `configured` is in whole cores or GB.
    pub fn new(resource: Resource, amount: f64, configured: Option<u32>, policy: &Policy) -> Self {
        let rounded = resource.rounded_up(amount);
        let Limits { floor, cap } = *resource.part(&policy.limits);
        let (mut value, mut bound) = (rounded, None);
        let mut bind = |to: u32, by: Bound, is_bound: fn(u32, u32) -> bool| {
            if is_bound(value, to) {
                (value, bound) = (to, Some(by));
            }
        };
        if let Some(floor) = floor {
            bind(resource.rounded_up(floor.get()), Bound::Floor, |value, floor| value < floor);
        }
        if let Some(cap) = cap {
            bind(resource.rounded_down(cap.get()), Bound::Cap, |value, cap| value > cap);
        }
        if let Some((step, configured)) = policy.largest_step.zip(configured) {
            let (unit, whole) = (resource.unit(), f64::from(configured) * resource.unit());
            // A step of less than one unit would never move it.
            let most = (whole * (1.0 + step.get())).max(whole + unit);
            let least = (whole * (1.0 - step.get())).min(whole - unit);
            bind(resource.rounded_down(most), Bound::StepUp, |value, most| value > most);
            bind(resource.rounded_up(least), Bound::StepDown, |value, least| value < least);
        }
        Self { rounded, bound, value }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Amount, Share};

    use super::*;

    const MEMORY: Resource = Resource::MemoryMb;

    fn policy(floor: Option<f64>, cap: Option<f64>, step: Option<f64>) -> Policy {
        let amount = |amount: Option<f64>| amount.map(|amount| Amount::new(amount).unwrap());
        let mut policy = Policy::default();
        policy.limits.memory_mb = Limits { floor: amount(floor), cap: amount(cap) };
        policy.largest_step = step.map(|step| Share::new(step).unwrap());
        policy
    }

    fn memory(amount: f64, configured: u32, policy: &Policy) -> (u32, Option<Bound>) {
        let found = Requirement::new(MEMORY, amount, Some(configured), policy);
        (found.value, found.bound)
    }

    #[test]
    fn amounts_are_rounded_up_to_what_a_definition_can_state() {
        let found = |resource, amount| Requirement::new(resource, amount, None, &Policy::default()).value;
        assert_eq!([0.0, 1024.0, 1024.1, 5529.6].map(|amount| found(MEMORY, amount)), [1, 1, 2, 6]);
        assert_eq!([0.3, 2.0, 2.01, 1e9].map(|amount| found(Resource::CpuCores, amount)), [1, 2, 3, 10_000]);
        assert_eq!(found(Resource::StorageMb, f64::MAX), 10_000_000);
    }

    #[test]
    fn a_policy_bounds_what_is_stated_and_it_is_said_by_what() {
        assert_eq!(memory(2048.0, 4, &policy(Some(3000.0), None, None)), (3, Some(Bound::Floor)));
        assert_eq!(memory(8192.0, 4, &policy(None, Some(6500.0), None)), (6, Some(Bound::Cap)));
        assert_eq!(memory(5000.0, 4, &policy(Some(1024.0), Some(8192.0), None)), (5, None));
        assert_eq!(memory(16_384.0, 8, &policy(None, None, Some(0.5))), (12, Some(Bound::StepUp)));
        assert_eq!(memory(1024.0, 8, &policy(None, None, Some(0.25))), (6, Some(Bound::StepDown)));
        assert_eq!(
            memory(4096.0, 2, &policy(None, None, Some(0.2))),
            (3, Some(Bound::StepUp)),
            "one GB is always a step"
        );
    }
}
