//! A node of a lab: what it was given, and how far its life has come at a moment.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::{
    definition::{NodeDefinition, definition},
    dice::Dice,
    life::{Given, Life, PastRun, Run, State},
    topology::{InterfaceSection, NodeSection},
    usage::{Load, record::RecordedNode},
    workload::Workers,
};

/// Runs of a node that are remembered, for the record of what it used.
const KEPT_RUNS: usize = 100;
/// How long a node that is restarted waits in the queue.
const RESTART_LAUNCH: TimeDelta = TimeDelta::milliseconds(2_000);
/// Nobody restarts a node sooner than this after its boot.
const SOONEST_RESTART_SECONDS: f64 = 300.0;
const DAY_SECONDS: f64 = 86_400.0;

#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) id: Uuid,
    pub(crate) label: String,
    pub(crate) kind: String,
    /// None for a loopback.
    pub(crate) slot: Option<u64>,
    /// As configured; nearly always None.
    pub(crate) configured_mac: Option<String>,
    /// As deployed.
    pub(crate) mac: String,
    pub(crate) connected: bool,
    /// Reaches an external connector, directly or through unmanaged switches.
    pub(crate) outside: bool,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: Uuid,
    pub(crate) label: String,
    pub(crate) node_definition: String,
    pub(crate) definition: &'static NodeDefinition,
    pub(crate) image_definition: Option<String>,
    pub(crate) ram: Option<u64>,
    pub(crate) cpus: Option<u64>,
    pub(crate) cpu_limit: Option<u64>,
    pub(crate) data_volume: Option<u64>,
    pub(crate) boot_disk_size: Option<u64>,
    pub(crate) priority: Option<u64>,
    pub(crate) hide_links: bool,
    pub(crate) tags: Vec<String>,
    pub(crate) x: Number,
    pub(crate) y: Number,
    pub(crate) configuration: Value,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) life: Life,
    pub(crate) past_runs: VecDeque<PastRun>,
    /// How long its machine is in the making before it starts.
    pub(crate) launch: TimeDelta,
    /// How long it waits in the queue beside its turn.
    pub(crate) launch_delay: TimeDelta,
    /// How often somebody restarts it.
    pub(crate) restarts_per_day: f64,
    pub(crate) load: Load,
    /// MB that its last run left on its disk; 0 before the first run and once it was wiped.
    disk_mb: u64,
    pub(crate) dice: Dice,
}

impl Node {
    pub(crate) fn new(section: NodeSection, lab: Dice, class: Dice) -> Self {
        let dice = lab.about_text("node").about_text(&section.id);
        let definition = definition(&section.node_definition);
        let interfaces = section.interfaces.into_iter().map(|interface| Interface::new(interface, dice)).collect();
        Self {
            id: dice.uuid(),
            definition,
            label: section.label,
            node_definition: section.node_definition,
            image_definition: section.image_definition,
            ram: section.ram,
            cpus: section.cpus,
            cpu_limit: section.cpu_limit,
            data_volume: section.data_volume,
            boot_disk_size: section.boot_disk_size,
            priority: section.priority,
            hide_links: section.hide_links,
            tags: section.tags,
            x: section.x,
            y: section.y,
            configuration: section.configuration,
            parameters: section.parameters,
            interfaces,
            life: Life::Defined,
            past_runs: VecDeque::new(),
            launch: TimeDelta::zero(),
            launch_delay: TimeDelta::zero(),
            restarts_per_day: 0.0,
            load: Load { definition, workers: Workers { class, lab, node: dice }, runaways: Vec::new() },
            disk_mb: 0,
            dice,
        }
    }

    /// Puts the node into the queue: it starts `delay` later and boots as long as its definition takes, give or take.
    pub(crate) fn queue(&mut self, now: DateTime<Utc>, delay: TimeDelta) {
        let spread = self.dice.about_text("boot").about(now.timestamp().unsigned_abs()).between(0.9, 1.15);
        let boot = TimeDelta::milliseconds((self.definition.boot_seconds * spread * 1_000.0) as i64);
        let starts_at = now + delay + self.launch_delay;
        let launches_at = (starts_at - self.launch).max(now);
        let boots_at = starts_at + boot;
        let given = Given { cpus: self.given_cpus(), cpu_limit: self.given_cpu_limit(), ram: self.given_ram() };
        let restarts_at = self.next_restart(boots_at);
        let disk_mb = self.disk_mb;
        self.life =
            Life::Running(Run { queued_at: now, launches_at, starts_at, boots_at, restarts_at, given, disk_mb });
    }

    /// At a rate, whatever happened before.
    fn next_restart(&self, boots_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.restarts_per_day <= 0.0 || !self.definition.is_machine() {
            return None;
        }
        let chance = self.dice.about_text("restart").about(boots_at.timestamp().unsigned_abs()).unit();
        let days = -(1.0 - chance).ln() / self.restarts_per_day;
        let seconds = SOONEST_RESTART_SECONDS + days * DAY_SECONDS;
        boots_at.checked_add_signed(TimeDelta::try_milliseconds((seconds * 1_000.0) as i64)?)
    }

    pub(crate) fn stop(&mut self, now: DateTime<Utc>) {
        if let Life::Running(run) = self.life {
            if self.definition.is_machine() && run.starts_at <= now {
                self.disk_mb = self.load.usage(run, now).disk_usage;
            }
            if self.past_runs.len() == KEPT_RUNS {
                self.past_runs.pop_front();
            }
            self.past_runs.push_back(PastRun { run, ended_at: now });
            self.life = Life::Stopped;
        }
    }

    pub(crate) fn wipe(&mut self) {
        self.life = Life::Defined;
        self.disk_mb = 0;
    }

    pub(crate) fn restart(&mut self, now: DateTime<Utc>) {
        self.stop(now);
        self.queue(now, RESTART_LAUNCH);
    }

    /// Restarts it as often as somebody has done so until `now`.
    pub(crate) fn catch_up(&mut self, now: DateTime<Utc>) {
        while let Life::Running(Run { restarts_at: Some(at), .. }) = self.life
            && at <= now
        {
            self.restart(at);
        }
    }

    /// Since when it runs or has run, as far as that is remembered.
    pub(crate) fn first_queued_at(&self) -> Option<DateTime<Utc>> {
        let past = self.past_runs.front().map(|past| past.run.queued_at);
        past.or(match self.life {
            Life::Running(run) => Some(run.queued_at),
            Life::Defined | Life::Stopped => None,
        })
    }

    pub(crate) fn recorded(&self) -> RecordedNode {
        let mut runs: Vec<(Run, Option<DateTime<Utc>>)> =
            self.past_runs.iter().map(|past| (past.run, Some(past.ended_at))).collect();
        if let Life::Running(run) = self.life {
            runs.push((run, None));
        }
        RecordedNode { id: self.id, label: self.label.clone(), load: self.load.clone(), runs }
    }

    pub(crate) fn state(&self, now: DateTime<Utc>) -> State {
        match self.life {
            Life::Defined => State::DefinedOnCore,
            Life::Stopped => State::Stopped,
            Life::Running(run) => run.state(now),
        }
    }

    /// Started or booted: it has what it was given, and its interfaces are up.
    pub(crate) fn is_up(&self, now: DateTime<Utc>) -> bool {
        matches!(self.state(now), State::Started | State::Booted)
    }

    pub(crate) fn interface_state(&self, now: DateTime<Utc>) -> State {
        self.state(now).of_interfaces()
    }

    pub(crate) fn boot_progress(&self, now: DateTime<Utc>) -> &'static str {
        match self.state(now) {
            State::DefinedOnCore | State::Stopped | State::Queued | State::Starting => "Not running",
            State::Started => "Booting",
            State::Booted => "Booted",
        }
    }

    /// What the controller gives it in MB, vCPUs and percent of each: its override, or else its definition. An override
    /// of 0, which old versions export, is none.
    pub(crate) fn given_ram(&self) -> u64 {
        self.ram.filter(|ram| *ram > 0).unwrap_or(self.definition.ram)
    }

    pub(crate) fn given_cpus(&self) -> u64 {
        self.cpus.filter(|cpus| *cpus > 0).unwrap_or(self.definition.cpus)
    }

    pub(crate) fn given_cpu_limit(&self) -> u64 {
        self.cpu_limit.filter(|limit| *limit > 0).unwrap_or(self.definition.cpu_limit)
    }

    pub(crate) fn given_image(&self) -> Option<&str> {
        let image = self.image_definition.as_deref().unwrap_or(self.definition.image);
        Some(image).filter(|image| !image.is_empty() && self.definition.is_machine())
    }
}

impl Interface {
    fn new(section: InterfaceSection, node: Dice) -> Self {
        let dice = node.about_text("interface").about_text(&section.id);
        let octets = dice.about_text("mac").value().to_be_bytes();
        Self {
            id: dice.uuid(),
            label: section.label,
            slot: section.slot,
            mac: format!("52:54:00:{:02x}:{:02x}:{:02x}", octets[0], octets[1], octets[2]),
            configured_mac: section.mac_address,
            kind: section.kind,
            connected: false,
            outside: false,
        }
    }

    pub(crate) fn is_physical(&self) -> bool {
        self.kind == "physical"
    }

    pub(crate) fn deployed_mac(&self) -> &str {
        self.configured_mac.as_deref().unwrap_or(&self.mac)
    }
}
