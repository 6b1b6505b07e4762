//! What a topology alone says: the mean demand of each kind of node, over all labs, added up.

use domain::demand::DemandPool;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::topology::{NodeKind, Topology};
use domain::resource::Resource;

/// Standard deviation, in logarithms, of a kind's mean demand from that of all nodes.
const ANY_NODE: f64 = 1.0;
/// Standard deviation, in logarithms, of a kind's mean demand from that of its node definition.
const SAME_DEFINITION: f64 = 0.5;

/// Demands of many runs of nodes, one resource, added up in whole parts of a core or MB: adding and taking out is exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSum {
    /// Runs whose demand is known.
    pub runs: u64,
    /// Sum of their demands, in parts of a core or MB.
    pub units: i64,
}

impl PoolSum {
    /// The sum that a stored pool holds.
    pub fn from_pool(pool: &DemandPool, resource: Resource) -> Self {
        Self { runs: pool.runs, units: resource.units(pool.sum) }
    }

    /// Adds the demand of a run: cores or MB.
    pub fn add(&mut self, demand: f64, resource: Resource) {
        self.runs += 1;
        self.units = self.units.saturating_add(resource.units(demand));
    }

    /// Both added up.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { runs: self.runs + other.runs, units: self.units.saturating_add(other.units) }
    }

    /// What is left without runs that are part of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self { runs: self.runs.saturating_sub(part.runs), units: self.units.saturating_sub(part.units) }
    }

    /// The mean demand of a run: cores or MB.
    #[expect(clippy::cast_precision_loss, reason = "sums are below 2^53 parts for a hundred million runs")]
    pub fn mean(&self, resource: Resource) -> Option<f64> {
        (self.runs > 0).then(|| self.units.max(0) as f64 / self.runs as f64 * resource.smallest())
    }
}

/// Where the demand of a kind of node may be taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindPools {
    /// Runs of this very kind in labs of other definitions.
    pub others: PoolSum,
    /// Runs of this very kind in labs of the definition that is asked about.
    pub own: PoolSum,
    /// Runs of the same node definition and nominal size, of any image.
    pub any_image: PoolSum,
    /// Runs of the same node definition, of any image and size.
    pub node_definition: PoolSum,
    /// Runs of all nodes.
    pub any: PoolSum,
}

/// Where the demand of a kind of node was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PoolSource {
    /// Its kind, in labs of other definitions.
    OtherDefinitions,
    /// Its kind, which only this definition has.
    OwnNodes,
    /// Its node definition and nominal size, of other images.
    AnyImage,
    /// No such node was ever measured: its nominal size.
    Nominal,
    /// No such node was ever measured, nor is its size known: its node definition, of other images and sizes.
    NodeDefinition,
    /// Nothing is known of its node definition either: the mean of all nodes.
    AnyNode,
}

/// What nodes of one kind contribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BasePart {
    /// Their kind.
    #[serde(flatten)]
    pub kind: NodeKind,
    /// Number of such nodes.
    pub count: u32,
    /// What one of them is taken to need: cores or MB.
    pub demand: f64,
    /// Where that is from.
    pub source: PoolSource,
    /// Measured runs that it rests on.
    pub runs: u64,
}

/// What a topology is taken to need before anything is known of its definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Base {
    /// Cores or MB; more than zero.
    pub value: f64,
    /// What of it is the nominal size of nodes that were never measured: they need no more than that.
    pub nominal_part: f64,
    /// Share of it that rests on measured runs of such nodes, 0 to 1.
    pub measured_share: f64,
    /// What its kinds of nodes contribute, in a fixed order.
    pub parts: Vec<BasePart>,
}

impl BasePart {
    fn new(kind: &NodeKind, count: u32, resource: Resource, pools: &KindPools) -> Option<Self> {
        let nominal = kind.nominal(resource);
        let pooled = |source: PoolSource, pool: PoolSum| Some((pool.mean(resource)?, source, pool.runs));
        let (demand, source, runs) = pooled(PoolSource::OtherDefinitions, pools.others)
            .or_else(|| pooled(PoolSource::OwnNodes, pools.own))
            .or_else(|| pooled(PoolSource::AnyImage, pools.any_image))
            .or_else(|| nominal.map(|nominal| (nominal, PoolSource::Nominal, 0)))
            .or_else(|| pooled(PoolSource::NodeDefinition, pools.node_definition))
            .or_else(|| pooled(PoolSource::AnyNode, pools.any))?;
        let demand = nominal.map_or(demand, |nominal| demand.min(nominal));
        Some(Self { kind: kind.clone(), count, demand, source, runs })
    }

    fn is_measured(&self) -> bool {
        matches!(self.source, PoolSource::OtherDefinitions | PoolSource::OwnNodes | PoolSource::AnyImage)
    }
}

impl Base {
    /// The base of a topology. `None`: of one of its nodes nothing at all is known, or it has none.
    pub fn new(topology: &Topology, resource: Resource, pools: impl Fn(&NodeKind) -> KindPools) -> Option<Self> {
        let parts: Option<Vec<BasePart>> =
            topology.kinds().map(|(kind, count)| BasePart::new(kind, count, resource, &pools(kind))).collect();
        let parts = parts.filter(|parts| !parts.is_empty())?;
        let sum = |counts: fn(&BasePart) -> bool| -> f64 {
            parts.iter().filter(|part| counts(part)).map(|part| part.demand * f64::from(part.count)).sum()
        };
        let (whole, measured) = (sum(|_| true), sum(BasePart::is_measured));
        let measured_share = if whole > 0.0 { measured / whole } else { 0.0 };
        let nominal_part = sum(|part| part.source == PoolSource::Nominal);
        Some(Self { value: whole.max(resource.smallest()), nominal_part, measured_share, parts })
    }

    /// Variance of the logarithm of what the topology needs that comes from nodes whose kind was never measured, nor its size
    /// known: they may need several times as much as others, or a fraction.
    pub(crate) fn unknown_variance(&self) -> f64 {
        let deviation = |part: &BasePart| match part.source {
            PoolSource::AnyNode => ANY_NODE * part.demand * f64::from(part.count),
            PoolSource::NodeDefinition => SAME_DEFINITION * part.demand * f64::from(part.count),
            PoolSource::OtherDefinitions | PoolSource::OwnNodes | PoolSource::AnyImage | PoolSource::Nominal => 0.0,
        };
        // Nodes of one kind are off together, those of several kinds independently.
        self.parts.iter().map(|part| (deviation(part) / self.value).powi(2)).sum()
    }

    /// What the topology needs where it needs this many times its base: nodes of which only the nominal size is known need no
    /// more than that.
    pub(crate) fn times(&self, factor: f64) -> f64 {
        (self.value - self.nominal_part) * factor + self.nominal_part * factor.min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMORY: Resource = Resource::MemoryMb;

    fn kind(name: &str, memory: Option<f64>) -> NodeKind {
        NodeKind::new(name, None, None, memory)
    }

    fn pool(demands: &[f64]) -> PoolSum {
        let mut pool = PoolSum::default();
        demands.iter().for_each(|demand| pool.add(*demand, MEMORY));
        pool
    }

    #[test]
    fn the_base_is_the_mean_of_each_kind_times_its_count() {
        let topology = Topology::new([(kind("iosv", Some(512.0)), 3), (kind("csr", Some(4096.0)), 1)]);
        let base = Base::new(&topology, MEMORY, |kind| KindPools {
            others: if kind.node_definition == "iosv" { pool(&[300.0, 400.0]) } else { pool(&[3000.0]) },
            ..KindPools::default()
        });
        let base = base.unwrap();
        assert_eq!((base.value, base.measured_share), (3.0 * 350.0 + 3000.0, 1.0));
        let found: Vec<_> = base.parts.iter().map(|part| (part.demand, part.runs, part.source)).collect();
        let source = PoolSource::OtherDefinitions;
        assert_eq!(found, [(3000.0, 1, source), (350.0, 2, source)]);
    }

    #[test]
    fn a_kind_is_taken_from_the_nearest_pool_and_else_from_its_nominal_size() {
        let mut pools = KindPools {
            others: pool(&[100.0]),
            own: pool(&[200.0]),
            any_image: pool(&[300.0]),
            node_definition: pool(&[350.0]),
            any: pool(&[400.0]),
        };
        let none = PoolSum::default();
        let (sized, of_no_size) = (kind("iosv", Some(512.0)), kind("iosv", None));
        let source = |pools: KindPools, kind: &NodeKind| {
            let base = Base::new(&Topology::new([(kind.clone(), 1)]), MEMORY, |_| pools);
            base.map(|base| (base.value, base.parts[0].source))
        };
        assert_eq!(source(pools, &sized), Some((100.0, PoolSource::OtherDefinitions)));
        pools.others = none;
        assert_eq!(source(pools, &sized), Some((200.0, PoolSource::OwnNodes)));
        pools.own = none;
        assert_eq!(source(pools, &sized), Some((300.0, PoolSource::AnyImage)));
        pools.any_image = none;
        assert_eq!(source(pools, &sized), Some((512.0, PoolSource::Nominal)));
        assert_eq!(source(pools, &of_no_size), Some((350.0, PoolSource::NodeDefinition)));
        pools.node_definition = none;
        assert_eq!(source(pools, &of_no_size), Some((400.0, PoolSource::AnyNode)));
        let half = Topology::new([(of_no_size.clone(), 1), (kind("other", None), 1)]);
        let variance = |topology: &Topology| Base::new(topology, MEMORY, |_| pools).unwrap().unknown_variance();
        assert_eq!((variance(&half), variance(&Topology::new([(of_no_size.clone(), 5)]))), (0.5, 1.0));
        assert_eq!(source(KindPools::default(), &of_no_size), None);
        assert_eq!(Base::new(&Topology::default(), MEMORY, |_| pools), None);
    }

    #[test]
    fn nodes_that_were_never_measured_need_no_more_than_their_nominal_size() {
        let topology = Topology::new([(kind("iosv", Some(512.0)), 1), (kind("new", Some(1024.0)), 1)]);
        let base = Base::new(&topology, MEMORY, |kind| KindPools {
            others: if kind.node_definition == "iosv" { pool(&[256.0]) } else { PoolSum::default() },
            ..KindPools::default()
        });
        let base = base.unwrap();
        assert_eq!((base.value, base.nominal_part, base.measured_share), (1280.0, 1024.0, 0.2));
        assert_eq!((base.times(1.5), base.times(0.5)), (384.0 + 1024.0, 640.0));
    }

    #[test]
    fn no_kind_needs_more_than_it_is_given_and_nothing_at_all_counts_as_the_smallest_amount() {
        let topology = Topology::new([(kind("iosv", Some(512.0)), 2)]);
        let with = |demand: f64| {
            let pools = KindPools { others: pool(&[demand]), ..KindPools::default() };
            Base::new(&topology, MEMORY, |_| pools).unwrap().value
        };
        assert_eq!((with(9000.0), with(0.0)), (1024.0, 1.0 / 16.0));
    }

    proptest! {
        #[test]
        fn what_is_taken_out_of_a_sum_leaves_it_as_if_it_had_not_been_there(
            stay in proptest::collection::vec(0.0..1e9_f64, 0..20), go in proptest::collection::vec(0.0..1e9_f64, 0..20),
        ) {
            let sum = pool(&go).with(pool(&stay));
            prop_assert_eq!(sum.without(pool(&go)), pool(&stay));
            prop_assert_eq!(sum.without(sum), PoolSum::default());
        }
    }
}
