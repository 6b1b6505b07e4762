//! What CML tells of a worker as a whole: its statistics and its launch queue.

use domain::worker::{LONGEST_LAUNCH, WaitSeconds, WorkerNodeCount};
use serde_json::Value;

use super::Reading;
use super::fields::{Notes, amount, kind, map, not_a, whole};
use crate::cml::error::CmlError;

const BYTES_PER_MB: f64 = 1_048_576.0;
/// Most bytes of a memory or a disk.
const MOST_BYTES: u64 = 1 << 50;
/// Most cores of a host.
const MOST_CORES: u64 = 100_000;

/// What is free of a worker, and what it has. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WorkerStatistics {
    /// Cores that nothing uses.
    pub free_cpu_cores: Option<f64>,
    /// Cores.
    pub total_cpu_cores: Option<f64>,
    /// MB.
    pub free_memory_mb: Option<f64>,
    /// MB.
    pub total_memory_mb: Option<f64>,
    /// MB.
    pub free_storage_mb: Option<f64>,
    /// MB.
    pub total_storage_mb: Option<f64>,
    /// Nodes that run.
    pub running_nodes: Option<u64>,
}

/// Nodes that wait for their launch, and what the worker says it is short of. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaunchQueue {
    /// Nodes that wait.
    pub queued_nodes: Option<u64>,
    /// How long the first of them has waited, in seconds; 0 where none waits.
    pub longest_wait_seconds: Option<u64>,
    /// Whether CPU is overloaded.
    pub short_of_cpu: Option<bool>,
    /// Whether memory is overloaded.
    pub short_of_memory: Option<bool>,
    /// Whether the disk is overloaded.
    pub short_of_storage: Option<bool>,
}

/// `GET /system_stats`: the sum over the hosts on which nodes run, of which one that cannot be read makes the sum unknown.
/// Where no host is told of, what the answer says of all of them together.
///
/// The controller of a cluster is no such host: only where it runs nodes itself, or is the only host, does it count.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is no object.
pub fn system_statistics(answer: &Value) -> Result<Reading<WorkerStatistics>, CmlError> {
    if !answer.is_object() {
        return Err(not_a("map of statistics", answer));
    }
    let mut notes = Notes::default();
    let hosts: Vec<(&String, &Value)> = map(&mut notes, "system_stats", answer, "computes").collect();
    let runs_nodes = |host: &Value| {
        let counts = ["running_nodes", "total_nodes", "allocated_cpus"];
        let dominfo = host.pointer("/stats/dominfo");
        counts.iter().any(|count| {
            dominfo.and_then(|info| info.get(count)).and_then(Value::as_f64).is_some_and(|count| count > 0.0)
        })
    };
    let is_controller = |host: &Value| host.get("is_controller").and_then(Value::as_bool) == Some(true);
    let counted = hosts.iter().filter(|(_, host)| hosts.len() == 1 || !is_controller(host) || runs_nodes(host));
    let nothing = Value::Null;
    let sum = counted
        .map(|(id, host)| {
            let place = format!("system_stats.computes.{id}.stats");
            one_host(&mut notes, &place, host.get("stats").unwrap_or(&nothing))
        })
        .reduce(WorkerStatistics::and);
    let value = match sum {
        Some(sum) => sum,
        None => one_host(&mut notes, "system_stats.all", answer.get("all").unwrap_or(&nothing)),
    };
    Ok(notes.with(value))
}

/// `GET /diagnostics/node_launch_queue`.
///
/// # Errors
/// [`CmlError::InvalidResponse`] when the answer is no object.
pub fn launch_queue(answer: &Value) -> Result<Reading<LaunchQueue>, CmlError> {
    if !answer.is_object() {
        return Err(not_a("launch queue", answer));
    }
    let mut notes = Notes::default();
    let place = "node_launch_queue";
    let entries: Option<Vec<&Value>> = match answer.get("queue") {
        None | Some(Value::Null) => None,
        Some(Value::Object(entries)) => Some(entries.values().collect()),
        Some(Value::Array(entries)) => Some(entries.iter().collect()),
        Some(other) => {
            notes.add(format!("{place}.queue"), format!("is {}", kind(other)));
            None
        }
    };
    let queued_nodes = entries
        .as_ref()
        .and_then(|entries| u64::try_from(entries.len()).ok().filter(|count| *count <= WorkerNodeCount::MOST));
    let longest_wait_seconds = entries.and_then(|entries| {
        // A duration, whatever the worker's clock says. One that is beyond all reason is a time of day.
        let mut wait = |entry: &&Value| {
            let seconds = amount(&mut notes, &format!("{place}.queue"), entry, "queued_time")?;
            (seconds <= WaitSeconds::MOST as f64).then_some(seconds as u64)
        };
        let waits: Vec<Option<u64>> = entries.iter().map(&mut wait).collect();
        let longest = waits.iter().flatten().copied().max().unwrap_or(0);
        // Of one that cannot be read it is not known whether it waits longer.
        let is_long = i64::try_from(longest).is_ok_and(|longest| longest > LONGEST_LAUNCH.num_seconds());
        (is_long || waits.iter().all(Option::is_some)).then_some(longest)
    });
    let mut flag = |name: &str| match answer.get("overload").and_then(|overload| overload.get(name)) {
        None | Some(Value::Null) => None,
        Some(Value::Bool(is_short)) => Some(*is_short),
        Some(other) => {
            notes.add(format!("{place}.overload.{name}"), format!("is {}", kind(other)));
            None
        }
    };
    let (short_of_cpu, short_of_memory, short_of_storage) = (flag("cpu"), flag("memory"), flag("disk"));
    let value = LaunchQueue { queued_nodes, longest_wait_seconds, short_of_cpu, short_of_memory, short_of_storage };
    Ok(notes.with(value))
}

impl WorkerStatistics {
    /// Both together; what is unknown of one is unknown of both.
    fn and(self, other: Self) -> Self {
        let sum = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(one, other)| one + other);
        Self {
            free_cpu_cores: sum(self.free_cpu_cores, other.free_cpu_cores),
            total_cpu_cores: sum(self.total_cpu_cores, other.total_cpu_cores),
            free_memory_mb: sum(self.free_memory_mb, other.free_memory_mb),
            total_memory_mb: sum(self.total_memory_mb, other.total_memory_mb),
            free_storage_mb: sum(self.free_storage_mb, other.free_storage_mb),
            total_storage_mb: sum(self.total_storage_mb, other.total_storage_mb),
            running_nodes: self.running_nodes.zip(other.running_nodes).map(|(one, other)| one.saturating_add(other)),
        }
    }
}

fn one_host(notes: &mut Notes, place: &str, stats: &Value) -> WorkerStatistics {
    let nothing = Value::Null;
    let cpu = stats.get("cpu").unwrap_or(&nothing);
    let cpu_place = format!("{place}.cpu");
    let cores = whole(notes, &cpu_place, cpu, "count", MOST_CORES).filter(|cores| *cores > 0).map(|cores| cores as f64);
    let percent = amount(notes, &cpu_place, cpu, "percent").filter(|percent| {
        let is_share = *percent <= 100.0;
        if !is_share {
            notes.add(format!("{cpu_place}.percent"), format!("is {percent}"));
        }
        is_share
    });
    let (free_memory_mb, total_memory_mb) = free_and_total(notes, &format!("{place}.memory"), stats.get("memory"));
    let (free_storage_mb, total_storage_mb) = free_and_total(notes, &format!("{place}.disk"), stats.get("disk"));
    let dominfo = stats.get("dominfo").unwrap_or(&nothing);
    WorkerStatistics {
        // A percentage of all cores, which is no core yet.
        free_cpu_cores: cores.zip(percent).map(|(cores, percent)| cores * (1.0 - percent / 100.0)),
        total_cpu_cores: cores,
        free_memory_mb,
        total_memory_mb,
        free_storage_mb,
        total_storage_mb,
        running_nodes: whole(notes, &format!("{place}.dominfo"), dominfo, "running_nodes", WorkerNodeCount::MOST),
    }
}

/// What is free of a memory or a disk and what there is, in MB. More that is free than there is makes both unknown.
fn free_and_total(notes: &mut Notes, place: &str, part: Option<&Value>) -> (Option<f64>, Option<f64>) {
    let Some(part) = part else { return (None, None) };
    let mut bytes = |name: &str| whole(notes, place, part, name, MOST_BYTES);
    let (free, used, total) = (bytes("free"), bytes("used"), bytes("total").filter(|total| *total > 0));
    let free = free.or_else(|| total?.checked_sub(used?));
    if let Some((free, total)) = free.zip(total)
        && free > total
    {
        notes.add(format!("{place}.free"), format!("is {free} of {total}"));
        return (None, None);
    }
    let mb = |bytes: u64| bytes as f64 / BYTES_PER_MB;
    (free.map(mb), total.map(mb))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn host(controller: bool, running: u64, percent: Value) -> Value {
        json!({"hostname": "h", "is_controller": controller, "stats": {
            "cpu": {"count": 8, "percent": percent},
            "memory": {"used": 3 << 30, "free": 5_u64 << 30, "total": 8_u64 << 30},
            "disk": {"used": 1 << 30, "free": 99_u64 << 30, "total": 100_u64 << 30},
            "dominfo": {"running_nodes": running, "total_nodes": running}
        }})
    }

    fn read(answer: &Value) -> WorkerStatistics {
        system_statistics(answer).unwrap().value
    }

    #[test]
    fn free_cpu_is_told_in_cores_and_the_rest_in_mb() {
        let statistics = read(&json!({"computes": {"a": host(true, 3, json!(75.0))}}));
        assert_eq!((statistics.free_cpu_cores, statistics.total_cpu_cores), (Some(2.0), Some(8.0)));
        assert_eq!((statistics.free_memory_mb, statistics.total_memory_mb), (Some(5120.0), Some(8192.0)));
        assert_eq!((statistics.free_storage_mb, statistics.total_storage_mb), (Some(101_376.0), Some(102_400.0)));
        assert_eq!(statistics.running_nodes, Some(3));
    }

    #[test]
    fn of_a_cluster_the_hosts_that_run_nodes_count() {
        let hosts = |controller_runs: u64| {
            json!({"computes": {"a": host(true, controller_runs, json!(0)), "b": host(false, 2, json!(50)),
                                "c": host(false, 0, json!(25))}})
        };
        assert_eq!(read(&hosts(0)).total_cpu_cores, Some(16.0), "a controller only conducts");
        assert_eq!(read(&hosts(0)).free_cpu_cores, Some(10.0));
        assert_eq!(read(&hosts(1)).total_cpu_cores, Some(24.0));
        let mut broken = hosts(0);
        broken["computes"]["c"]["stats"] = Value::Null;
        assert_eq!(read(&broken), WorkerStatistics::default(), "half a sum is none");
        let all = host(true, 0, json!(50))["stats"].clone();
        assert_eq!(read(&json!({"computes": {}, "all": all})).free_cpu_cores, Some(4.0));
    }

    #[test]
    fn what_is_absurd_is_unknown_and_named() {
        let mut answer = json!({"computes": {"a": host(true, 3, json!(-1))}});
        let stats = &mut answer["computes"]["a"]["stats"];
        stats["memory"] = json!({"used": null, "free": 9, "total": 8});
        stats["disk"] = json!({"free": "much", "total": -5});
        stats["dominfo"]["running_nodes"] = json!(1e300);
        let reading = system_statistics(&answer).unwrap();
        assert_eq!(reading.value, WorkerStatistics { total_cpu_cores: Some(8.0), ..WorkerStatistics::default() });
        assert_eq!(reading.unreadable.len(), 5, "{:?}", reading.unreadable);
        assert_eq!(read(&json!({"computes": {"a": host(true, 3, json!(100.5))}})).free_cpu_cores, None);
        for no_answer in [json!([]), json!("ok"), Value::Null] {
            assert!(system_statistics(&no_answer).is_err() && launch_queue(&no_answer).is_err(), "{no_answer}");
        }
    }

    #[test]
    fn a_queue_tells_how_many_wait_and_for_how_long() {
        let queue = |entries: Value| launch_queue(&json!({"queue": entries, "overload": {"cpu": true, "disk": null}}));
        let two = queue(json!({"a": {"queued_time": 5}, "b": {"queued_time": 90.5}})).unwrap().value;
        assert_eq!((two.queued_nodes, two.longest_wait_seconds), (Some(2), Some(90)));
        assert_eq!((two.short_of_cpu, two.short_of_memory, two.short_of_storage), (Some(true), None, None));
        let empty = queue(json!({})).unwrap().value;
        assert_eq!((empty.queued_nodes, empty.longest_wait_seconds), (Some(0), Some(0)));
        let unknown = queue(Value::Null).unwrap().value;
        assert_eq!((unknown.queued_nodes, unknown.longest_wait_seconds), (None, None));
        let by_a_clock_far_off =
            queue(json!([{"queued_time": 1.77e9}, {"queued_time": -4}, {"queued_time": 3}])).unwrap();
        assert_eq!(
            (by_a_clock_far_off.value.queued_nodes, by_a_clock_far_off.value.longest_wait_seconds),
            (Some(3), None)
        );
        let long = queue(json!([{"queued_time": null}, {"queued_time": 61}])).unwrap().value;
        assert_eq!(long.longest_wait_seconds, Some(61), "long enough, whatever the other one waits");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("computes"),
            Just("stats"),
            Just("cpu"),
            Just("count"),
            Just("percent"),
            Just("memory"),
            Just("free"),
            Just("total"),
            Just("queue"),
            Just("queued_time"),
            Just("overload"),
            Just("all"),
            Just("dominfo"),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(name.clone(), inner, 0..6)
                    .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_answered_is_read_or_refused(answer in any_json()) {
            if let Ok(reading) = system_statistics(&answer) {
                let value = reading.value;
                for (free, total) in [(value.free_cpu_cores, value.total_cpu_cores),
                                      (value.free_memory_mb, value.total_memory_mb),
                                      (value.free_storage_mb, value.total_storage_mb)] {
                    prop_assert!(free.is_none_or(|free| free.is_finite() && free >= 0.0));
                    prop_assert!(free.zip(total).is_none_or(|(free, total)| free <= total));
                }
            }
            if let Ok(reading) = launch_queue(&answer) {
                prop_assert!(reading.value.longest_wait_seconds.is_none_or(|wait| wait <= WaitSeconds::MOST));
            }
        }
    }
}
