//! The rule by which processes divide the read models: a function of who is there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::read_models::ReadModel;

/// What is to be done for a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Follow the log with the rows that are read.
    Follow,
    /// Make the rows of another revision beside them.
    Rebuild,
}

impl Task {
    /// As it is stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Rebuild => "rebuild",
        }
    }

    /// From its name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Follow, Self::Rebuild].into_iter().find(|task| task.name() == name)
    }
}

/// One thing to do, by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Duty {
    pub(super) model: ReadModel,
    pub(super) task: Task,
}

/// A process that keeps read models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) holder: String,
    pub(super) joined_at: DateTime<Utc>,
    /// Of each read model that it keeps, the revision of its build.
    pub(super) revisions: BTreeMap<ReadModel, i32>,
}

/// Who does what: the heaviest duty first, each to whoever can do it and has the least. Whoever has been there longest comes
/// first among equals. It rests on who is there and not on who does what at present, so that everybody who sees the same
/// comes to the same.
///
/// `lately` has the newest revision of each read model among all who were there a moment ago, those who are gone included.
pub(super) fn divide(
    members: &[Member],
    live_revisions: &BTreeMap<ReadModel, i32>,
    lately: &BTreeMap<ReadModel, i32>,
) -> BTreeMap<Duty, String> {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by_key(|member| (member.joined_at, &member.holder));
    let mut duties: Vec<(Duty, i32)> = live_revisions
        .iter()
        .flat_map(|(model, live)| duties_of(*model, *live, lately.get(model).copied(), &members))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    duties.sort_by_key(|(duty, _)| (Reverse(duty.model.weight()), *duty));
    let mut weights = vec![0_u32; members.len()];
    let mut divided = BTreeMap::new();
    for (duty, revision) in duties {
        let able = |member: &Member| member.revisions.get(&duty.model) == Some(&revision);
        let places = members.iter().zip(&mut weights).filter(|(member, _)| able(member));
        if let Some((member, weight)) = places.min_by_key(|(_, weight)| **weight) {
            *weight += duty.model.weight();
            divided.insert(duty, member.holder.clone());
        }
    }
    divided
}

/// What is to be done for a read model, and in which revision: rows are followed by builds of their own revision, and made
/// anew by those of the newest. Where that is older, as a newer build was rolled back, it does so once nobody was there lately who
/// could follow them.
fn duties_of(
    model: ReadModel,
    live: i32,
    lately: Option<i32>,
    members: &[&Member],
) -> impl Iterator<Item = (Duty, i32)> {
    let newest = members.iter().filter_map(|member| member.revisions.get(&model)).max().copied();
    let is_due = |newest: &i32| *newest > live || (*newest < live && lately.is_none_or(|lately| lately < live));
    let rebuild = newest.filter(is_due).map(|newest| (Duty { model, task: Task::Rebuild }, newest));
    std::iter::once((Duty { model, task: Task::Follow }, live)).chain(rebuild)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn member(number: i64) -> Member {
        Member {
            holder: format!("p{number}"),
            joined_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(number),
            revisions: live(),
        }
    }

    fn live() -> BTreeMap<ReadModel, i32> {
        ReadModel::ALL.into_iter().map(|model| (model, model.revision())).collect()
    }

    fn follow(model: ReadModel) -> Duty {
        Duty { model, task: Task::Follow }
    }

    /// What each of so many has to do.
    fn loads(members: &[Member]) -> Vec<u32> {
        let divided = divide(members, &live(), &live());
        assert_eq!(divided.len(), ReadModel::ALL.len(), "each is somebody's");
        let load = |member: &Member| {
            divided.iter().filter(|(_, holder)| **holder == member.holder).map(|(duty, _)| duty.model.weight()).sum()
        };
        members.iter().map(load).collect()
    }

    #[test]
    fn one_does_everything_and_nobody_nothing() {
        let divided = divide(&[member(1)], &live(), &live());
        assert_eq!(divided.into_keys().collect::<Vec<_>>(), ReadModel::ALL.map(follow));
        assert!(divide(&[], &live(), &live()).is_empty());
    }

    #[test]
    fn nobody_has_more_than_a_fair_share_and_the_heaviest_read_model() {
        let all: u32 = ReadModel::ALL.into_iter().map(ReadModel::weight).sum();
        let heaviest = ReadModel::ALL.into_iter().map(ReadModel::weight).max().unwrap();
        for count in 1..=9_u32 {
            let members: Vec<_> = (1..=i64::from(count)).map(member).collect();
            let most = loads(&members).into_iter().max().unwrap();
            assert!(most <= all / count + heaviest, "{most} of {all} among {count}");
        }
        let two = loads(&[member(1), member(2)]);
        assert!(two.iter().all(|load| *load * 10 >= all * 4), "two have about half each: {two:?}");
        assert_eq!(loads(&(1..=7).map(member).collect::<Vec<_>>()).into_iter().filter(|load| *load == 0).count(), 0);
    }

    #[test]
    fn everybody_comes_to_the_same_whatever_order_they_are_listed_in() {
        let (a, b, c) = (member(1), member(2), member(3));
        assert_eq!(divide(&[a.clone(), b.clone(), c.clone()], &live(), &live()), divide(&[c, a, b], &live(), &live()));
    }

    #[test]
    fn rows_of_an_older_revision_are_followed_by_the_old_build_while_the_new_one_makes_others() {
        let model = ReadModel::Sessions;
        let mut new = member(2);
        new.revisions.insert(model, model.revision() + 1);
        let divided = divide(&[member(1), new.clone()], &live(), &new.revisions);
        assert_eq!(divided[&follow(model)], "p1");
        assert_eq!(divided[&Duty { model, task: Task::Rebuild }], "p2");
        // They were swapped.
        let mut swapped = live();
        swapped.insert(model, model.revision() + 1);
        let divided = divide(&[member(1), new], &swapped, &swapped);
        assert_eq!(divided[&follow(model)], "p2");
        assert!(!divided.contains_key(&Duty { model, task: Task::Rebuild }));
        // The old build alone can do nothing for them, as long as the new one may come back; then it makes its own.
        assert!(divide(&[member(1)], &swapped, &swapped).keys().all(|duty| duty.model != model));
        let divided = divide(&[member(1)], &swapped, &live());
        assert_eq!(divided[&Duty { model, task: Task::Rebuild }], "p1");
        assert!(!divided.contains_key(&follow(model)));
    }

    #[test]
    fn a_process_is_given_only_what_it_keeps() {
        let mut some = member(1);
        some.revisions.retain(|model, _| *model == ReadModel::Workers);
        let divided = divide(&[some], &live(), &live());
        assert_eq!(divided.into_keys().collect::<Vec<_>>(), [follow(ReadModel::Workers)]);
    }
}
