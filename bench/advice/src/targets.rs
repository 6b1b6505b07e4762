//! What is wanted of advice, beside what was reached.

use advice::rules::Rule;
use domain::resource::Resource;

use crate::comparison::{Tally, missing_too_often, next_by_largest, share_by_largest, tally};
use crate::walk::{Advised, CoveredFuture};

/// The promises of the table.
pub const PROMISES: [f64; 2] = [0.9, 0.95];
/// Numbers of sessions at which coverage is told.
pub const KNOWN: [usize; 6] = [0, 1, 3, 5, 10, 30];
/// Definitions that miss too often are counted among those with as many sessions after their 20th.
const SESSIONS_AFTER: u64 = 20;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Line {
    /// What is wanted.
    pub wanted: String,
    /// What was found.
    pub found: String,
    /// Whether that is what was wanted.
    pub is_reached: bool,
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// What was found in fleets of many definitions.
pub fn of_fleets(fleets: &[Vec<Advised>], future: &[CoveredFuture]) -> Vec<Line> {
    let mut lines = Vec::new();
    for resource in Resource::ALL {
        for (number, promise) in PROMISES.into_iter().enumerate() {
            lines.push(coverage(fleets, resource, number, promise));
        }
    }
    for (resource, most) in [(Resource::MemoryMb, 0.6), (Resource::StorageMb, 0.3), (Resource::CpuCores, 1.0)] {
        lines.push(waste(fleets, resource, most));
    }
    for (resource, most) in [(Resource::MemoryMb, 0.4), (Resource::CpuCores, 0.25)] {
        lines.push(never_ran(fleets, resource, most));
    }
    for resource in Resource::ALL {
        lines.push(grown(fleets, resource));
    }
    for resource in Resource::ALL {
        for (number, promise) in PROMISES.into_iter().enumerate() {
            lines.push(missing(fleets, resource, number, promise));
        }
    }
    let silent: u64 = tally(fleets, |advised| advised.known >= 3, |advised| advised.sizes[0]).silent;
    lines.push(Line {
        wanted: "silent from 3 sessions on: none".to_owned(),
        found: silent.to_string(),
        is_reached: silent == 0,
    });
    lines.push(confidence(
        "the largest of n covers the next: n/(n + 1) within 5 points",
        &next_by_largest(fleets, &KNOWN[1..]),
    ));
    lines.push(confidence(
        "the largest of n covers 90 % of all to come: the stated confidence within 5 points",
        &share_by_largest(future, 0.9, |covered| covered.counted),
    ));
    lines
}

/// Coverage at one number of sessions, where enough had it.
fn at(fleets: &[Vec<Advised>], resource: Resource, promise: usize, known: usize) -> Tally {
    tally(fleets, |advised| advised.resource == resource && advised.known == known, |advised| advised.sizes[promise])
}

fn coverage(fleets: &[Vec<Advised>], resource: Resource, number: usize, promise: f64) -> Line {
    let all = tally(fleets, |advised| advised.resource == resource, |advised| advised.sizes[number]).coverage();
    let each: Vec<f64> = KNOWN.iter().map(|known| at(fleets, resource, number, *known).coverage()).collect();
    let shown: Vec<String> = each.iter().map(|share| percent(*share)).collect();
    Line {
        wanted: format!("{} at {promise}: ±2 points over all, at most 3 below at n = 0/1/3/5/10/30", resource.as_str()),
        found: format!("{} over all; {}", percent(all), shown.join(" / ")),
        is_reached: (all - promise).abs() <= 0.02 && each.iter().all(|share| *share >= promise - 0.03),
    }
}

fn waste(fleets: &[Vec<Advised>], resource: Resource, most: f64) -> Line {
    let counts = |advised: &Advised| advised.resource == resource && (3..=30).contains(&advised.known);
    let own = tally(fleets, counts, |advised| advised.sizes[1]);
    let vpa = tally(fleets, counts, |advised| advised.by_rules[0]);
    let ratio = own.waste() / vpa.waste();
    let steady = |advised: &Advised| counts(advised) && advised.ideal.is_some();
    let ideal = tally(fleets, steady, |advised| advised.ideal.as_ref().map(|ideal| ideal[1]));
    let of_steady = tally(fleets, steady, |advised| advised.by_rules[0]);
    let covers_more = resource != Resource::CpuCores || own.coverage() >= vpa.coverage();
    Line {
        wanted: format!("{}: waste at 0.95, n = 3 to 30, beside VPA's ≤ {most}", resource.as_str()),
        found: format!(
            "{ratio:.2}: {:.3} covering {} %, VPA {:.3} covering {} %; {:.2} if distributions were known",
            own.waste(),
            percent(own.coverage()),
            vpa.waste(),
            percent(vpa.coverage()),
            ideal.waste() / of_steady.waste()
        ),
        is_reached: ratio <= most && covers_more,
    }
}

fn never_ran(fleets: &[Vec<Advised>], resource: Resource, most: f64) -> Line {
    let counts = |advised: &Advised| advised.resource == resource && advised.known == 0 && advised.nominal.is_some();
    let measured = |advised: &Advised| counts(advised) && advised.is_measured;
    let all = tally(fleets, counts, |advised| advised.sizes[1]);
    let own = tally(fleets, measured, |advised| advised.sizes[1]);
    let nominal = tally(fleets, measured, |advised| advised.nominal);
    let ratio = own.waste() / nominal.waste();
    Line {
        wanted: format!(
            "{}: a lab that never ran, of nodes measured elsewhere: waste beside nominal ≤ {most}, covering ≥ 92 % at 0.95",
            resource.as_str()
        ),
        found: format!(
            "{ratio:.2}: {:.2} of {:.2}, covering {} % of {}; {:.2} covering {} % where nodes never measured count as nominal",
            own.waste(),
            nominal.waste(),
            percent(own.coverage()),
            own.sessions,
            all.waste(),
            percent(all.coverage())
        ),
        is_reached: ratio <= most && own.coverage() >= 0.92,
    }
}

fn missing(fleets: &[Vec<Advised>], resource: Resource, number: usize, promise: f64) -> Line {
    let share =
        |size: &dyn Fn(&Advised) -> Option<f64>| missing_too_often(fleets, resource, promise, SESSIONS_AFTER, size);
    let (found, count) = share(&|advised| advised.sizes[number]);
    let (plain, _) = share(&|advised| advised.plain[number]);
    let (ideal, steady) = share(&|advised| advised.ideal.as_ref().map(|ideal| ideal[number]));
    Line {
        wanted: format!("{} at {promise}: definitions that miss more than twice the promise ≤ 5 %", resource.as_str()),
        found: format!(
            "{} % of {count}, {} % without own past; by chance, if distributions were known: {} % of {steady}",
            percent(found),
            percent(plain),
            percent(ideal)
        ),
        is_reached: found <= 0.05,
    }
}

fn grown(fleets: &[Vec<Advised>], resource: Resource) -> Line {
    let since = |range: std::ops::Range<usize>| {
        let counts = |advised: &Advised| {
            advised.resource == resource
                && advised.known > 0
                && advised.known_since_growth.is_some_and(|known| range.contains(&known))
        };
        tally(fleets, counts, |advised| advised.sizes[1])
    };
    let (before, after) = (since(0..1), since(1..6));
    Line {
        wanted: format!(
            "{}: topology grew, coverage before its first session and from it on ≥ promise − 3 points",
            resource.as_str()
        ),
        found: format!(
            "{} before, {} over the next five (of {})",
            percent(before.coverage()),
            percent(after.coverage()),
            before.sessions
        ),
        is_reached: before.coverage() >= 0.92 && after.coverage() >= 0.92,
    }
}

fn confidence(wanted: &str, found: &[(usize, f64, f64)]) -> Line {
    let shown: Vec<String> = found
        .iter()
        .map(|(known, stated, found)| format!("n = {known}: {} stated, {} found", percent(*stated), percent(*found)))
        .collect();
    Line {
        wanted: wanted.to_owned(),
        found: shown.join("; "),
        is_reached: found.iter().all(|(_, stated, found)| (found - stated).abs() <= 0.05),
    }
}

/// What was found in fleets of five definitions with three sessions each, at their fourth.
pub fn of_small_fleets(fleets: &[Vec<Advised>]) -> Vec<Line> {
    let mut lines = Vec::new();
    for resource in Resource::ALL {
        for (number, promise) in PROMISES.into_iter().enumerate() {
            let found = at(fleets, resource, number, 3);
            let vpa = tally(
                fleets,
                |advised| advised.resource == resource && advised.known == 3,
                |advised| advised.by_rules[0],
            );
            lines.push(Line {
                wanted: format!(
                    "{} at {promise}: five definitions of three sessions keep the promise",
                    resource.as_str()
                ),
                found: format!(
                    "{} % with waste {:.2}; VPA {} % with {:.2}",
                    percent(found.coverage()),
                    found.waste(),
                    percent(vpa.coverage()),
                    vpa.waste()
                ),
                is_reached: found.coverage() >= promise - 0.005,
            });
        }
    }
    lines
}

/// What a rule said before a session.
type Size = Box<dyn Fn(&Advised) -> Option<f64>>;

/// All rules on the same evidence: coverage and waste at each number of sessions. *Plain* is advice by base, shrinkage and
/// calibration alone, *ideal* the quantile of the definition's true distribution.
pub fn comparison(fleets: &[Vec<Advised>]) -> Vec<String> {
    let mut lines = Vec::new();
    for resource in Resource::ALL {
        let mut rows: Vec<(String, Size)> = Vec::new();
        for (number, promise) in PROMISES.into_iter().enumerate() {
            rows.push((format!("advice at {promise}"), Box::new(move |advised| advised.sizes[number])));
            let plain = move |advised: &Advised| advised.plain[number];
            rows.push((format!("plain at {promise}"), Box::new(plain)));
            let ideal = move |advised: &Advised| advised.ideal.as_ref().map(|ideal| ideal[number]);
            rows.push((format!("ideal at {promise}"), Box::new(ideal)));
        }
        for (number, rule) in Rule::ALL.into_iter().enumerate() {
            rows.push((rule.as_str().to_owned(), Box::new(move |advised| advised.by_rules[number])));
        }
        rows.push(("nominal".to_owned(), Box::new(|advised| advised.nominal)));
        for (name, size) in rows {
            let cell = |known: &usize| {
                let found = tally(fleets, |advised| advised.resource == resource && advised.known == *known, &size);
                if found.sessions == 0 {
                    "silent".to_owned()
                } else {
                    format!("{} {:.2}", percent(found.coverage()), found.waste())
                }
            };
            let cells: Vec<String> = KNOWN.iter().map(cell).collect();
            lines.push(format!(
                "{:<11} {name:<16} {}",
                resource.as_str(),
                cells.iter().map(|cell| format!("{cell:>12}")).collect::<String>()
            ));
        }
    }
    lines
}
