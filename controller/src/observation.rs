//! The pure fold from what was read of a lab to what is reported of it.
//!
//! Unknown stays unknown: a read that failed is named in the coverage, and its values are null, not zero.

mod fingerprint;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::nominal::{NodeResources, Nominal, StatedResources, has_machine, total};
use domain::observation::{
    Coverage, FailedRead, InterfaceObservation, MOST_INTERFACES, MOST_SMALL, NodeCount, NodeObservation, NodeUsage,
    Phase, Quantities, ResourceObservation, SimulationStats, Usage,
};
use domain::port_tags::LabPorts;
use domain::ports::PortRange;
use domain::text::{LabTitle, Label, Name, Token};
use domain::time::BoundedTime;
use domain::{Actor, Amount, Invalid, List, RawJson, Whole};

use crate::cml::CmlError;
use crate::cml::answers::{
    Address, Addresses, ElementStates, Interface, Node, NodeDefaults, NodeStats, Reading, Stats, Topology,
};

/// Who observed, in [`ResourceObservation::observer`].
pub const OBSERVER: &str = "controller";

/// Everything that was read of one lab, each read on its own: one that failed does not take the others with it.
#[derive(Debug, Clone)]
pub struct LabReads {
    /// Read A.
    pub nodes: Result<Reading<Vec<Node>>, CmlError>,
    /// Read B.
    pub topology: Result<Reading<Topology>, CmlError>,
    /// Read C.
    pub states: Result<Reading<ElementStates>, CmlError>,
    /// Read D.
    pub addresses: Result<Reading<Addresses>, CmlError>,
    /// Read E.
    pub stats: Result<Reading<Stats>, CmlError>,
    /// Read F. `None`: no node needed a default.
    pub defaults: Option<Result<Arc<Reading<NodeDefaults>>, CmlError>>,
    /// The controller's version.
    pub version: Result<String, CmlError>,
}

/// Why nothing can be said about a lab. The text fits into an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObservationImpossible {
    /// CML could not be signed in to.
    #[error("signing in to CML: {0}")]
    SignIn(CmlError),
    /// The lab does not exist on this worker.
    #[error("the lab does not exist on its worker")]
    LabGone,
    /// Neither the nodes nor the topology could be read.
    #[error("the lab's nodes could not be read: {}", listed(.0))]
    NothingRead(Vec<FailedRead>),
    /// CML reported what an observation cannot hold.
    #[error("CML reported what an observation cannot hold: {0}")]
    Absurd(Invalid),
}

fn listed(failed: &[FailedRead]) -> String {
    failed.iter().map(|failed| format!("{}: {}", failed.read, failed.reason)).collect::<Vec<_>>().join("; ")
}

/// Whether a node's size is stated neither in what it got nor in what was asked for, so that the definition's
/// defaults are needed.
pub(crate) fn needs_defaults(
    nodes: &Result<Reading<Vec<Node>>, CmlError>,
    topology: &Result<Reading<Topology>, CmlError>,
) -> bool {
    joined(nodes.as_ref().ok(), topology.as_ref().ok()).values().any(|node| {
        has_machine(&node.node_definition)
            && (stated(node).operational.cpus.or(stated(node).overrides.cpus).is_none()
                || stated(node).operational.ram.or(stated(node).overrides.ram).is_none())
    })
}

/// What was seen of a lab, from everything that could be read of it at `now`.
///
/// A lab is steady when every running node had booted at least `settling` ago. The worker honours the ports of
/// `port_range`.
///
/// # Errors
/// [`ObservationImpossible`] when the lab is gone, or neither read A nor read B gave its nodes.
pub fn assemble(
    reads: LabReads,
    now: DateTime<Utc>,
    settling: Duration,
    port_range: PortRange,
) -> Result<ResourceObservation, ObservationImpossible> {
    let mut unreadable_entries = unreadable_entries(&reads);
    let (node_list, topology) = (reads.nodes.as_ref().ok(), reads.topology.as_ref().ok());
    if node_list.is_none() && topology.is_none() {
        let unknown = |error: Option<&CmlError>| matches!(error, Some(CmlError::NotFound { .. }));
        return Err(if unknown(reads.nodes.as_ref().err()) && unknown(reads.topology.as_ref().err()) {
            ObservationImpossible::LabGone
        } else {
            ObservationImpossible::NothingRead(failed_reads(&reads))
        });
    }

    let joined = joined(node_list, topology);
    // Each of the two lists is the whole lab, so entries missing from one are harmless where the other is whole.
    let left_out =
        node_list.into_iter().map(|read| read.left_out).chain(topology.map(|read| read.left_out)).min().unwrap_or(0);
    let defaults = reads.defaults.as_ref().and_then(|read| read.as_ref().ok());
    let states = reads.states.as_ref().ok().map(|read| &read.value);
    let addresses = reads.addresses.as_ref().ok().map(|read| &read.value);
    let stats = reads.stats.as_ref().ok().map(|read| &read.value);

    let nodes: Result<Vec<NodeReadings>, Invalid> = joined
        .into_values()
        .map(|node| {
            let state = node.state.clone().or_else(|| states?.nodes.get(&node.id).cloned());
            let resources = NodeResources {
                definition: defaults
                    .and_then(|read| read.value.get(&node.node_definition))
                    .copied()
                    .unwrap_or_default(),
                ..stated(&node)
            };
            Ok(NodeReadings {
                nominal: resources.resolve(&node.node_definition),
                machine: has_machine(&node.node_definition),
                stats: stats.and_then(|stats| stats.nodes.get(&node.id).copied()),
                state,
                interfaces: interfaces(
                    &node,
                    states.map(|states| &states.interfaces),
                    addresses.and_then(|addresses| addresses.get(&node.id)).map_or(&[], Vec::as_slice),
                    &mut unreadable_entries,
                )?,
                node,
            })
        })
        .collect();
    let mut nodes = nodes.map_err(|invalid| ObservationImpossible::Absurd(invalid.within("nodes")))?;
    nodes.sort_by(|a, b| (&a.node.label, &a.node.id).cmp(&(&b.node.label, &b.node.id)));

    observation(&reads, nodes, left_out, unreadable_entries, (now, settling, port_range))
        .map_err(ObservationImpossible::Absurd)
}

/// The observation of these nodes, beside which `left_out` others could not be read.
fn observation(
    reads: &LabReads,
    nodes: Vec<NodeReadings>,
    left_out: u32,
    mut unreadable_entries: Vec<FailedRead>,
    (now, settling, port_range): (DateTime<Utc>, Duration, PortRange),
) -> Result<ResourceObservation, Invalid> {
    bound(&mut unreadable_entries);
    let nodes_total = Some(node_count(count(nodes.len()).saturating_add(left_out), "actual_node_count")?);
    let coverage = Coverage {
        nodes_total,
        nodes_booted: nodes_booted(&nodes).map(|booted| node_count(booted, "coverage.nodes_booted")).transpose()?,
        phase: phase(&nodes, settling),
        failed_reads: List::first(failed_reads(reads)),
        unreadable_entries: List::first(unreadable_entries),
        sampled_share: None,
        worker_short: None,
        worker_short_of: List::default(),
    };
    let nominal = quantities(&nodes, |node| {
        [node.nominal.cpu_cores, node.nominal.memory_mb.map(mb), (!node.machine).then_some(0.0)]
    })
    .map_err(|invalid| invalid.within("nominal"))?;
    let has_stats = reads.stats.is_ok();
    let used = has_stats.then(|| quantities(&nodes, NodeReadings::used)).transpose();
    let used = used.map_err(|invalid| invalid.within("usage"))?;
    let highest_cpu_percent = nodes.iter().filter_map(|node| node.stats?.cpu_usage).max_by(f64::total_cmp);
    let usage = match used {
        Some(used) => {
            Some(Usage { used, highest_cpu_percent: amount("usage.highest_cpu_percent", highest_cpu_percent)? })
        }
        None => None,
    };

    // A single node whose tags are unknown makes the set of ports unknown: its ports would look like ports that went.
    let ports = (left_out == 0 && nodes.iter().all(|node| node.node.tags.is_some())).then(|| {
        LabPorts::read(nodes.iter().map(|node| {
            (node.node.id.as_str(), node.node.label.as_str(), node.node.tags.as_deref().unwrap_or_default())
        }))
        .on_worker_with(port_range)
    });
    let observed_ports = ports.as_ref().map(LabPorts::by_name).transpose();
    let LabPorts { ports, unreadable } = ports.unwrap_or_default();
    let lab_title = reads.topology.as_ref().ok().and_then(|read| LabTitle::cleaned(read.value.title.as_deref()?).ok());
    let topology = reads.topology.as_ref().ok().filter(|read| read.unreadable.is_empty());
    let definitions = nodes.iter().map(|node| Label::clean(&node.node.node_definition));
    let definitions: BTreeSet<Label> = definitions.filter(|definition| !definition.is_empty()).collect();
    let nodes: Vec<NodeObservation> = nodes
        .into_iter()
        .enumerate()
        .map(|(index, node)| node.observed().map_err(|invalid| invalid.within(&format!("nodes[{index}]"))))
        .collect::<Result<_, _>>()?;
    Ok(ResourceObservation {
        observed_at: Some(BoundedTime::nearest(now)),
        observer: Some(Actor::parse(OBSERVER)?),
        total_cpu_cores: nominal.cpu_cores,
        total_memory_mb: nominal.memory_mb,
        total_storage_mb: used.and_then(|used| used.storage_mb),
        actual_node_count: nodes_total,
        node_definitions_used: list("node_definitions_used", definitions.into_iter().collect())?,
        observed_ports: observed_ports.map_err(|invalid| invalid.within("observed_ports"))?,
        simulation_stats: kept_stats(reads).map_err(|invalid| invalid.within("simulation_stats"))?,
        nominal: Some(nominal),
        usage,
        profile: None,
        coverage: Some(coverage),
        ports: list("ports", ports)?,
        unreadable_tags: list("unreadable_tags", unreadable)?,
        cml_version: text("cml_version", reads.version.as_ref().ok().cloned(), Name::parse)?,
        topology_fingerprint: topology.map(|read| Name::parse(fingerprint::from_topology(&read.value))).transpose()?,
        lab_title,
        nodes: list("nodes", nodes)?,
    })
}

/// A number of nodes, where an observation may have so many.
fn node_count(count: u32, field: &str) -> Result<NodeCount, Invalid> {
    NodeCount::new(count).map_err(|invalid| invalid.within(field))
}

fn amount(field: &str, amount: Option<f64>) -> Result<Option<Amount>, Invalid> {
    amount.map(Amount::new).transpose().map_err(|invalid| invalid.within(field))
}

fn whole<T: Copy + Into<u64>, const MOST: u64>(
    field: &str,
    number: Option<T>,
) -> Result<Option<Whole<T, 0, MOST>>, Invalid> {
    number.map(Whole::new).transpose().map_err(|invalid| invalid.within(field))
}

fn text<T>(
    field: &str,
    text: Option<String>,
    parse: impl FnOnce(String) -> Result<T, Invalid>,
) -> Result<Option<T>, Invalid> {
    text.map(parse).transpose().map_err(|invalid| invalid.within(field))
}

fn list<T, const MOST: usize>(field: &str, entries: Vec<T>) -> Result<List<T, MOST>, Invalid> {
    List::try_from(entries).map_err(|invalid| invalid.within(field))
}

/// Cores in use by a node, from CML's `cpu_usage`.
///
/// CML does not document what 100 means on a node with several virtual CPUs. Read as libvirt counts, it is the share of
/// one CPU's time, the only reading under which more than 100 has a meaning. The raw percentage is kept beside it, so
/// that another rule can be applied to what was recorded.
pub fn cores_in_use(cpu_usage_percent: f64) -> f64 {
    cpu_usage_percent / 100.0
}

/// MB in use by a node, from CML's `ram_usage`, a percentage of the RAM that the node has. Controllers before 2.10 tell
/// neither: what is used is then unknown.
pub fn memory_in_use_mb(ram_usage_percent: f64, ram_mb: Option<u64>) -> Option<f64> {
    ram_mb.map(|ram| ram_usage_percent / 100.0 * mb(ram))
}

/// The phase of a node that runs, from the seconds since it booted: boot until `settling` after that.
pub fn node_phase(booted_for: Option<u64>, settling: Duration) -> Phase {
    match booted_for {
        None => Phase::Unknown,
        Some(0) => Phase::Boot,
        Some(seconds) if seconds < settling.as_secs() => Phase::Boot,
        Some(_) => Phase::Steady,
    }
}

struct NodeReadings {
    node: Node,
    state: Option<String>,
    nominal: Nominal,
    machine: bool,
    stats: Option<NodeStats>,
    interfaces: Vec<InterfaceObservation>,
}

impl NodeReadings {
    fn is_off(&self) -> bool {
        matches!(self.state.as_deref(), Some("DEFINED_ON_CORE" | "STOPPED"))
    }

    /// `None`: unknown.
    fn has_booted(&self) -> Option<bool> {
        match self.state.as_deref() {
            Some("BOOTED") => Some(true),
            Some("STARTED") => Some(!self.machine),
            Some(_) => Some(false),
            None => self.stats.and_then(|stats| stats.booted_for).map(|seconds| seconds > 0),
        }
    }

    fn used_memory_mb(&self) -> Option<f64> {
        let stats = self.stats?;
        memory_in_use_mb(stats.ram_usage?, stats.ram.or(self.nominal.memory_mb))
    }

    /// Cores, MB of memory, MB of disk. A node without a machine, or one that is off, uses neither CPU nor memory: that
    /// zero is real. The disk of one that is off may still exist.
    fn used(&self) -> [Option<f64>; 3] {
        if !self.machine {
            return [Some(0.0); 3];
        }
        let disk = self.stats.and_then(|stats| stats.disk_usage);
        if self.is_off() {
            return [Some(0.0), Some(0.0), disk];
        }
        [self.stats.and_then(|stats| stats.cpu_usage).map(cores_in_use), self.used_memory_mb(), disk]
    }

    fn observed(self) -> Result<NodeObservation, Invalid> {
        let memory_mb = self.used_memory_mb();
        let usage = self.stats.map(|stats| {
            Ok(NodeUsage {
                cpu_percent: amount("cpu_percent", stats.cpu_usage)?,
                cpu_cores: amount("cpu_cores", stats.cpu_usage.map(cores_in_use))?,
                memory_mb: amount("memory_mb", memory_mb)?,
                disk_mb: amount("disk_mb", stats.disk_usage)?,
                disk_read_bytes: whole("disk_read_bytes", stats.disk_read_bytes)?,
                disk_written_bytes: whole("disk_written_bytes", stats.disk_written_bytes)?,
                booted_seconds: whole("booted_seconds", stats.booted_for.filter(|seconds| *seconds > 0))?,
            })
        });
        Ok(NodeObservation {
            node_id: Token::parse(self.node.id).map_err(|invalid| invalid.within("node_id"))?,
            label: Label::clean(&self.node.label),
            node_definition: Label::clean(&self.node.node_definition),
            state: text("state", self.state, Token::parse)?,
            cpu_limit: whole("cpu_limit", self.nominal.cpu_limit)?,
            ram_mb: whole("ram_mb", self.nominal.memory_mb)?,
            tags: list("tags", self.node.tags.iter().flatten().map(|tag| Label::clean(tag)).collect())?,
            interfaces: list("interfaces", self.interfaces)?,
            cpus: whole("cpus", self.nominal.cpus)?,
            nominal_cpu_cores: amount("nominal_cpu_cores", self.nominal.cpu_cores)?,
            image_definition: self.node.image_definition.as_deref().map(Label::clean),
            usage: usage.transpose().map_err(|invalid: Invalid| invalid.within("usage"))?,
            profile: None,
        })
    }
}

/// The nodes of reads A and B by id. A knows what the node got and its state, B its interfaces; each fills in for the
/// other.
fn joined(node_list: Option<&Reading<Vec<Node>>>, topology: Option<&Reading<Topology>>) -> BTreeMap<String, Node> {
    let mut nodes: BTreeMap<String, Node> =
        node_list.into_iter().flat_map(|read| &read.value).map(|node| (node.id.clone(), node.clone())).collect();
    for from_topology in topology.into_iter().flat_map(|read| &read.value.nodes) {
        match nodes.get_mut(&from_topology.id) {
            None => {
                nodes.insert(from_topology.id.clone(), from_topology.clone());
            }
            Some(node) => {
                node.interfaces.clone_from(&from_topology.interfaces);
                if node.label.is_empty() {
                    node.label.clone_from(&from_topology.label);
                }
                if node.node_definition.is_empty() {
                    node.node_definition.clone_from(&from_topology.node_definition);
                }
                if node.tags.is_none() {
                    node.tags.clone_from(&from_topology.tags);
                }
                node.overrides = StatedResources {
                    cpus: node.overrides.cpus.or(from_topology.overrides.cpus),
                    cpu_limit: node.overrides.cpu_limit.or(from_topology.overrides.cpu_limit),
                    ram: node.overrides.ram.or(from_topology.overrides.ram),
                };
            }
        }
    }
    nodes
}

/// What a node states of itself. Old controllers write 0 where nothing was overridden.
fn stated(node: &Node) -> NodeResources {
    let nonzero = |stated: StatedResources| StatedResources {
        cpus: stated.cpus.filter(|cpus| *cpus > 0),
        cpu_limit: stated.cpu_limit.filter(|limit| *limit > 0),
        ram: stated.ram.filter(|ram| *ram > 0),
    };
    NodeResources {
        operational: nonzero(node.operational),
        overrides: nonzero(node.overrides),
        definition: StatedResources::default(),
    }
}

fn interfaces(
    node: &Node,
    states: Option<&BTreeMap<String, String>>,
    addresses: &[Address],
    unreadable: &mut Vec<FailedRead>,
) -> Result<Vec<InterfaceObservation>, Invalid> {
    // An answer without ids is matched by what was deployed, and by the label where that belongs to one interface alone.
    let labels = |label: &str| node.interfaces.iter().filter(|interface| interface.label == label).count();
    let address_of = |interface: &Interface| {
        let by_mac = |address: &&Address| {
            interface.deployed_mac.as_ref().is_some_and(|mac| mac.eq_ignore_ascii_case(&address.mac))
        };
        let mut without_id = addresses.iter().filter(|address| address.interface_id.is_empty());
        addresses
            .iter()
            .find(|address| !address.interface_id.is_empty() && address.interface_id == interface.id)
            .or_else(|| without_id.clone().find(by_mac))
            .or_else(|| without_id.find(|address| address.label == interface.label && labels(&interface.label) == 1))
    };
    let observed = |interface: &Interface, address: Option<&Address>| {
        let mac = interface.deployed_mac.as_ref().or(address.map(|address| &address.mac));
        let state = states.and_then(|states| states.get(&interface.id));
        Ok(InterfaceObservation {
            interface_id: Token::parse(interface.id.as_str()).map_err(|invalid| invalid.within("interface_id"))?,
            label: Label::clean(&interface.label),
            slot: interface.slot,
            state: text("state", state.cloned(), Token::parse)?,
            mac_address: text("mac_address", mac.cloned(), Token::parse)?,
            ip4: address.map(|address| first("ip4", &address.ip4)).transpose()?.unwrap_or_default(),
            ip6: address.map(|address| first("ip6", &address.ip6)).transpose()?.unwrap_or_default(),
        })
    };
    let mut interfaces: Vec<InterfaceObservation> =
        node.interfaces.iter().map(|interface| observed(interface, address_of(interface))).collect::<Result<_, _>>()?;
    if node.interfaces.is_empty() {
        // Read B failed: what was learnt of addresses is still worth telling.
        let addresses = addresses.iter().filter(|address| !address.interface_id.is_empty());
        let known = addresses.map(|address| {
            let (id, label) = (address.interface_id.clone(), address.label.clone());
            observed(&Interface { id, label, ..Interface::default() }, Some(address))
        });
        interfaces = known.collect::<Result<_, _>>()?;
    }
    if interfaces.len() > MOST_INTERFACES {
        let reason = format!("has {} entries; the first {MOST_INTERFACES} are kept", interfaces.len());
        unreadable.push(FailedRead::new(&format!("topology.nodes.{}.interfaces", node.id), &reason));
        interfaces.truncate(MOST_INTERFACES);
    }
    Ok(interfaces)
}

fn first(field: &str, addresses: &[String]) -> Result<List<Token, MOST_SMALL>, Invalid> {
    let addresses = addresses.iter().take(MOST_SMALL).map(|address| Token::parse(address.as_str()));
    let addresses: Result<Vec<Token>, Invalid> = addresses.collect();
    list(field, addresses.map_err(|invalid| invalid.within(field))?)
}

fn nodes_booted(nodes: &[NodeReadings]) -> Option<u32> {
    let known: Option<Vec<bool>> = nodes.iter().map(NodeReadings::has_booted).collect();
    known.map(|booted| count(booted.into_iter().filter(|booted| *booted).count()))
}

/// A node that is off will not boot, so it decides nothing unless all are off.
fn phase(nodes: &[NodeReadings], settling: Duration) -> Phase {
    let running: Vec<&NodeReadings> = nodes.iter().filter(|node| !node.is_off()).collect();
    if nodes.is_empty() {
        return Phase::Unknown;
    }
    if running.is_empty() {
        return Phase::Stopped;
    }
    if running.iter().any(|node| node.has_booted() == Some(false)) {
        return Phase::Boot;
    }
    let machines = running.iter().filter(|node| node.machine);
    let phases: Vec<Phase> =
        machines.map(|node| node_phase(node.stats.and_then(|stats| stats.booted_for), settling)).collect();
    if phases.contains(&Phase::Boot) {
        return Phase::Boot;
    }
    if running.iter().any(|node| node.has_booted().is_none()) || phases.contains(&Phase::Unknown) {
        return Phase::Unknown;
    }
    Phase::Steady
}

fn quantities(nodes: &[NodeReadings], part: impl Fn(&NodeReadings) -> [Option<f64>; 3]) -> Result<Quantities, Invalid> {
    let parts: Vec<[Option<f64>; 3]> = nodes.iter().map(part).collect();
    let (cpu_cores, unknown_cpu_nodes) = total(parts.iter().map(|part| part[0]));
    let (memory_mb, unknown_memory_nodes) = total(parts.iter().map(|part| part[1]));
    let (storage_mb, unknown_storage_nodes) = total(parts.iter().map(|part| part[2]));
    Ok(Quantities {
        cpu_cores: amount("cpu_cores", cpu_cores)?,
        memory_mb: amount("memory_mb", memory_mb)?,
        storage_mb: amount("storage_mb", storage_mb)?,
        unknown_cpu_nodes: node_count(unknown_cpu_nodes, "unknown_cpu_nodes")?,
        unknown_memory_nodes: node_count(unknown_memory_nodes, "unknown_memory_nodes")?,
        unknown_storage_nodes: node_count(unknown_storage_nodes, "unknown_storage_nodes")?,
    })
}

fn failed_reads(reads: &LabReads) -> Vec<FailedRead> {
    let errors: [(&str, Option<&CmlError>); 7] = [
        ("nodes", reads.nodes.as_ref().err()),
        ("topology", reads.topology.as_ref().err()),
        ("lab_element_state", reads.states.as_ref().err()),
        ("layer3_addresses", reads.addresses.as_ref().err()),
        ("simulation_stats", reads.stats.as_ref().err()),
        ("simplified_node_definitions", reads.defaults.as_ref().and_then(|read| read.as_ref().err())),
        ("system_information", reads.version.as_ref().err()),
    ];
    errors.into_iter().filter_map(|(read, error)| Some(FailedRead::new(read, &error?.to_string()))).collect()
}

fn unreadable_entries(reads: &LabReads) -> Vec<FailedRead> {
    let mut entries = Vec::new();
    entries.extend(reads.nodes.iter().flat_map(|read| read.unreadable.iter().cloned()));
    entries.extend(reads.topology.iter().flat_map(|read| read.unreadable.iter().cloned()));
    entries.extend(reads.states.iter().flat_map(|read| read.unreadable.iter().cloned()));
    entries.extend(reads.addresses.iter().flat_map(|read| read.unreadable.iter().cloned()));
    entries.extend(reads.stats.iter().flat_map(|read| read.unreadable.iter().cloned()));
    entries
}

/// The answer as CML gave it; of one that is too large to be passed on, how large it was. What it says of each node is
/// in the nodes all the same.
fn kept_stats(reads: &LabReads) -> Result<Option<SimulationStats>, Invalid> {
    let Ok(stats) = &reads.stats else { return Ok(None) };
    let mut raw = RawJson::from(&stats.value.raw);
    if raw.bytes() > SimulationStats::MOST_BYTES {
        let left_out = format!("{} bytes, more than the {} that are kept", raw.bytes(), SimulationStats::MOST_BYTES);
        raw = RawJson::from(&serde_json::json!({ "left_out": left_out }));
    }
    SimulationStats::try_from(raw).map(Some)
}

/// Keeps the list within what an observation holds, saying how much was cut.
fn bound(entries: &mut Vec<FailedRead>) {
    if entries.len() > MOST_SMALL {
        let cut = entries.len() - (MOST_SMALL - 1);
        entries.truncate(MOST_SMALL - 1);
        entries.push(FailedRead::new("…", &format!("{cut} more entries could not be read")));
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a node's MB are far below 2^52")]
fn mb(megabytes: u64) -> f64 {
    megabytes as f64
}

#[cfg(test)]
mod tests;
