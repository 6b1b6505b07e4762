//! A fleet of simulated labs.

use advice::evidence::{KindRuns, NodeDemand, SessionEvidence};
use advice::topology::{NodeKind, Topology};
use chrono::{DateTime, TimeDelta, Utc};
use domain::demand::ByResource;
use domain::{DefinitionId, Invalid, SessionId};

use crate::families::{Family, Tail};
use crate::random::Random;

/// How large a fleet is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Number of definitions.
    pub definitions: usize,
    /// Number of sessions of each, the same for all; `None`: from 3 to 120.
    pub sessions: Option<usize>,
}

/// A session, and what is known of it beside the evidence.
#[derive(Debug, Clone)]
pub struct SimulatedSession {
    /// What it says.
    pub evidence: SessionEvidence,
    /// The number of its definition.
    pub definition: usize,
    /// Whether the topology of its definition had grown before it.
    pub grown: bool,
}

/// Sessions in the order of their ends.
#[derive(Debug)]
pub struct SimulatedFleet {
    /// All sessions.
    pub sessions: Vec<SimulatedSession>,
    /// For each definition, sessions of days to come, which are no evidence: by them it is known how often a size holds.
    pub future: Vec<Vec<ByResource<f64>>>,
}

/// What nodes of one kind need.
#[derive(Debug, Clone)]
struct SimulatedKind {
    kind: NodeKind,
    nominal: ByResource<f64>,
    mean: ByResource<f64>,
    knows_memory: bool,
}

#[derive(Debug, Clone)]
struct SimulatedDefinition {
    nodes: Vec<usize>,
    effect: ByResource<f64>,
    uneven: f64,
    coincidence: f64,
}

/// What sessions of one cohort have in common.
#[derive(Debug, Clone, Copy)]
struct Shared {
    cohort: ByResource<f64>,
    day: f64,
    trend: f64,
}

/// By how much more than memory a resource varies.
const VARIATION: ByResource<f64> = ByResource { cpu_cores: 2.5, memory_mb: 1.0, storage_mb: 0.35 };
const FUTURE: usize = 200;
const SECONDS_OF_A_DAY: i64 = 86_400;

fn kinds(family: &Family, random: &mut Random) -> Vec<SimulatedKind> {
    // Nodes of one definition use about the same share of what they are given, whatever their image.
    let shares: Vec<(f64, f64, f64)> = (0..16)
        .map(|_| (random.log_between(0.05, 0.4), random.between(0.25, 0.8), random.log_between(100.0, 4000.0)))
        .collect();
    let sizes = [(1.0, 512.0), (1.0, 1024.0), (2.0, 2048.0), (2.0, 4096.0), (4.0, 8192.0), (8.0, 16_384.0)];
    (0..24)
        .map(|number| {
            let (cpus, memory) = sizes[random.below(sizes.len())];
            let (cpu_share, memory_share, disk) = shares[number % shares.len()];
            let image = random.happens(0.5).then(|| format!("image-{}", number % 5));
            let name = format!("node-{}", number % 16);
            SimulatedKind {
                kind: NodeKind::new(name, image, Some(cpus), Some(memory)),
                nominal: ByResource { cpu_cores: cpus, memory_mb: memory, storage_mb: f64::INFINITY },
                mean: ByResource {
                    cpu_cores: cpus * cpu_share * random.between(0.9, 1.1),
                    memory_mb: memory * memory_share * random.between(0.95, 1.05),
                    storage_mb: disk * random.between(0.95, 1.05),
                },
                knows_memory: !random.happens(family.missing_memory / 2.0),
            }
        })
        .collect()
}

impl SimulatedDefinition {
    fn new(family: &Family, kinds: usize, random: &mut Random) -> Self {
        let count = random.log_between(2.0, 41.0) as usize;
        let chosen: Vec<usize> = (0..=random.below(5)).map(|_| random.below(kinds)).collect();
        let effect = |variation: f64, random: &mut Random| family.definitions * variation.sqrt() * random.normal();
        Self {
            nodes: (0..count).map(|_| chosen[random.below(chosen.len())]).collect(),
            effect: VARIATION.map(|variation| effect(variation, random)),
            uneven: (family.uneven * random.normal()).exp(),
            coincidence: random.between(0.5, 0.95),
        }
    }

    fn grow(&mut self, kinds: usize, random: &mut Random) {
        let more = ((self.nodes.len() as f64 * random.between(0.25, 1.0)).ceil() as usize).max(1);
        let new = random.below(kinds);
        for _ in 0..more {
            let node = if random.happens(0.3) { new } else { self.nodes[random.below(self.nodes.len())] };
            self.nodes.push(node);
        }
    }

    fn topology(&self, kinds: &[SimulatedKind]) -> Topology {
        Topology::new(self.nodes.iter().map(|node| (kinds[*node].kind.clone(), 1)))
    }

    /// What the lab and its nodes need in a session.
    fn session(
        &self,
        family: &Family,
        kinds: &[SimulatedKind],
        shared: &Shared,
        random: &mut Random,
    ) -> (ByResource<f64>, Vec<ByResource<f64>>) {
        let outlier = if random.happens(family.outliers) { random.between(1.5, 4.0).ln() } else { 0.0 };
        let deviation = |random: &mut Random| match family.tail {
            Tail::Normal => random.normal(),
            Tail::Heavy(degrees) => random.heavy(degrees),
            Tail::TwoHumps(share) => (if random.happens(share) { 1.5 } else { -1.5 }) + 0.4 * random.normal(),
            Tail::Skewed => -random.between(f64::MIN_POSITIVE, 1.0).ln() - 1.0,
        };
        let of_session =
            VARIATION.map(|variation| family.sessions * self.uneven * variation * deviation(random) + outlier);
        let common = of_session.zip(self.effect).zip(shared.cohort);
        let common = common.map(|((session, effect), cohort)| session + effect + cohort + shared.day + shared.trend);
        let nodes: Vec<ByResource<f64>> = self
            .nodes
            .iter()
            .map(|node| {
                let kind = &kinds[*node];
                kind.mean.zip(kind.nominal).zip(common.zip(VARIATION)).map(|((mean, nominal), (common, variation))| {
                    (mean * (common + 0.08 * variation * random.normal()).exp()).min(nominal)
                })
            })
            .collect();
        let sum = |part: fn(&ByResource<f64>) -> f64| nodes.iter().map(part).sum::<f64>();
        let together = (self.coincidence + (1.0 - self.coincidence) / (nodes.len() as f64).sqrt()).min(1.0);
        let lab = ByResource {
            cpu_cores: sum(|node| node.cpu_cores) * together,
            memory_mb: sum(|node| node.memory_mb),
            storage_mb: sum(|node| node.storage_mb),
        };
        (lab, nodes)
    }
}

impl Shared {
    fn new(family: &Family, day: f64, trend: f64, random: &mut Random) -> Self {
        Self { cohort: VARIATION.map(|variation| family.cohorts * variation.sqrt() * random.normal()), day, trend }
    }
}

impl SimulatedFleet {
    /// The fleet of a seed.
    ///
    /// # Errors
    /// None of its ids is refused.
    pub fn new(family: &Family, size: Size, seed: u64) -> Result<Self, Invalid> {
        let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ family.name.len() as u64);
        let kinds = kinds(family, &mut random);
        let days: Vec<f64> = (0..400).map(|_| family.days * random.normal()).collect();
        let (mut sessions, mut future) = (Vec::new(), Vec::new());
        for number in 0..size.definitions {
            let mut definition = SimulatedDefinition::new(family, kinds.len(), &mut random);
            let usual = if random.happens(0.2) { (60.0, 120.0) } else { (3.0, 60.0) };
            let count = size.sessions.unwrap_or_else(|| random.log_between(usual.0, usual.1) as usize);
            let grows_at = random.happens(family.growing).then_some(count / 2);
            let mut day = if random.happens(0.4) { random.below(7) } else { random.below(150) };
            let mut done = 0;
            while done < count {
                let trend = family.trend * done as f64 / count as f64;
                let shared = Shared::new(family, days[day % days.len()], trend, &mut random);
                for _ in 0..=random.log_between(1.0, 9.0) as usize {
                    if done == count {
                        break;
                    }
                    if grows_at == Some(done) {
                        definition.grow(kinds.len(), &mut random);
                    }
                    let at = DateTime::<Utc>::UNIX_EPOCH
                        + TimeDelta::seconds(day as i64 * SECONDS_OF_A_DAY + random.below(80_000) as i64);
                    let drawn = definition.session(family, &kinds, &shared, &mut random);
                    let evidence = evidence(family, &kinds, &definition, (number, done, at), drawn, &mut random)?;
                    let grown = grows_at.is_some_and(|grows_at| done >= grows_at);
                    sessions.push(SimulatedSession { evidence, definition: number, grown });
                    done += 1;
                }
                day += 1 + random.below(6);
            }
            let later: Vec<ByResource<f64>> = (0..FUTURE)
                .map(|_| {
                    let day = days[random.below(days.len())];
                    let shared = Shared::new(family, day, family.trend, &mut random);
                    definition.session(family, &kinds, &shared, &mut random).0
                })
                .collect();
            future.push(later);
        }
        let order = |session: &SimulatedSession| (session.evidence.ended_at, session.evidence.session_id.clone());
        sessions.sort_by_key(order);
        Ok(Self { sessions, future })
    }
}

fn evidence(
    family: &Family,
    kinds: &[SimulatedKind],
    definition: &SimulatedDefinition,
    (number, done, ended_at): (usize, usize, DateTime<Utc>),
    (lab, nodes): (ByResource<f64>, Vec<ByResource<f64>>),
    random: &mut Random,
) -> Result<SessionEvidence, Invalid> {
    let knows_memory = !random.happens(family.missing_memory);
    let node = |(node, demand): (&usize, ByResource<f64>)| {
        let kind = &kinds[*node];
        let mut demand = demand.map(Some);
        demand.memory_mb = demand.memory_mb.filter(|_| knows_memory && kind.knows_memory);
        NodeDemand { kind: kind.kind.clone(), demand }
    };
    let mut demand = lab.map(Some);
    demand.memory_mb = demand.memory_mb.filter(|_| knows_memory);
    Ok(SessionEvidence {
        session_id: SessionId::parse(format!("s-{number}-{done}"))?,
        definition_id: DefinitionId::parse(format!("d-{number}"))?,
        ended_at,
        topology: definition.topology(kinds),
        demand,
        nodes: KindRuns::from_nodes(definition.nodes.iter().zip(nodes).map(node)),
    })
}
