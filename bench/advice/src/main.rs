//! `make bench-advice`: whether advice keeps its promise, and what it costs, on fleets of simulated labs.
//!
//! ```text
//! bench-advice                       the table, over all families of fleets
//! bench-advice --seeds 5..15         by other seeds
//! bench-advice --families held-out   by families that no constant of the method was chosen by; or by the name of one
//! bench-advice --definitions 50      fleets of this size, instead of 200 and of 20
//! bench-advice --compare             all rules beside each other
//! ```

use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;

use bench_advice::cost;
use bench_advice::families::{FAMILIES, Family, HELD_OUT};
use bench_advice::simulated_fleet::{SimulatedFleet, Size};
use bench_advice::targets::{Line, PROMISES, comparison, of_fleets, of_small_fleets};
use bench_advice::walk::{Advised, CoveredFuture, walk};
use domain::advice_policy::Promise;

type Failure = Box<dyn std::error::Error>;

/// What was asked for.
struct Arguments {
    seeds: Range<u64>,
    families: Vec<Family>,
    /// Numbers of definitions of the fleets.
    definitions: Vec<u64>,
    compare: bool,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut arguments =
            Self { seeds: 0..5, families: FAMILIES.to_vec(), definitions: vec![200, 20], compare: false };
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--seeds" => {
                    let range = given.next().ok_or("--seeds needs a range such as 5..15")?;
                    let (first, end) = range.split_once("..").ok_or("--seeds needs a range such as 5..15")?;
                    arguments.seeds = first.parse()?..end.parse()?;
                }
                "--families" => {
                    let name = given.next().ok_or("--families needs a name, or held-out")?;
                    let all = || FAMILIES.into_iter().chain(HELD_OUT);
                    arguments.families = match name.as_str() {
                        "held-out" => HELD_OUT.to_vec(),
                        name => all().filter(|family| family.name == name).collect(),
                    };
                    if arguments.families.is_empty() {
                        let names: Vec<&str> = all().map(|family| family.name).collect();
                        return Err(format!("no family {name:?}; there are held-out and {names:?}").into());
                    }
                }
                "--definitions" => {
                    let number = given.next().ok_or("--definitions needs a number such as 200")?;
                    arguments.definitions = vec![number.parse::<u64>()?.clamp(1, 10_000)];
                }
                "--compare" => arguments.compare = true,
                other => {
                    return Err(
                        format!("{other:?} is no argument; see --seeds, --families, --definitions, --compare").into()
                    );
                }
            }
        }
        Ok(arguments)
    }
}

/// The fleets of this size, walked through.
fn walked(
    arguments: &Arguments,
    size: Size,
    seeds: Range<u64>,
    promises: &[Promise],
) -> Result<(Vec<Vec<Advised>>, Vec<CoveredFuture>), Failure> {
    let (mut fleets, mut future) = (Vec::new(), Vec::new());
    for family in &arguments.families {
        for seed in seeds.clone() {
            let (advised, covered, _) = walk(&SimulatedFleet::new(family, size, seed)?, promises);
            fleets.push(advised);
            future.extend(covered);
        }
    }
    Ok((fleets, future))
}

fn print(lines: &[Line]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for Line { wanted, found, is_reached } in lines {
        writeln!(out, "  {:<11} {wanted}\n              {found}", if *is_reached { "reached" } else { "NOT REACHED" })?;
    }
    Ok(())
}

fn run() -> Result<(), Failure> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let promises = PROMISES.map(Promise::new).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout();
    let names: Vec<&str> = arguments.families.iter().map(|family| family.name).collect();
    writeln!(out, "seeds {:?}, families {names:?}", arguments.seeds)?;
    for definitions in arguments.definitions.iter().copied() {
        // Ten fleets of 20 definitions say as much as one of 200.
        let seeds = arguments.seeds.start
            ..arguments.seeds.start + (arguments.seeds.end - arguments.seeds.start) * (200 / definitions).max(1);
        let size = Size { definitions: definitions as usize, sessions: None };
        let (fleets, future) = walked(&arguments, size, seeds, &promises)?;
        writeln!(out, "\nfleets of {definitions} definitions")?;
        print(&of_fleets(&fleets, &future))?;
        if arguments.compare {
            writeln!(
                out,
                "\n  coverage in percent and waste at n =        0           1           3           5          10          30"
            )?;
            for line in comparison(&fleets) {
                writeln!(out, "  {line}")?;
            }
        }
    }
    let seeds = arguments.seeds.start..arguments.seeds.start + (arguments.seeds.end - arguments.seeds.start) * 40;
    let (fleets, _) = walked(&arguments, Size { definitions: 5, sessions: Some(4) }, seeds, &promises)?;
    writeln!(out, "\nfleets of 5 definitions with 3 sessions each")?;
    print(&of_small_fleets(&fleets))?;
    let cost = cost::measure(arguments.seeds.start)?;
    writeln!(
        out,
        "\n{} sessions of {} definitions: {:.0} µs a recommendation of three resources, {:.0} µs a new session; {:.0} rows read beside the scores",
        cost.sessions, cost.definitions, cost.recommendation, cost.session, cost.rows
    )?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where nobody reads what is printed, the code is all that tells.
            let told = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(if told.is_ok() { 1 } else { 2 })
        }
    }
}
