//! One resource of a fleet, as one definition sees it: what an estimate rests on, and how a session did under it.

use std::sync::LazyLock;

use domain::resource::Resource;

use crate::base::{Base, KindPools};
use crate::estimate::Basis;
use crate::fleet_moments::DefinitionMoments;
use crate::fleet_rows::{DefinitionRows, FleetRows, WholeFleet};
use crate::method::Method;
use crate::node_pools::NodePools;
use crate::own_past::{PastScore, ShareBelow};
use crate::prediction::Prediction;
use crate::ratios::{LogDemand, LogDemands, TopologyDemands};
use crate::scores::Score;
use crate::topology::Topology;

/// Advice by topology is scored where this share of its base was measured.
const MEASURED_ENOUGH: f64 = 0.8;

/// Sessions further than this many spreads from what was expected count as ones that lie at this distance.
const LEARNT_WITHIN: f64 = 2.5;

static NO_POOLS: LazyLock<NodePools> = LazyLock::new(NodePools::default);

/// One resource of the fleet and of one definition, to be read.
pub(super) struct View<'a> {
    pub(super) method: Method,
    pub(super) resource: Resource,
    pub(super) fleet: &'a FleetRows,
    pub(super) definition: &'a DefinitionRows,
}

impl View<'_> {
    fn whole(&self) -> &WholeFleet {
        self.resource.part(&self.fleet.whole)
    }

    fn base(&self, topology: &Topology) -> Option<Base> {
        Base::new(topology, self.resource, |kind| {
            let all = self.fleet.pools.get(&kind.node_definition).unwrap_or(&NO_POOLS);
            let own = self.definition.pools.get(&kind.node_definition).unwrap_or(&NO_POOLS);
            let own = own.kind(kind, self.resource);
            KindPools {
                others: all.kind(kind, self.resource).without(own),
                own,
                any_image: all.any_image(kind, self.resource),
                node_definition: all.all(self.resource),
                any: self.whole().any,
            }
        })
    }

    /// The definition's sessions by topology, each beside its base, or beside 1 where the asked topology has none.
    fn topologies(&self, asked: &Topology, base: Option<&Base>, half_life_days: Option<u32>) -> Vec<TopologyDemands> {
        if let Some(half_life) = half_life_days.filter(|_| base.is_some()) {
            let days = &self.resource.part(&self.definition.sums).days;
            let [of_asked, of_others] = days.weighted(half_life, &asked.short_key());
            let weighted = [(of_asked, true), (of_others, false)];
            // A ratio is beside the base of its day, so that here it stands beside 1.
            let beside = |(demands, is_asked): (LogDemands, bool)| {
                (demands.sessions > 0).then_some(TopologyDemands { demands, base: 1.0, is_asked })
            };
            return weighted.into_iter().filter_map(beside).collect();
        }
        let mut found = Vec::new();
        for (topology, own) in &self.definition.topologies {
            let demands = self.resource.part(own).sums;
            if demands.sessions == 0 {
                continue;
            }
            let is_asked = topology == asked;
            let value = if is_asked { base.map(|base| base.value) } else { self.base(topology).map(|base| base.value) };
            let value = if base.is_none() { Some(1.0) } else { value };
            found.extend(value.map(|base| TopologyDemands { demands, base, is_asked }));
        }
        found.extend(self.ratios().filter(|_| base.is_some()));
        found
    }

    /// The sessions whose ratios were put down: they have no base beside them.
    fn ratios(&self) -> Option<TopologyDemands> {
        let demands = self.resource.part(&self.definition.sums).ratios;
        (demands.sessions > 0).then_some(TopologyDemands { demands, base: 1.0, is_asked: false })
    }

    /// What the definition contributes to the moments.
    pub(super) fn moments(&self) -> Option<DefinitionMoments> {
        let demands = |(topology, own)| {
            let demands = self.resource.part::<crate::fleet_rows::OwnDemands>(own).sums;
            let base = (demands.sessions > 0).then(|| self.base(topology))??;
            Some(TopologyDemands { demands, base: base.value, is_asked: false })
        };
        let topologies: Vec<TopologyDemands> =
            self.definition.topologies.iter().filter_map(demands).chain(self.ratios()).collect();
        DefinitionMoments::new(&topologies)
    }

    /// What `answer` makes of everything that an estimate for this topology rests on.
    pub(super) fn with_basis<T>(
        &self,
        topology: &Topology,
        half_life_days: Option<u32>,
        answer: impl FnOnce(&Basis<'_>) -> T,
    ) -> T {
        let base = self.base(topology);
        let topologies = self.topologies(topology, base.as_ref(), half_life_days);
        let own = self.definition.topologies.get(topology);
        let largest = own.and_then(|own| self.resource.part(own).greatest.first());
        #[expect(clippy::cast_precision_loss, reason = "an amount has fewer than 2^53 parts")]
        let largest = largest.map(|units| units as f64 * self.resource.smallest());
        let whole = self.whole();
        let sessions = self.definition.sessions(self.resource);
        answer(&Basis {
            resource: self.resource,
            base: base.as_ref(),
            nominal: topology.nominal(self.resource),
            topologies: &topologies,
            moments: &whole.moments,
            scores: self.resource.part(&self.fleet.scores),
            persistence: &whole.persistence,
            own_past: &self.resource.part(&self.definition.sums).own_past,
            method: self.method,
            largest,
            half_life_days,
            all_sessions: sessions,
            trials: &whole.largest,
        })
    }
}

/// The scores of a session under the advice that was possible before it.
pub(super) struct Scored {
    /// What the definition learns of it, where its topology is kept apart.
    pub(super) learnt: LogDemand,
    /// What it learns where it is not; `None`: the topology has no base.
    pub(super) ratio: Option<LogDemand>,
    /// As if its definition had never run.
    pub(super) by_topology: Option<Score>,
    /// By the sessions before it, with the share of scores below; `None`: there were none.
    pub(super) by_sessions: Option<(Score, PastScore)>,
}

impl Scored {
    pub(super) fn new(view: &View<'_>, topology: &Topology, demand: f64) -> Self {
        let log = demand.max(view.resource.smallest()).ln();
        view.with_basis(topology, None, |basis| {
            let by_topology = basis.base.filter(|base| base.measured_share >= MEASURED_ENOUGH).map(|base| {
                let prior = basis.moments.prior(view.resource);
                Score::new(Prediction::new(&prior, &[]).score(log - base.value.ln()))
            });
            let expected = basis.expectation().filter(|(prediction, _)| prediction.sessions > 0);
            let Some((prediction, calibration)) = expected else {
                let learnt = LogDemand::new(demand, view.resource);
                let ratio = basis.base.map(|base| learnt.over(base.value));
                return Self { learnt, ratio, by_topology, by_sessions: None };
            };
            let base = basis.base.map_or(1.0, |base| base.value).ln();
            let score = Score::new(prediction.score(log - base));
            let past = PastScore {
                score: Score::new(prediction.score(log - base + prediction.followed)),
                share: ShareBelow::new(calibration.share_below(score)),
            };
            let (expected, furthest) = (base + prediction.location, LEARNT_WITHIN * prediction.spread);
            let learnt = if view.method.bounds_learning {
                LogDemand::within(demand, view.resource, expected, furthest)
            } else {
                LogDemand::new(demand, view.resource)
            };
            let ratio = basis.base.map(|base| learnt.over(base.value));
            Self { learnt, ratio, by_topology, by_sessions: Some((score, past)) }
        })
    }
}
