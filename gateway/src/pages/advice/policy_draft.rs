//! A policy as it is typed into its form: all of it is in the address, so that going back and reviewing lose nothing.

use domain::advice_policy::{Applier, HalfLife, Limits, Policy, Promise};
use domain::resource::Resource;
use domain::{Amount, Invalid, Share};
use serde::{Deserialize, Serialize};

use super::amounts::{self, amount, of_a_hundred, percent};
use crate::pages::definition::change::Change;
use crate::pages::parts;
use crate::pages::query::address;

/// Fields as they were typed. Shares are percentages, amounts cores or GB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyDraft {
    /// The version of what it changes. Absent: nothing was filled in yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<i64>,
    /// As where nobody has set a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) given_up: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promise: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) minimum_sessions: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) minimum_change: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) largest_step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) half_life_days: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_boot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_floor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_cap: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_floor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_cap: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_floor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_cap: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) applier: Option<Applier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The name of a field, and what was typed into it.
type TypedField<'a> = (&'static str, Option<&'a str>);

/// A field of the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyField {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) value: String,
    pub(crate) hint: &'static str,
    pub(crate) wrong: Option<Invalid>,
}

impl PolicyDraft {
    /// What a policy looks like in the form.
    pub(crate) fn from_policy(policy: &Policy, version: i64) -> Self {
        let hundred = |share: f64| Some(parts::number(&(share * 100.0)));
        let bound = |resource: Resource, bound: Option<Amount>| {
            bound.map(|amount| parts::number(&(amount.get() / resource.unit())))
        };
        let Limits { floor: cpu_floor, cap: cpu_cap } = policy.limits.cpu_cores;
        let Limits { floor: memory_floor, cap: memory_cap } = policy.limits.memory_mb;
        let Limits { floor: storage_floor, cap: storage_cap } = policy.limits.storage_mb;
        Self {
            version: Some(version),
            given_up: None,
            promise: hundred(policy.promise.share()),
            minimum_sessions: Some(policy.minimum_sessions.to_string()),
            minimum_change: hundred(policy.minimum_change.get()),
            largest_step: policy.largest_step.and_then(|step| hundred(step.get())),
            half_life_days: policy.half_life_days.map(|days| days.to_string()),
            include_boot: Some(policy.include_boot),
            cpu_floor: bound(Resource::CpuCores, cpu_floor),
            cpu_cap: bound(Resource::CpuCores, cpu_cap),
            memory_floor: bound(Resource::MemoryMb, memory_floor),
            memory_cap: bound(Resource::MemoryMb, memory_cap),
            storage_floor: bound(Resource::StorageMb, storage_floor),
            storage_cap: bound(Resource::StorageMb, storage_cap),
            applier: Some(policy.applier),
            reason: None,
        }
    }

    /// The reason without surrounding white space.
    pub(crate) fn reason(&self) -> String {
        self.reason.as_deref().unwrap_or_default().replace("\r\n", "\n").trim().to_owned()
    }

    /// Its fields but for the reason, for a form to carry along.
    pub(crate) fn hidden(&self) -> Vec<(String, String)> {
        let query = address("/", &Self { reason: None, ..self.clone() });
        let query = query.split_once('?').map(|(_, query)| query).unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// Whether somebody filled it in. A form always names the version that it rests on.
    pub(crate) fn is_filled(&self) -> bool {
        self.version.is_some()
    }

    /// The policy that it says; none: as where nobody has set one.
    ///
    /// # Errors
    /// Every field that is wrong, with what would be right.
    pub(crate) fn parse(&self) -> Result<Option<Policy>, Vec<Invalid>> {
        if self.given_up == Some(true) {
            return Ok(None);
        }
        let mut wrong = Vec::new();
        let mut keep = |field: &'static str, invalid: Invalid| {
            wrong.push(Invalid { field: field.to_owned(), ..invalid });
        };
        let mut policy = Policy::default();
        match number("promise", self.promise.as_deref(), "a percentage above 0 and below 100, e.g. 95") {
            Ok(Some(share)) => match Promise::new(share / 100.0) {
                Ok(promise) => policy.promise = promise,
                Err(_) => keep(
                    "promise",
                    Invalid::new("", format!("is {share}"), "a percentage above 0 and below 100, e.g. 95"),
                ),
            },
            Ok(None) => {}
            Err(invalid) => keep("promise", invalid),
        }
        let sessions = self.minimum_sessions.as_deref().map(str::trim).filter(|typed| !typed.is_empty());
        match sessions.map(str::parse).transpose() {
            Ok(Some(sessions)) => policy.minimum_sessions = sessions,
            Ok(None) => {}
            Err(_) => {
                keep("minimum_sessions", Invalid::new("", "is no whole number", "a whole number from 1 to 10000"))
            }
        }
        let days = self.half_life_days.as_deref().map(str::trim).filter(|typed| !typed.is_empty());
        match days.map(|typed| typed.parse().ok().and_then(|days| HalfLife::new(days).ok())) {
            None => {}
            Some(Some(days)) => policy.half_life_days = Some(days),
            Some(None) => {
                keep("half_life_days", Invalid::new("", "is out of bounds", "whole days from 1 to 36500, or nothing"))
            }
        }
        for (field, typed) in [("minimum_change", &self.minimum_change), ("largest_step", &self.largest_step)] {
            let expected = "a percentage from 0 to 100";
            let share = number(field, typed.as_deref(), expected).and_then(|share| {
                let share = share.map(|share| Share::new(share / 100.0)).transpose();
                share.map_err(|_| Invalid::new("", "is out of bounds", expected))
            });
            match (share, field) {
                (Err(invalid), _) => keep(field, invalid),
                (Ok(step), "largest_step") => policy.largest_step = step,
                (Ok(Some(change)), _) => policy.minimum_change = change,
                (Ok(None), _) => {}
            }
        }
        for (resource, floor, cap) in self.bounds() {
            let mut bound = |(field, typed): TypedField<'_>| {
                let expected = "an amount from 0 on, or nothing";
                let found = number(field, typed, expected).and_then(|units| {
                    let amount = units.map(|units| Amount::new(units * resource.unit())).transpose();
                    amount.map_err(|_| Invalid::new("", "is out of bounds", expected))
                });
                found.unwrap_or_else(|invalid| {
                    keep(field, invalid);
                    None
                })
            };
            *resource.part_mut(&mut policy.limits) = Limits { floor: bound(floor), cap: bound(cap) };
        }
        policy.applier = self.applier.unwrap_or_default();
        policy.include_boot = self.include_boot.unwrap_or_default();
        if wrong.is_empty()
            && let Err(invalid) = policy.check()
        {
            // The policy names its own members.
            let field = match invalid.field.as_str() {
                "limits.cpu_cores.floor" => "cpu_floor",
                "limits.memory_mb.floor" => "memory_floor",
                "limits.storage_mb.floor" => "storage_floor",
                "largest_step" => "largest_step",
                _ => "minimum_sessions",
            };
            let problem =
                if field.ends_with("floor") { "is above its cap".to_owned() } else { invalid.problem.clone() };
            wrong.push(Invalid { field: field.to_owned(), problem, ..invalid });
        }
        if wrong.is_empty() { Ok(Some(policy)) } else { Err(wrong) }
    }

    fn bounds(&self) -> [(Resource, TypedField<'_>, TypedField<'_>); 3] {
        [
            (Resource::CpuCores, ("cpu_floor", self.cpu_floor.as_deref()), ("cpu_cap", self.cpu_cap.as_deref())),
            (
                Resource::MemoryMb,
                ("memory_floor", self.memory_floor.as_deref()),
                ("memory_cap", self.memory_cap.as_deref()),
            ),
            (
                Resource::StorageMb,
                ("storage_floor", self.storage_floor.as_deref()),
                ("storage_cap", self.storage_cap.as_deref()),
            ),
        ]
    }

    /// The form's fields, with what is wrong.
    pub(crate) fn fields(&self, wrong: &[Invalid]) -> Vec<PolicyField> {
        let field = |name, label, value: &Option<String>, hint| PolicyField {
            name,
            label,
            value: value.clone().unwrap_or_default(),
            hint,
            wrong: wrong.iter().find(|invalid| invalid.field == name).cloned(),
        };
        vec![
            field(
                "promise",
                "Promise, %",
                &self.promise,
                "Share of future sessions that a size is to cover. Above 97 each point costs more than it gives.",
            ),
            field(
                "minimum_sessions",
                "Sessions before it is judged",
                &self.minimum_sessions,
                "Fewer are insufficient evidence.",
            ),
            field("minimum_change", "Smallest change, %", &self.minimum_change, "And never less than one core or GB."),
            field(
                "largest_step",
                "Largest step, %",
                &self.largest_step,
                "By how much one revision may move it; empty: by any.",
            ),
            field(
                "half_life_days",
                "Half-life of evidence, days",
                &self.half_life_days,
                "After so many days a session counts half; empty: it counts for good.",
            ),
            field("cpu_floor", "CPU at least, cores", &self.cpu_floor, "Empty: no bound."),
            field("cpu_cap", "CPU at most, cores", &self.cpu_cap, "Empty: no bound."),
            field("memory_floor", "Memory at least, GB", &self.memory_floor, "Empty: no bound."),
            field("memory_cap", "Memory at most, GB", &self.memory_cap, "Empty: no bound."),
            field("storage_floor", "Storage at least, GB", &self.storage_floor, "Empty: no bound."),
            field("storage_cap", "Storage at most, GB", &self.storage_cap, "Empty: no bound."),
        ]
    }
}

/// A number that was typed into a field; nothing is none.
fn number(field: &str, typed: Option<&str>, expected: &str) -> Result<Option<f64>, Invalid> {
    let typed = typed.unwrap_or_default().trim();
    if typed.is_empty() {
        return Ok(None);
    }
    match typed.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        _ => {
            let shown: String = typed.chars().take(40).collect();
            Err(Invalid::new(field, format!("is {shown:?}"), expected))
        }
    }
}

/// Who may apply a proposal, in words.
pub(crate) fn applier(applier: Applier) -> &'static str {
    match applier {
        Applier::Admin => "admins",
        Applier::Operator => "operators and admins",
        Applier::Automatic => "itself, at once",
    }
}

/// Whether the boot counts, in words.
pub(crate) fn boot(include_boot: bool) -> &'static str {
    if include_boot { "included" } else { "not counted" }
}

/// A policy's members in a fixed order, as people read them.
pub(crate) fn members(policy: &Policy) -> Vec<(&'static str, String)> {
    let bound = |resource: Resource, bound: Option<Amount>| {
        bound.map_or_else(|| "none".to_owned(), |bound| amount(resource, Some(bound.get())))
    };
    let mut members = vec![
        ("Promise", format!("{} sessions", of_a_hundred(policy.promise))),
        ("Sessions before it is judged", policy.minimum_sessions.to_string()),
        ("Smallest change", percent(Some(policy.minimum_change.get()))),
        ("Largest step", policy.largest_step.map_or_else(|| "any".to_owned(), |step| percent(Some(step.get())))),
    ];
    let half_life = policy.half_life_days.map(|days| parts::counted(&u64::from(days.get()), "day"));
    members.push(("Half-life of evidence", half_life.unwrap_or_else(|| "none".to_owned())));
    members.push(("Boot", boot(policy.include_boot).to_owned()));
    for resource in Resource::ALL {
        let Limits { floor, cap } = *resource.part(&policy.limits);
        let name = match resource {
            Resource::CpuCores => ["CPU at least", "CPU at most"],
            Resource::MemoryMb => ["Memory at least", "Memory at most"],
            Resource::StorageMb => ["Storage at least", "Storage at most"],
        };
        members.push((name[0], bound(resource, floor)));
        members.push((name[1], bound(resource, cap)));
    }
    members.push(("Applied by", applier(policy.applier).to_owned()));
    members
}

/// What differs between two policies, member by member.
pub(crate) fn changes(before: &Policy, after: &Policy) -> Vec<Change> {
    let pairs = members(before).into_iter().zip(members(after));
    pairs
        .map(|((name, before), (_, after))| Change {
            name,
            differs: before != after,
            before,
            after,
            difference: None,
            objections: Vec::new(),
        })
        .collect()
}

/// What is worth saying of a policy before it is set.
pub(crate) fn warnings(policy: &Policy) -> Vec<String> {
    let automatic = (policy.applier == Applier::Automatic).then(|| {
        "Proposals apply by themselves: definitions are revised as soon as the evidence asks for it, without anybody looking \
         at it, in the name of whoever sets this policy."
            .to_owned()
    });
    let costly = policy
        .promise
        .is_costly()
        .then(|| format!("A promise of {} costs more than it gives.", of_a_hundred(policy.promise)));
    let bounded = Resource::ALL.into_iter().filter(|resource| resource.part(&policy.limits).cap.is_some());
    let capped: Vec<&str> = bounded.map(amounts::noun).collect();
    let capped = (!capped.is_empty()).then(|| {
        format!("Where a cap of {} is below what the promise needs, the promise is not kept.", capped.join(", "))
    });
    automatic.into_iter().chain(costly).chain(capped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(change: impl FnOnce(&mut PolicyDraft)) -> Result<Option<Policy>, Vec<Invalid>> {
        let mut draft = PolicyDraft::from_policy(&Policy::default(), 1);
        change(&mut draft);
        draft.parse()
    }

    fn wrong(change: impl FnOnce(&mut PolicyDraft)) -> String {
        let wrong = typed(change).unwrap_err();
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_policy_comes_back_as_it_was_shown() {
        let mut policy = Policy {
            largest_step: Share::new(0.5).ok(),
            half_life_days: HalfLife::new(90).ok(),
            include_boot: true,
            applier: Applier::Operator,
            ..Policy::default()
        };
        policy.limits.memory_mb.cap = Amount::new(8192.0).ok();
        let draft = PolicyDraft::from_policy(&policy, 7);
        assert_eq!((draft.promise.as_deref(), draft.memory_cap.as_deref()), (Some("95"), Some("8")));
        assert_eq!(draft.parse(), Ok(Some(policy)));
        assert_eq!(typed(|draft| draft.given_up = Some(true)), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said_beside_its_field() {
        let set = |text: &str| Some(text.to_owned());
        assert!(
            wrong(|draft| draft.promise = set("100"))
                .contains("promise is 100; expected a percentage above 0 and below 100")
        );
        assert!(wrong(|draft| draft.promise = set("many")).contains("promise is \"many\""));
        assert!(wrong(|draft| draft.minimum_sessions = set("0")).contains("minimum_sessions is 0"));
        assert!(wrong(|draft| draft.largest_step = set("5")).contains("largest_step is 0.05"));
        let crossed = wrong(|draft| (draft.memory_floor, draft.memory_cap) = (set("8"), set("4")));
        assert!(crossed.contains("memory_floor is above its cap"), "{crossed}");
        assert!(wrong(|draft| draft.half_life_days = set("0")).contains("half_life_days is out of bounds"));
        assert!(wrong(|draft| draft.cpu_cap = set("-1")).contains("cpu_cap is out of bounds"));
        let both = typed(|draft| (draft.promise, draft.cpu_cap) = (set("x"), set("y"))).unwrap_err();
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn what_differs_is_marked_and_what_acts_by_itself_is_said_plainly() {
        let after = Policy { applier: Applier::Automatic, ..Policy::default() };
        let differing: Vec<_> =
            changes(&Policy::default(), &after).into_iter().filter(|change| change.differs).collect();
        assert_eq!((differing.len(), differing[0].after.as_str()), (1, "itself, at once"));
        let with_boot = Policy { include_boot: true, ..Policy::default() };
        let changes = changes(&Policy::default(), &with_boot);
        let boot = changes.iter().find(|change| change.differs).unwrap();
        assert_eq!((boot.name, boot.before.as_str(), boot.after.as_str()), ("Boot", "not counted", "included"));
        assert!(warnings(&after)[0].starts_with("Proposals apply by themselves"));
        assert_eq!(warnings(&Policy::default()), [""; 0]);
    }
}
