//! The sessions that are sampled, and when something is to be done about each: a turn of the loop costs what is due, not
//! what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::SessionId;
use tokio::time::Instant;

use super::session::{OwnSampling, Role, SampledSession};

/// Sessions by id, and by the time at which they are due.
#[derive(Debug)]
pub(super) struct Sessions {
    by_id: BTreeMap<SessionId, SampledSession>,
    /// Each session that is due at some time, once.
    due: BTreeSet<(Instant, SessionId)>,
    due_at: BTreeMap<SessionId, Instant>,
    /// Sessions that were changed since they were scheduled.
    changed: Vec<SessionId>,
    interval: Duration,
}

impl Sessions {
    pub(super) fn new(interval: Duration) -> Self {
        let (by_id, due, due_at) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { by_id, due, due_at, changed: Vec::new(), interval }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&SampledSession> {
        self.by_id.get(id)
    }

    /// A session, to be changed.
    pub(super) fn get_mut(&mut self, id: &SessionId) -> Option<&mut SampledSession> {
        let session = self.by_id.get_mut(id)?;
        self.changed.push(id.clone());
        Some(session)
    }

    /// What this controller gathered of a session that it samples, to be changed.
    pub(super) fn sampling_mut(&mut self, id: &SessionId) -> Option<&mut OwnSampling> {
        match &mut self.get_mut(id)?.role {
            Role::Sampling(sampled) => Some(sampled),
            Role::Standby(_) => None,
        }
    }

    pub(super) fn insert(&mut self, id: SessionId, session: SampledSession) {
        self.changed.push(id.clone());
        self.by_id.insert(id, session);
    }

    pub(super) fn remove(&mut self, id: &SessionId) {
        self.by_id.remove(id);
        self.changed.push(id.clone());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &SampledSession)> {
        self.by_id.iter()
    }

    /// Those that this controller samples.
    pub(super) fn sampling(&self) -> impl Iterator<Item = &OwnSampling> {
        self.by_id.values().filter_map(|session| match &session.role {
            Role::Sampling(sampled) => Some(&**sampled),
            Role::Standby(_) => None,
        })
    }

    /// Keeps those of which `keep` says so, which may change each. The ids of the others.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&SessionId, &mut SampledSession) -> bool) -> Vec<SessionId> {
        let mut removed = Vec::new();
        self.by_id.retain(|id, session| {
            let stays = keep(id, session);
            if !stays {
                removed.push(id.clone());
            }
            stays
        });
        self.changed.extend(self.by_id.keys().cloned());
        self.changed.extend_from_slice(&removed);
        removed
    }

    pub(super) fn take(&mut self) -> BTreeMap<SessionId, SampledSession> {
        (self.due, self.due_at, self.changed) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        std::mem::take(&mut self.by_id)
    }

    /// When something is to be done next. `None`: about no session.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        self.schedule();
        self.due.first().map(|(at, _)| *at)
    }

    /// The sessions about which something is to be done at `now`, the longest overdue first.
    pub(super) fn due(&mut self, now: Instant) -> Vec<SessionId> {
        self.schedule();
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| id.clone()).collect()
    }

    /// Schedules what was changed.
    fn schedule(&mut self) {
        for id in std::mem::take(&mut self.changed) {
            let due_at = self.by_id.get(&id).and_then(|session| session.due_at(self.interval));
            if due_at == self.due_at.get(&id).copied() {
                continue;
            }
            if let Some(before) = self.due_at.remove(&id) {
                self.due.remove(&(before, id.clone()));
            }
            if let Some(due_at) = due_at {
                self.due.insert((due_at, id.clone()));
                self.due_at.insert(id, due_at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::session::Standby;
    use super::*;

    fn id(name: &str) -> SessionId {
        SessionId::parse(name).unwrap()
    }

    fn standby(take_over_at: Instant) -> SampledSession {
        SampledSession {
            worker: "w1".parse().unwrap(),
            lab: "863799a0-3d09-4af4-be26-cad997b6ab27".parse().unwrap(),
            running_since: DateTime::UNIX_EPOCH,
            role: Role::Standby(Standby::new(take_over_at)),
            in_store: false,
            ended: None,
        }
    }

    #[test]
    fn what_is_due_is_found_by_its_time_whatever_was_changed_meanwhile() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut sessions = Sessions::new(Duration::from_secs(30));
        for (name, after) in [("a", 3), ("b", 1), ("c", 2)] {
            sessions.insert(id(name), standby(now + second * after));
        }
        assert_eq!((sessions.next_due(), sessions.due(now)), (Some(now + second), vec![]));
        assert_eq!(sessions.due(now + second * 2), [id("b"), id("c")]);
        // While a call to the store is under way it is not due.
        sessions.get_mut(&id("b")).unwrap().in_store = true;
        *sessions.get_mut(&id("a")).unwrap() = standby(now);
        assert_eq!(sessions.due(now + second * 2), [id("a"), id("c")]);
        sessions.remove(&id("a"));
        assert_eq!(sessions.retain(|name, _| *name != id("c")), [id("c")]);
        assert_eq!((sessions.next_due(), sessions.len()), (None, 1));
        sessions.get_mut(&id("b")).unwrap().in_store = false;
        assert_eq!(sessions.next_due(), Some(now + second));
    }
}
