//! The states of sessions as filters with their counts, and headers that sort: links, so that whatever is chosen is in the
//! address.

use domain::lablet_session::SessionStatus;
use projections::read_models::sessions::{MOST_COUNTED, SessionSort, StatusCounts};

use crate::pages::parts::{Badge, grouped};

/// Several states by one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatusGroup {
    /// As the address has it.
    pub(super) name: &'static str,
    /// On the page.
    words: &'static str,
    /// What it stands for.
    pub(super) states: &'static [SessionStatus],
}

/// Those that somebody asks for as one.
pub(super) const GROUPS: [StatusGroup; 2] = [
    StatusGroup { name: "up", words: "Up", states: &SessionStatus::UP },
    StatusGroup { name: "failed", words: "Failed", states: &[SessionStatus::Terminated, SessionStatus::Expired] },
];

/// A filter with how many it would find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chip {
    /// What it is called.
    pub(crate) words: String,
    /// A state has its sign.
    pub(crate) badge: Option<Badge>,
    /// What it stands for, where the words do not say it.
    pub(crate) title: String,
    /// How many it finds.
    pub(crate) count: String,
    /// Whether it is chosen.
    pub(crate) chosen: bool,
    /// Where it leads: to this choice, or from it to all.
    pub(crate) status: Option<String>,
}

/// A count that is exact up to a bound.
pub(super) fn told(&(sessions, is_more): &(u64, bool)) -> String {
    let number = grouped(&(sessions as f64));
    if is_more { format!("{number}+") } else { number }
}

/// How many sessions a list finds, in words.
pub(super) fn total(&(sessions, is_more): &(u64, bool)) -> String {
    match (sessions, is_more) {
        (_, true) => format!("more than {} sessions", grouped(&(MOST_COUNTED as f64))),
        (1, false) => "1 session".to_owned(),
        (several, false) => format!("{} sessions", grouped(&(several as f64))),
    }
}

/// All, then groups, then each state of which there is a session or which is chosen.
pub(super) fn chips(counts: &StatusCounts, asked: Option<&str>, chosen: &[SessionStatus]) -> Vec<Chip> {
    let mut chips = vec![Chip {
        words: "All".to_owned(),
        badge: None,
        title: String::new(),
        count: told(&counts.total(&[])),
        chosen: chosen.is_empty(),
        status: None,
    }];
    for group in GROUPS {
        let (found, is_chosen) = (counts.total(group.states), asked == Some(group.name));
        if found.0 > 0 || is_chosen {
            chips.push(Chip {
                words: group.words.to_owned(),
                badge: None,
                title: group.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", "),
                count: told(&found),
                chosen: is_chosen,
                status: (!is_chosen).then(|| group.name.to_owned()),
            });
        }
    }
    let is_group = GROUPS.iter().any(|group| asked == Some(group.name));
    for state in SessionStatus::ALL {
        let (found, is_chosen) = (counts.in_state(state), !is_group && chosen.contains(&state));
        if found.0 > 0 || is_chosen {
            chips.push(Chip {
                words: state.as_str().to_owned(),
                badge: Some(Badge::status(&state)),
                title: String::new(),
                count: told(&found),
                chosen: is_chosen,
                status: (!is_chosen || chosen.len() > 1).then(|| state.as_str().to_owned()),
            });
        }
    }
    chips
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnHead {
    /// Its name.
    pub(crate) title: &'static str,
    /// What it means, where the name is short.
    pub(crate) meaning: Option<&'static str>,
    /// Whether numbers stand below it.
    pub(crate) is_number: bool,
    /// The order that it stands for, as the address has it; `None`: the list cannot be in its order.
    pub(crate) sort: Option<SessionSort>,
    /// How the list is ordered by it now, as `aria-sort` says it.
    pub(crate) sorted: Option<&'static str>,
}

impl ColumnHead {
    fn plain(title: &'static str) -> Self {
        Self { title, meaning: None, is_number: false, sort: None, sorted: None }
    }

    /// One that sorts; where the list is in its order already, it leads back to the newest.
    fn sorting(title: &'static str, sort: SessionSort, direction: &'static str, now: SessionSort) -> Self {
        let is_now = sort == now;
        let leads_to = if is_now { SessionSort::Newest } else { sort };
        Self { title, meaning: None, is_number: false, sort: Some(leads_to), sorted: is_now.then_some(direction) }
    }

    /// The sign beside the name.
    pub(crate) fn arrow(&self) -> &'static str {
        match self.sorted {
            Some("ascending") => "↑",
            Some(_) => "↓",
            None => "",
        }
    }
}

/// The heads of the list's columns, in an order for which there is an index each.
pub(super) fn heads(now: SessionSort) -> Vec<ColumnHead> {
    vec![
        ColumnHead::sorting("Session", SessionSort::Definition, "ascending", now),
        ColumnHead::sorting("Status", SessionSort::Changed, "descending", now),
        ColumnHead::plain("Owner"),
        ColumnHead::plain("Worker"),
        ColumnHead::plain("Ports"),
        ColumnHead::sorting("Observed", SessionSort::Observed, "descending", now),
        ColumnHead {
            meaning: Some("Used at the peak of the steady phase, of what was allocated"),
            is_number: true,
            ..ColumnHead::plain("Used / allocated")
        },
        ColumnHead::sorting("Timeslot ends", SessionSort::TimeslotEnd, "ascending", now),
    ]
}

#[cfg(test)]
mod tests {
    use projections::read_models::sessions::StatusCount;

    use super::*;

    fn counts() -> StatusCounts {
        let of = |status, sessions, is_more| StatusCount { status, sessions, is_more };
        StatusCounts {
            items: vec![
                of(SessionStatus::Running, 3, false),
                of(SessionStatus::Archived, 10_000, true),
                of(SessionStatus::Expired, 2, false),
            ],
        }
    }

    fn shown(asked: Option<&str>, chosen: &[SessionStatus]) -> Vec<(String, String, bool, Option<String>)> {
        let chips = chips(&counts(), asked, chosen);
        chips.into_iter().map(|chip| (chip.words, chip.count, chip.chosen, chip.status)).collect()
    }

    #[test]
    fn states_without_a_session_are_left_out_and_the_chosen_one_leads_back_to_all() {
        let chip = |words: &str, count: &str, chosen, status: Option<&str>| {
            (words.to_owned(), count.to_owned(), chosen, status.map(str::to_owned))
        };
        assert_eq!(
            shown(Some("running"), &[SessionStatus::Running]),
            [
                chip("All", "10,000+", false, None),
                chip("Up", "3", false, Some("up")),
                chip("Failed", "2", false, Some("failed")),
                chip("running", "3", true, None),
                chip("archived", "10,000+", false, Some("archived")),
                chip("expired", "2", false, Some("expired")),
            ]
        );
        let failed = shown(Some("failed"), &[SessionStatus::Terminated, SessionStatus::Expired]);
        assert!(
            failed.contains(&chip("Failed", "2", true, None))
                && failed.contains(&chip("expired", "2", false, Some("expired")))
        );
        assert!(shown(Some("ready"), &[SessionStatus::Ready]).contains(&chip("ready", "0", true, None)));
    }

    #[test]
    fn a_total_is_told_up_to_its_bound() {
        assert_eq!(
            [(0, false), (1, false), (1_234, false), (10_000, true)].map(|found| total(&found)),
            ["0 sessions", "1 session", "1,234 sessions", "more than 10,000 sessions"]
        );
    }

    #[test]
    fn a_head_sorts_and_leads_back() {
        let of = |now, title| heads(now).into_iter().find(|head| head.title == title).unwrap();
        let status = of(SessionSort::Changed, "Status");
        assert_eq!((status.sorted, status.sort, status.arrow()), (Some("descending"), Some(SessionSort::Newest), "↓"));
        let session = of(SessionSort::Newest, "Session");
        assert_eq!((session.sorted, session.sort, session.arrow()), (None, Some(SessionSort::Definition), ""));
        assert_eq!(of(SessionSort::Newest, "Owner").sort, None);
    }
}
