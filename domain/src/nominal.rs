//! What CML gave a node when it started: resolved from three places, or unknown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Node definitions that consist of no machine at all: their CPU and RAM are a real zero.
const WITHOUT_MACHINE: [&str; 2] = ["external_connector", "unmanaged_switch"];

/// Whether nodes of this definition are machines at all, with CPU, memory, a disk and a boot.
pub fn has_machine(node_definition: &str) -> bool {
    !WITHOUT_MACHINE.contains(&node_definition)
}

/// CPU and memory as one of CML's places states them. Absent is not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatedResources {
    /// Number of virtual CPUs.
    pub cpus: Option<u32>,
    /// Percentage of each virtual CPU that may be used, 20 to 100. Not cores.
    pub cpu_limit: Option<u32>,
    /// Memory in MB.
    pub ram: Option<u64>,
}

/// Where CML states what a node has, the most authoritative first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeResources {
    /// `operational`: what it really got; filled when it starts.
    pub operational: StatedResources,
    /// The node's own overrides; nearly always null.
    pub overrides: StatedResources,
    /// The node definition's defaults.
    pub definition: StatedResources,
}

/// Nominal resources of one node. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Nominal {
    /// Number of virtual CPUs.
    pub cpus: Option<u32>,
    /// Percentage of each virtual CPU.
    pub cpu_limit: Option<u32>,
    /// `cpus × cpu_limit / 100`.
    pub cpu_cores: Option<f64>,
    /// Memory in MB.
    pub memory_mb: Option<u64>,
}

impl NodeResources {
    /// Resolves each quantity: operational → override → node definition → unknown.
    ///
    /// A limit that is stated nowhere, while the CPUs are, is CML's default of 100 percent. Connectors and switches
    /// have no machine, so theirs is a real zero.
    pub fn resolve(&self, node_definition: &str) -> Nominal {
        if !has_machine(node_definition) {
            return Nominal { cpus: Some(0), cpu_limit: None, cpu_cores: Some(0.0), memory_mb: Some(0) };
        }
        let places = [&self.operational, &self.overrides, &self.definition];
        let cpus = places.iter().find_map(|place| place.cpus);
        let stated_limit = places.iter().find_map(|place| place.cpu_limit);
        let cpu_limit = stated_limit.or(cpus.map(|_| 100));
        Nominal {
            cpus,
            cpu_limit,
            cpu_cores: cpus.zip(cpu_limit).map(|(cpus, limit)| f64::from(cpus) * f64::from(limit) / 100.0),
            memory_mb: places.iter().find_map(|place| place.ram),
        }
    }
}

/// Sums quantities of which some may be unknown: the sum of the known ones and how many were unknown.
///
/// The total is `None` as soon as one part is unknown: a sum that leaves parts out looks smaller than the truth.
pub fn total(parts: impl IntoIterator<Item = Option<f64>>) -> (Option<f64>, u32) {
    let (mut sum, mut unknown) = (0.0, 0);
    for part in parts {
        match part {
            Some(part) => sum += part,
            None => unknown += 1,
        }
    }
    ((unknown == 0).then_some(sum), unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(cpus: u32, cpu_limit: u32, ram: u64) -> StatedResources {
        StatedResources { cpus: Some(cpus), cpu_limit: Some(cpu_limit), ram: Some(ram) }
    }

    #[test]
    fn operational_wins_over_override_over_definition() {
        let mut resources = NodeResources {
            operational: stated(2, 50, 768),
            overrides: stated(4, 100, 4096),
            definition: stated(1, 100, 512),
        };
        assert_eq!(resources.resolve("iosv").cpu_cores, Some(1.0));
        resources.operational = StatedResources::default();
        assert_eq!(resources.resolve("iosv").memory_mb, Some(4096));
        resources.overrides = StatedResources::default();
        assert_eq!(resources.resolve("iosv").memory_mb, Some(512));
        resources.definition = StatedResources::default();
        assert_eq!(resources.resolve("iosv"), Nominal::default());
    }

    #[test]
    fn a_percentage_is_not_a_core() {
        let resources = NodeResources { operational: stated(4, 25, 1), ..NodeResources::default() };
        assert_eq!(resources.resolve("ubuntu").cpu_cores, Some(1.0));
    }

    #[test]
    fn connectors_are_a_real_zero_and_unknown_is_not() {
        assert_eq!(NodeResources::default().resolve("external_connector").memory_mb, Some(0));
        assert_eq!(NodeResources::default().resolve("mystery").memory_mb, None);
        assert_eq!(total([Some(1.5), None, Some(2.0)]), (None, 1));
        assert_eq!(total([Some(1.5), Some(2.0)]), (Some(3.5), 0));
        assert_eq!(total([]), (Some(0.0), 0));
    }
}
