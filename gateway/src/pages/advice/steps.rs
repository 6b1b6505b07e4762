//! How a recommended number came about, step by step, each with its value.

use advice::base::{Base, PoolSource};
use advice::estimate::Estimate;
use advice::recommendation::Explanation;
use advice::requirement::{Bound, Requirement};
use advice::scores::Bucket;
use domain::resource::Resource;

use super::amounts::{amount, factor, percent, stated};
use super::topology_view::{AlikeRow, kind_row};
use crate::pages::parts;

/// Kinds of nodes that are listed, those that need most first.
const MOST_LISTED: usize = 40;

/// One step from evidence to number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) title: &'static str,
    /// What it gives.
    pub(crate) value: String,
    /// How, one sentence a line.
    pub(crate) lines: Vec<String>,
    /// What the nodes contribute, of the first step.
    pub(crate) parts: Vec<BaseRow>,
    /// Kinds of nodes that are not listed.
    pub(crate) more_parts: usize,
    /// Where what it rests on is listed.
    pub(crate) rests_on: RestsOn,
}

/// What a step rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestsOn {
    /// The definition's own sessions.
    Sessions,
    /// The readings that set it.
    Readings,
    /// Past advice of the whole fleet.
    Scores,
    /// The policy.
    Policy,
    /// The steps before it.
    Steps,
}

/// What nodes of one kind contribute to the base.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BaseRow {
    pub(crate) kind: AlikeRow,
    /// What each is taken to need.
    pub(crate) each: String,
    /// What all of them are.
    pub(crate) all: String,
    pub(crate) source: &'static str,
    pub(crate) runs: u64,
}

/// The steps of one resource. Empty: nothing is known.
pub(crate) fn steps(resource: Resource, explanation: &Explanation) -> Vec<Step> {
    let Some(estimate) = &explanation.estimate else { return Vec::new() };
    let mut steps = vec![
        base(resource, estimate),
        ratio(estimate),
        location(estimate),
        spread(estimate),
        calibration(estimate),
        computed(resource, estimate),
    ];
    steps.extend(bounds(resource, estimate));
    steps.extend(explanation.requirement.map(|requirement| stated_size(resource, estimate, &requirement)));
    steps
}

fn step(title: &'static str, value: String, lines: Vec<String>, rests_on: RestsOn) -> Step {
    Step { title, value, lines, parts: Vec::new(), more_parts: 0, rests_on }
}

fn base(resource: Resource, estimate: &Estimate) -> Step {
    let Some(base) = &estimate.base else {
        let line = "Nothing is known of its nodes, so its sessions stand for themselves.".to_owned();
        return step("What the topology needs", "unknown".to_owned(), vec![line], RestsOn::Sessions);
    };
    let mut rows: Vec<(f64, BaseRow)> = base
        .parts
        .iter()
        .map(|part| {
            let all = part.demand * f64::from(part.count);
            let row = BaseRow {
                kind: kind_row(&part.kind, part.count),
                each: amount(resource, Some(part.demand)),
                all: amount(resource, Some(all)),
                source: source(part.source),
                runs: part.runs,
            };
            (all, row)
        })
        .collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    let more_parts = rows.len().saturating_sub(MOST_LISTED);
    Step {
        parts: rows.into_iter().take(MOST_LISTED).map(|(_, row)| row).collect(),
        more_parts,
        ..step(
            "What the topology needs",
            amount(resource, Some(base.value)),
            base_lines(resource, base),
            RestsOn::Sessions,
        )
    }
}

fn base_lines(resource: Resource, base: &Base) -> Vec<String> {
    let mut lines = vec![
        "The mean of what nodes of each kind needed elsewhere, added up over the topology.".to_owned(),
        format!("{} of it rests on measured nodes.", percent(Some(base.measured_share))),
    ];
    if base.nominal_part > 0.0 {
        lines.push(format!(
            "{} is the nominal size of nodes that were never measured; they need no more than that.",
            amount(resource, Some(base.nominal_part))
        ));
    }
    lines
}

fn source(source: PoolSource) -> &'static str {
    match source {
        PoolSource::OtherDefinitions => "labs of other definitions",
        PoolSource::OwnNodes => "labs of this definition alone",
        PoolSource::AnyImage => "other images of the same size",
        PoolSource::Nominal => "never measured: nominal size",
        PoolSource::NodeDefinition => "other sizes of its node definition",
        PoolSource::AnyNode => "never measured: the mean of all nodes",
    }
}

fn ratio(estimate: &Estimate) -> Step {
    let prediction = &estimate.prediction;
    let (value, lines) = match prediction.ratio {
        None => ("none yet".to_owned(), vec!["No session of this definition is known.".to_owned()]),
        Some(ratio) => {
            let mut lines = vec![format!("The mean of {}.", parts::counted(&prediction.sessions, "session"))];
            let before = prediction.sessions.saturating_sub(prediction.sessions_of_topology);
            if before > 0 && estimate.base.is_some() {
                lines.push(format!(
                    "{} had another topology, and each counts beside what its own nodes need.",
                    parts::counted(&before, "of them")
                ));
            }
            (factor(ratio), lines)
        }
    };
    step("What this definition adds", value, lines, RestsOn::Sessions)
}

fn location(estimate: &Estimate) -> Step {
    let (prior, prediction) = (&estimate.prior, &estimate.prediction);
    let mut lines = vec![
        format!("{} weight of its own sessions.", percent(Some(prediction.own_weight))),
        format!(
            "The rest is what is usual: {}, the mean of {}.",
            factor(prior.mean),
            parts::counted(&prior.definitions, "definition")
        ),
    ];
    if prediction.followed != 0.0 {
        lines.push(format!(
            "Its last sessions lay off what was expected, which moves it by {}.",
            factor(prediction.followed)
        ));
    }
    step("What is expected of the next session", factor(prediction.location), lines, RestsOn::Sessions)
}

fn spread(estimate: &Estimate) -> Step {
    let prediction = &estimate.prediction;
    let lines = vec![
        "One spread above what is expected multiplies by this.".to_owned(),
        format!(
            "From session to session {}, and {} for what is not known of the definition.",
            factor(prediction.variance.sqrt()),
            factor(prediction.location_variance.sqrt())
        ),
    ];
    step("How far the next session may be off", factor(prediction.spread), lines, RestsOn::Sessions)
}

fn calibration(estimate: &Estimate) -> Step {
    let found = &estimate.calibration;
    let mut lines = vec![format!(
        "So many spreads above what was expected covered {} of {} of past advice to definitions of which {} known.",
        percent(Some(found.level)),
        parts::counted(&found.scores, "score"),
        bucket(found.bucket)
    )];
    if (found.level - estimate.promise.share()).abs() > 1e-9 {
        lines.push(format!(
            "The promise is {}; the definition's own past asks for {}.",
            percent(Some(estimate.promise.share())),
            percent(Some(found.level))
        ));
    }
    if !estimate.is_calibrated {
        lines.push(format!(
            "Where 200 scores would do, {} of definitions of which more or fewer sessions are known stand in, and Student's distribution for {}.",
            parts::number(&found.borrowed_scores),
            parts::number(&found.assumed_scores)
        ));
    }
    step("What the promise needs", format!("{} spreads", parts::number(&found.score)), lines, RestsOn::Scores)
}

fn bucket(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::None => "no session is",
        Bucket::From1 => "1 or 2 sessions are",
        Bucket::From3 => "3 to 5 sessions are",
        Bucket::From6 => "6 to 10 sessions are",
        Bucket::From11 => "11 to 20 sessions are",
        Bucket::From21 => "21 to 50 sessions are",
        Bucket::From51 => "more than 50 sessions are",
    }
}

fn computed(resource: Resource, estimate: &Estimate) -> Step {
    let prediction = &estimate.prediction;
    let base =
        estimate.base.as_ref().map_or_else(String::new, |base| format!("{} ", amount(resource, Some(base.value))));
    let line = format!(
        "{base}{} {}, the spread taken {} times.",
        factor(prediction.location),
        factor(estimate.calibration.score * prediction.spread),
        parts::number(&estimate.calibration.score)
    );
    step("What that comes to", amount(resource, Some(estimate.computed)), vec![line], RestsOn::Steps)
}

fn bounds(resource: Resource, estimate: &Estimate) -> Vec<Step> {
    let raised = estimate.raised_to_largest.map(|largest| {
        let line = "There are few scores of past advice, and the largest session needed more.".to_owned();
        step("Raised to the largest session", amount(resource, Some(largest)), vec![line], RestsOn::Readings)
    });
    let capped = estimate.capped_by_nominal.map(|nominal| {
        let line = "Its nodes are given no more than this, so they cannot use more.".to_owned();
        step("No more than nominal", amount(resource, Some(nominal)), vec![line], RestsOn::Readings)
    });
    raised.into_iter().chain(capped).collect()
}

fn stated_size(resource: Resource, estimate: &Estimate, requirement: &Requirement) -> Step {
    let mut lines = vec![format!(
        "{}, rounded up to {}.",
        amount(resource, Some(estimate.value)),
        stated(resource, requirement.rounded)
    )];
    lines.extend(requirement.bound.map(|bound| {
        match bound {
            Bound::Floor => "The policy's floor raises it.",
            Bound::Cap => "The policy's cap lowers it: the promise is not kept.",
            Bound::StepUp => "The policy's largest step stops it on its way up.",
            Bound::StepDown => "The policy's largest step stops it on its way down.",
        }
        .to_owned()
    }));
    step("What the definition would state", stated(resource, requirement.value), lines, RestsOn::Policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::advice::tests::{MEMORY, explanation};

    #[test]
    fn each_step_has_its_value_and_the_first_lists_the_nodes() {
        let steps = steps(MEMORY, &explanation());
        let titles: Vec<&str> = steps.iter().map(|step| step.title).collect();
        assert_eq!(
            titles[..3],
            ["What the topology needs", "What this definition adds", "What is expected of the next session"]
        );
        assert_eq!(titles.last(), Some(&"What the definition would state"));
        assert_eq!((steps[0].parts.len(), steps[0].parts[0].kind.node_definition.as_str()), (1, "iosv"));
        assert_eq!((steps[0].parts[0].source, steps[0].parts[0].runs), ("labs of other definitions", 24));
        assert!(steps[0].value.ends_with(" GB") && steps[1].value.starts_with("× "), "{steps:?}");
        assert!(steps[1].lines[0].contains("5 sessions"), "{:?}", steps[1]);
        assert_eq!(steps.last().map(|step| (step.value.as_str(), step.rests_on)), Some(("3 GB", RestsOn::Policy)));
    }

    #[test]
    fn where_nothing_is_known_there_are_no_steps() {
        let nothing = Explanation { estimate: None, requirement: None };
        assert!(steps(MEMORY, &nothing).is_empty());
    }
}
