//! The labs of the fleet whose past the demonstration begins with.

/// A lab that ran every day.
pub(super) struct PastLab {
    /// Id of its definition.
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// What its author guessed first: cores, GB of memory, GB of storage.
    pub(super) guess: (u32, u32, u32),
    /// What it was revised to after the first week, and why.
    pub(super) revised: Option<((u32, u32, u32), &'static str)>,
    /// Its nodes.
    pub(super) nodes: &'static [PastNode],
    /// Sessions a day, of which so many begin together: a class.
    pub(super) daily: u32,
    pub(super) together: u32,
    /// How long a timeslot is, in minutes.
    pub(super) minutes: i64,
    /// What a usual session uses at its peak: cores, MB of memory, MB on disk.
    pub(super) usual: (f64, f64, f64),
    /// By how much sessions differ: the deviation as a share.
    pub(super) spread: f64,
    /// Every so many sessions a port is found elsewhere than planned; 0: never.
    pub(super) drifts_every: u32,
    /// Every so many sessions an observation fails; 0: never.
    pub(super) fails_every: u32,
}

/// Nodes of one kind.
pub(super) struct PastNode {
    /// What their labels begin with.
    pub(super) label: &'static str,
    /// CML's node definition.
    pub(super) kind: &'static str,
    pub(super) count: usize,
    /// What CML gives each: cores and MB of memory.
    pub(super) cpus: u32,
    pub(super) ram_mb: u32,
}

const fn nodes(label: &'static str, kind: &'static str, count: usize, cpus: u32, ram_mb: u32) -> PastNode {
    PastNode { label, kind, count, cpus, ram_mb }
}

/// One that has far too much, one that has too little, one that was corrected, one whose ports move, one whose disk is a
/// guess, and one that a whole class takes at once.
pub(super) const FLEET: &[PastLab] = &[
    PastLab {
        id: "bgp-edge",
        name: "BGP at the edge",
        guess: (12, 32, 100),
        revised: None,
        nodes: &[nodes("edge", "iosv", 4, 1, 768), nodes("host", "alpine", 2, 1, 512)],
        daily: 5,
        together: 1,
        minutes: 90,
        usual: (1.9, 3_100.0, 4_600.0),
        spread: 0.09,
        drifts_every: 0,
        fails_every: 17,
    },
    PastLab {
        id: "data-centre-fabric",
        name: "Data centre fabric",
        guess: (12, 48, 60),
        revised: None,
        nodes: &[nodes("leaf", "nxosv9000", 4, 2, 12_288), nodes("server", "ubuntu", 4, 1, 2_048)],
        daily: 2,
        together: 1,
        minutes: 180,
        usual: (10.8, 50_500.0, 41_000.0),
        spread: 0.05,
        drifts_every: 0,
        fails_every: 0,
    },
    PastLab {
        id: "ospf-areas",
        name: "OSPF areas",
        guess: (8, 16, 40),
        revised: Some(((4, 6, 12), "a week of sessions used a quarter of it")),
        nodes: &[nodes("r", "iosv", 6, 1, 768)],
        daily: 4,
        together: 1,
        minutes: 75,
        usual: (2.6, 4_100.0, 7_200.0),
        spread: 0.07,
        drifts_every: 0,
        fails_every: 0,
    },
    PastLab {
        id: "sd-wan",
        name: "SD-WAN hub and spokes",
        guess: (8, 24, 40),
        revised: None,
        nodes: &[nodes("spoke", "csr1000v", 5, 1, 3_072), nodes("branch", "ubuntu", 2, 1, 2_048)],
        daily: 2,
        together: 1,
        minutes: 120,
        usual: (5.9, 17_300.0, 21_000.0),
        spread: 0.08,
        drifts_every: 4,
        fails_every: 9,
    },
    PastLab {
        id: "network-automation",
        name: "Network automation",
        guess: (6, 8, 200),
        revised: None,
        nodes: &[nodes("runner", "ubuntu", 3, 1, 2_048), nodes("target", "alpine", 2, 1, 512)],
        daily: 3,
        together: 1,
        minutes: 60,
        usual: (3.4, 5_200.0, 11_500.0),
        spread: 0.18,
        drifts_every: 0,
        fails_every: 0,
    },
    PastLab {
        id: "welcome",
        name: "Welcome to the lab",
        guess: (1, 1, 2),
        revised: None,
        nodes: &[nodes("host", "alpine", 2, 1, 512)],
        daily: 8,
        together: 4,
        minutes: 45,
        usual: (0.5, 640.0, 900.0),
        spread: 0.1,
        drifts_every: 0,
        fails_every: 0,
    },
];

/// For whom sessions ran.
pub(super) const OWNERS: &[&str] = &["ada", "grace", "edsger", "barbara", "radia", "vint", "margaret", "donald"];
