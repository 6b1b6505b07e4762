//! What a process uses, as Linux counts it.

use std::time::Duration;

use anyhow::Context as _;

/// Linux counts CPU time in hundredths of a second for programs, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that a process has used, user and system.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name in parentheses may hold spaces.
    let fields = stat.rsplit_once(')').context("its state is not as expected")?.1;
    let ticks = |at: usize| -> anyhow::Result<u32> {
        Ok(fields.split_whitespace().nth(at).context("its state has no CPU time")?.parse()?)
    };
    Ok(TICK * (ticks(11)? + ticks(12)?))
}

/// Resident memory now and at its peak, in MB.
pub(crate) fn resident_mb(pid: u32) -> anyhow::Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let mb = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("its status has no memory")?;
        let kb: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kb / 1_024.0)
    };
    Ok((mb("VmRSS:")?, mb("VmHWM:")?))
}
