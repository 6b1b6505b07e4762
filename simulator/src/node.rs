//! A node of a lab: what it was given, and how far its life has come at a moment.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::{
    definition::{NodeDefinition, definition},
    dice::Dice,
    topology::{InterfaceSection, NodeSection},
};

/// States as the API names them. A lab knows the first, second and fourth; only nodes boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    DefinedOnCore,
    Stopped,
    Queued,
    /// Its machine is being made; from 2.10.
    Starting,
    Started,
    Booted,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DefinedOnCore => "DEFINED_ON_CORE",
            Self::Stopped => "STOPPED",
            Self::Queued => "QUEUED",
            Self::Starting => "STARTING",
            Self::Started => "STARTED",
            Self::Booted => "BOOTED",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Never started, or wiped since.
    Defined,
    Stopped,
    Running(Run),
}

/// One run of a node, planned in full when it is started, so that its state is a function of the time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) queued_at: DateTime<Utc>,
    /// Equal to `starts_at` where the API has no state between queue and start.
    pub(crate) launches_at: DateTime<Utc>,
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) boots_at: DateTime<Utc>,
}

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
    /// How long its machine is in the making before it starts.
    pub(crate) launch: TimeDelta,
    pub(crate) dice: Dice,
}

impl Node {
    pub(crate) fn new(section: NodeSection, lab: Dice) -> Self {
        let dice = lab.about_text("node").about_text(&section.id);
        let interfaces = section.interfaces.into_iter().map(|interface| Interface::new(interface, dice)).collect();
        Self {
            id: dice.uuid(),
            definition: definition(&section.node_definition),
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
            launch: TimeDelta::zero(),
            dice,
        }
    }

    /// Puts the node into the queue: it starts `delay` later and boots as long as its definition takes, give or take.
    pub(crate) fn queue(&mut self, now: DateTime<Utc>, delay: TimeDelta) {
        let spread = self.dice.about_text("boot").about(now.timestamp().unsigned_abs()).between(0.9, 1.15);
        let boot = TimeDelta::milliseconds((self.definition.boot_seconds * spread * 1_000.0) as i64);
        let starts_at = now + delay;
        let launches_at = (starts_at - self.launch).max(now);
        self.life = Life::Running(Run { queued_at: now, launches_at, starts_at, boots_at: starts_at + boot });
    }

    pub(crate) fn stop(&mut self) {
        if let Life::Running(_) = self.life {
            self.life = Life::Stopped;
        }
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

    /// State of its interfaces, which know neither a queue nor a boot.
    pub(crate) fn interface_state(&self, now: DateTime<Utc>) -> State {
        match self.state(now) {
            State::Started | State::Booted => State::Started,
            State::Queued | State::Starting | State::Stopped => State::Stopped,
            State::DefinedOnCore => State::DefinedOnCore,
        }
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

impl Run {
    pub(crate) fn state(self, now: DateTime<Utc>) -> State {
        if now < self.launches_at {
            State::Queued
        } else if now < self.starts_at {
            State::Starting
        } else if now < self.boots_at {
            State::Started
        } else {
            State::Booted
        }
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
