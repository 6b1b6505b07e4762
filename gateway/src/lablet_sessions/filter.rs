//! Which sessions, as the list of the API, the counts and the page take it.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::lablet_session::SessionStatus;
use domain::time::BoundedTime;
use domain::{DefinitionId, Invalid, WorkerId};
use projections::read_models::sessions::{DriftFilter, SessionFilter, SessionSort, SessionTime, SessionUnknown};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::paging::check_text;
use crate::recent::Recent;

/// Which sessions, in which order, and which page of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionQuery {
    /// In one of these states, separated by commas.
    #[schemars(extend("pattern" = one_or_more(&SessionStatus::ALL.map(SessionStatus::as_str))))]
    pub(crate) status: Option<String>,
    /// Of this definition.
    pub(crate) definition_id: Option<DefinitionId>,
    /// Of the definitions of this name, in whatever case, or of this id.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) definition: Option<String>,
    /// On this worker.
    pub(crate) worker_id: Option<WorkerId>,
    /// On the workers of this name, in whatever case, or of this id.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) worker: Option<String>,
    /// For this owner.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) owner_id: Option<String>,
    /// `true`: drifted. `false`: known not to have drifted. `open`: drifted, and nobody acknowledged it. `acknowledged`: drifted,
    /// and somebody did. `unknown`: no observation could read the ports yet.
    pub(crate) drift: Option<DriftFilter>,
    /// Of which all of this is unknown, separated by commas: `worker` (none was assigned), `owner`, `timeslot`, `ports` (no
    /// observation could read them), `observation` (it was never observed).
    #[schemars(extend("pattern" = one_or_more(&SessionUnknown::ALL.map(SessionUnknown::as_str))))]
    pub(crate) unknown: Option<String>,
    /// Whose id, definition, owner, worker or lab contains this, in whatever case.
    #[schemars(length(max = crate::paging::LONGEST_TEXT))]
    pub(crate) text: Option<String>,
    /// Whose timeslot ended before this time.
    pub(crate) timeslot_ended_before: Option<BoundedTime>,
    /// Of which time `last`, `from` and `before` speak: when the session was `created`, which is meant unless stated, when its
    /// last event happened (`changed`), or of its `timeslot`, which overlaps the range.
    pub(crate) time: Option<SessionTime>,
    /// So far back: `hour`, `day` (24 hours), `week` (7 days) or `month` (30 days). Not beside `from`.
    pub(crate) last: Option<Recent>,
    /// From this time on.
    pub(crate) from: Option<BoundedTime>,
    /// Before this time.
    pub(crate) before: Option<BoundedTime>,
    /// In this order; newest first unless stated. A cursor belongs to one order.
    pub(crate) sort: Option<SessionSort>,
    /// Most rows of the page, 1 to 200; 50 unless stated.
    #[schemars(range(min = 1, max = crate::paging::GREATEST_LIMIT))]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[schemars(length(min = 1), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    pub(crate) cursor: Option<String>,
}

/// Some of these separated by commas, for the description.
pub(crate) fn one_or_more(known: &[&str]) -> String {
    let one = format!("({})", known.join("|"));
    format!("^{one}(, *{one})*$")
}

/// Some of a kind, separated by commas.
fn parts<T: FromStr<Err = Invalid>>(field: &str, text: Option<&str>) -> Result<Vec<T>, Invalid> {
    let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|invalid: Invalid| invalid.within(field))).collect()
}

impl SessionQuery {
    /// What it means at a time.
    ///
    /// # Errors
    /// [`Invalid`] naming the parameter.
    pub(crate) fn filter(&self, now: DateTime<Utc>) -> Result<SessionFilter, Invalid> {
        let time = self.time.unwrap_or_default();
        let before = self.before.map(BoundedTime::at);
        // A timeslot may lie ahead, which is not so far back.
        let ends_now = self.last.is_some() && time == SessionTime::Timeslot;
        Ok(SessionFilter {
            status: parts("status", self.status.as_deref())?,
            definition_id: self.definition_id.clone(),
            definition: check_text("definition", self.definition.clone())?,
            worker_id: self.worker_id.clone(),
            worker: check_text("worker", self.worker.clone())?,
            owner_id: check_text("owner_id", self.owner_id.clone())?,
            drift: self.drift,
            unknown: parts("unknown", self.unknown.as_deref())?,
            text: check_text("text", self.text.clone())?,
            timeslot_ended_before: self.timeslot_ended_before.map(BoundedTime::at),
            time,
            from: Recent::begin(self.last, self.from, now)?,
            before: before.or(ends_now.then_some(now)),
            sort: self.sort.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    #[test]
    fn states_are_separated_by_commas() {
        let filter =
            |status: &str| SessionQuery { status: Some(status.to_owned()), ..SessionQuery::default() }.filter(NOW);
        assert_eq!(filter("running, collecting").unwrap().status, [SessionStatus::Running, SessionStatus::Collecting]);
        assert_eq!(filter("").unwrap().status, []);
        let invalid = filter("running,flying").unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.problem.as_str()), ("status", "is \"flying\""));
    }

    #[test]
    fn what_is_unknown_is_named() {
        let filter =
            |unknown: &str| SessionQuery { unknown: Some(unknown.to_owned()), ..SessionQuery::default() }.filter(NOW);
        assert_eq!(filter("worker,owner").unwrap().unknown, [SessionUnknown::Worker, SessionUnknown::Owner]);
        assert_eq!(filter("everything").unwrap_err().field, "unknown");
    }

    #[test]
    fn timeslots_of_the_last_day_are_none_of_tomorrow() {
        let of = |time| SessionQuery { time, last: Some(Recent::Day), ..SessionQuery::default() }.filter(NOW).unwrap();
        let created = of(None);
        assert_eq!((created.from, created.before), (Some(NOW - TimeDelta::days(1)), None));
        assert_eq!(of(Some(SessionTime::Timeslot)).before, Some(NOW));
    }
}
