//! Everything the simulated controller knows, in one place behind one lock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock::{SimulatedClock, SimulatedTime},
    dice::Dice,
    faults::Faults,
    lab::Lab,
    patty::PortRange,
    pressure::WorkerPressure,
    requests::Requests,
    topology::{Topology, TopologyError, UnreadableTopology},
};

const MOST_LABS: usize = 500;
/// How long a machine is `STARTING`, where the API has that state.
const LAUNCH: TimeDelta = TimeDelta::seconds(1);
const LARGEST_SKEW: TimeDelta = TimeDelta::days(50 * 365);
/// Once an hour, for each node.
const MOST_RESTARTS_PER_DAY: f64 = 24.0;
/// Tokens that were neither used up nor signed out; the oldest gives way.
const MOST_TOKENS: usize = 1_000;

/// The version of the API that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVersion {
    /// No bulk read of interfaces (405), no memory or disk usage in `simulation_stats`, no node that is `STARTING`.
    V2_9,
    V2_10,
}

impl ApiVersion {
    /// What every exported topology says, whichever version was imported.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::V2_9 => "0.3.0",
            Self::V2_10 => "0.3.1",
        }
    }
}

/// A lock around a `World` that no caller can hold across an await.
pub(crate) struct SharedWorld {
    world: Mutex<World>,
    /// Set once the simulator stops: sockets end then.
    pub(crate) stopped: CancellationToken,
    pub(crate) open_sockets: Arc<AtomicUsize>,
}

impl SharedWorld {
    pub(crate) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), stopped: CancellationToken::new(), open_sockets: Arc::default() }
    }

    /// A panic elsewhere leaves no half-made change that matters here, so its poison is ignored.
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.catch_up();
        world
    }
}

pub(crate) struct World {
    pub(crate) api: ApiVersion,
    pub(crate) clock: SimulatedClock,
    pub(crate) started: DateTime<Utc>,
    pub(crate) labs: Vec<Lab>,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
    pub(crate) sockets: SocketOptions,
    pub(crate) username: String,
    /// Whether the user may see what is for admins.
    pub(crate) admin: bool,
    pub(crate) user_id: Uuid,
    pub(crate) compute_id: Uuid,
    /// Outside ports that its address translation honours.
    pub(crate) port_range: PortRange,
    /// Files that hold no topology, with the reason.
    pub(crate) unreadable: Vec<UnreadableTopology>,
    pub(crate) dice: Dice,
    restarts_per_day: f64,
    pressure: WorkerPressure,
    /// How far off the clock is that the controller shows.
    skew: TimeDelta,
    password: String,
    token_life: TimeDelta,
    /// Token → when it expires.
    tokens: BTreeMap<String, DateTime<Utc>>,
    issued: u64,
    imported: u64,
}

pub(crate) struct WorldOptions {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) api: ApiVersion,
    pub(crate) seed: u64,
    pub(crate) token_life: Duration,
    pub(crate) time: SimulatedTime,
    pub(crate) port_range: PortRange,
    pub(crate) restarts_per_day: f64,
    pub(crate) sockets: SocketOptions,
    pub(crate) admin: bool,
}

/// What `/ws/ui` does when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// How often statistics are pushed, in real time.
    pub push_period: Duration,
    /// How long a client has to send its token.
    pub sign_in_timeout: Duration,
    /// How long a message may wait for a client that does not read.
    pub write_timeout: Duration,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            push_period: Duration::from_millis(3_300),
            sign_in_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
        }
    }
}

impl SocketOptions {
    pub(crate) fn check(&self) -> Result<(), String> {
        let day = Duration::from_secs(24 * 60 * 60);
        for period in [self.push_period, self.sign_in_timeout, self.write_timeout] {
            if period < Duration::from_millis(1) || period > day {
                return Err(format!("a period of {} s is not between 1 ms and a day", period.as_secs_f64()));
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) enum ImportError {
    Topology(TopologyError),
    TooManyLabs,
}

impl World {
    pub(crate) fn new(options: WorldOptions) -> Result<Self, String> {
        if !(0.0..=MOST_RESTARTS_PER_DAY).contains(&options.restarts_per_day) {
            let found = options.restarts_per_day;
            return Err(format!("{found} restarts a day are not between 0 and {MOST_RESTARTS_PER_DAY}"));
        }
        options.sockets.check()?;
        let dice = Dice::new(options.seed);
        let clock = SimulatedClock::new(options.time)?;
        Ok(Self {
            api: options.api,
            started: clock.now(),
            clock,
            labs: Vec::new(),
            faults: Faults::default(),
            requests: Requests::default(),
            sockets: options.sockets,
            username: options.username,
            admin: options.admin,
            password: options.password,
            user_id: dice.about_text("user").uuid(),
            compute_id: dice.about_text("compute").uuid(),
            port_range: options.port_range,
            unreadable: Vec::new(),
            dice,
            restarts_per_day: options.restarts_per_day,
            pressure: WorkerPressure::default(),
            skew: TimeDelta::zero(),
            token_life: TimeDelta::from_std(options.token_life)
                .map_err(|_| "the life of a token is longer than the calendar".to_owned())?,
            tokens: BTreeMap::new(),
            issued: 0,
            imported: 0,
        })
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A moment as the controller writes it, by its own clock: seconds, and an offset in digits.
    pub(crate) fn shown(&self, at: DateTime<Utc>) -> String {
        self.by_own_clock(at).format("%Y-%m-%dT%H:%M:%S+00:00").to_string()
    }

    /// For answers of a controller whose clock is off.
    pub(crate) fn date_header(&self) -> Option<String> {
        let date = || self.by_own_clock(self.now()).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        (!self.skew.is_zero()).then(date)
    }

    fn by_own_clock(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.checked_add_signed(self.skew).unwrap_or(at)
    }

    pub(crate) fn skew(&self) -> TimeDelta {
        self.skew
    }

    pub(crate) fn set_skew(&mut self, skew: TimeDelta) -> Result<(), String> {
        if skew.abs() > LARGEST_SKEW {
            return Err(format!("a clock that is off by {} s is not simulated", skew.num_seconds()));
        }
        self.skew = skew;
        Ok(())
    }

    pub(crate) fn pressure(&self) -> WorkerPressure {
        self.pressure
    }

    pub(crate) fn set_pressure(&mut self, pressure: WorkerPressure) -> Result<(), String> {
        pressure.check()?;
        self.pressure = pressure;
        let delay = TimeDelta::seconds(pressure.launch_delay_seconds.into());
        self.labs.iter_mut().for_each(|lab| lab.delay_launches(delay));
        Ok(())
    }

    /// What happened by itself until now.
    fn catch_up(&mut self) {
        if self.restarts_per_day > 0.0 {
            let now = self.now();
            self.labs.iter_mut().flat_map(|lab| &mut lab.nodes).for_each(|node| node.catch_up(now));
        }
    }

    pub(crate) fn import(&mut self, yaml: &str, title: Option<String>) -> Result<(Uuid, Vec<String>), ImportError> {
        let topology = Topology::parse(yaml).map_err(ImportError::Topology)?;
        if self.labs.len() >= MOST_LABS {
            return Err(ImportError::TooManyLabs);
        }
        self.imported += 1;
        let dice = self.dice.about_text("lab").about(self.imported);
        let named = topology.lab.title.as_deref().unwrap_or_default();
        let class = self.dice.about_text("class").about_text(named).about(topology.nodes.len() as u64);
        let (lab, warnings) = Lab::new(topology, title, dice, class, self.now());
        let lab = lab.restarting(self.restarts_per_day);
        let lab = match self.api {
            ApiVersion::V2_9 => lab,
            ApiVersion::V2_10 => lab.launching(LAUNCH),
        };
        let id = lab.id;
        self.labs.push(lab);
        if let Some(lab) = self.labs.last_mut() {
            lab.delay_launches(TimeDelta::seconds(self.pressure.launch_delay_seconds.into()));
        }
        Ok((id, warnings))
    }

    pub(crate) fn lab(&self, id: Uuid) -> Option<&Lab> {
        self.labs.iter().find(|lab| lab.id == id)
    }

    pub(crate) fn lab_mut(&mut self, id: Uuid) -> Option<&mut Lab> {
        self.labs.iter_mut().find(|lab| lab.id == id)
    }

    /// A token, if name and password are right.
    pub(crate) fn sign_in(&mut self, username: &str, password: &str) -> Option<String> {
        if username != self.username || password != self.password {
            return None;
        }
        let now = self.now();
        self.tokens.retain(|_, expires| *expires > now);
        if self.tokens.len() >= MOST_TOKENS {
            let oldest = self.tokens.iter().min_by_key(|(_, expires)| **expires).map(|(token, _)| token.clone());
            oldest.and_then(|token| self.tokens.remove(&token));
        }
        self.issued += 1;
        let expires = now.checked_add_signed(self.token_life).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let token = self.token(now, expires);
        self.tokens.insert(token.clone(), expires);
        Some(token)
    }

    pub(crate) fn knows_token(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|expires| *expires > self.now())
    }

    pub(crate) fn sign_out(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    pub(crate) fn expire_tokens(&mut self) {
        self.tokens.clear();
    }

    /// In the form of a JWT. Nobody checks its signature: what counts is whether it was issued.
    fn token(&self, now: DateTime<Utc>, expires: DateTime<Utc>) -> String {
        let claims = serde_json::json!({
            "com.cisco.virl": self.user_id,
            "iat": self.by_own_clock(now).timestamp(),
            "exp": self.by_own_clock(expires).timestamp(),
            "sub": self.user_id,
        });
        let dice = self.dice.about_text("token").about(self.issued);
        let signature: Vec<u8> = (0..4).flat_map(|part| dice.about(part).value().to_be_bytes()).collect();
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
        format!("{header}.{}.{}", encode(claims.to_string().as_bytes()), encode(&signature))
    }
}
