//! Room that is bounded, and of which nobody can take all.
//!
//! Requests, waits and streams are bounded, in total and for each principal. All people together leave some of the room to
//! services, which have to get through however many people look at pages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::authentication::Principal;
use crate::problem::{Problem, ProblemKind};

/// How long somebody is told to wait before the next try.
const COME_BACK: Duration = Duration::from_secs(1);

/// Shares that are kept before those of principals who hold nothing are dropped.
const MOST_REMEMBERED: usize = 256;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// For all together.
    pub all: usize,
    /// For one person.
    pub person: usize,
    /// For one service.
    pub service: usize,
    /// What people leave to services.
    pub reserved: usize,
}

/// Bounded room for one kind of thing.
#[derive(Debug)]
pub(crate) struct FairShare {
    /// What there is room for, in the words of a sentence: `requests`.
    what: &'static str,
    room: Room,
    everybody: Arc<Semaphore>,
    people: Arc<Semaphore>,
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place in it; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct FairSharePermit {
    /// Who holds it.
    pub(crate) holder: Principal,
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

impl FairShare {
    /// So much room for `what`.
    pub(crate) fn new(what: &'static str, room: Room) -> Self {
        Self {
            what,
            room,
            everybody: Arc::new(Semaphore::new(room.all)),
            people: Arc::new(Semaphore::new(room.all.saturating_sub(room.reserved).max(1))),
            each: Mutex::default(),
        }
    }

    /// A place for this principal, waited for not longer than this.
    ///
    /// # Errors
    /// 429 when the principal's own share is used up, 503 when everybody's is; either names the bound.
    pub(crate) async fn take(&self, holder: &Principal, timeout: Duration) -> Result<FairSharePermit, Problem> {
        let is_person = matches!(holder, Principal::Admin { .. });
        let most = if is_person { self.room.person } else { self.room.service };
        let until = tokio::time::Instant::now() + timeout;
        let own = permit(self.share(holder, most), until).await.ok_or_else(|| {
            let detail = format!("{holder} may have {most} {} at once, and has them.", self.what);
            Problem::new(ProblemKind::TooManyAtOnce, detail).retry_after(COME_BACK)
        })?;
        let full = |most: usize, who: &str| {
            Problem::unavailable(
                format!("There is room for {most} {} of {who} at once, and they are taken.", self.what),
                COME_BACK,
            )
        };
        let of_people = match is_person {
            true => {
                let most = self.room.all.saturating_sub(self.room.reserved).max(1);
                Some(permit(Arc::clone(&self.people), until).await.ok_or_else(|| full(most, "people"))?)
            }
            false => None,
        };
        let of_all =
            permit(Arc::clone(&self.everybody), until).await.ok_or_else(|| full(self.room.all, "everybody"))?;
        Ok(FairSharePermit { holder: holder.clone(), _permits: [Some(own), of_people, Some(of_all)] })
    }

    fn share(&self, holder: &Principal, most: usize) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if each.len() >= MOST_REMEMBERED {
            // A permit, and a wait for one, holds a clone of its principal's semaphore.
            each.retain(|_, share| Arc::strong_count(share) > 1);
        }
        Arc::clone(each.entry(holder.to_string()).or_insert_with(|| Arc::new(Semaphore::new(most))))
    }
}

/// A permit, where there is one in time.
async fn permit(of: Arc<Semaphore>, until: tokio::time::Instant) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(&of).try_acquire_owned() {
        return Some(permit);
    }
    tokio::time::timeout_at(until, of.acquire_owned()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::Role;

    const ROOM: Room = Room { all: 8, person: 2, service: 6, reserved: 3 };

    fn person(name: &str) -> Principal {
        Principal::Admin { name: name.to_owned(), role: Role::Viewer }
    }

    fn service() -> Principal {
        Principal::Service { name: "grading".to_owned() }
    }

    async fn take(share: &FairShare, holder: &Principal) -> Result<FairSharePermit, Problem> {
        share.take(holder, Duration::ZERO).await
    }

    #[tokio::test]
    async fn nobody_takes_more_than_a_share_and_is_told_so() {
        let share = FairShare::new("streams", ROOM);
        let held = [take(&share, &person("vic")).await.unwrap(), take(&share, &person("vic")).await.unwrap()];
        let refused = take(&share, &person("vic")).await.unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::TooManyAtOnce);
        assert_eq!(refused.document().detail, "admin:vic may have 2 streams at once, and has them.");
        take(&share, &person("ada")).await.unwrap();
        drop(held);
        take(&share, &person("vic")).await.unwrap();
    }

    #[tokio::test]
    async fn people_leave_room_to_services() {
        let share = FairShare::new("requests", ROOM);
        let mut held = Vec::new();
        for name in ["a", "a", "b", "b", "c"] {
            held.push(take(&share, &person(name)).await.unwrap());
        }
        let refused = take(&share, &person("d")).await.unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::Unavailable);
        assert_eq!(refused.document().detail, "There is room for 5 requests of people at once, and they are taken.");
        for _ in 0..3 {
            held.push(take(&share, &service()).await.unwrap());
        }
        assert_eq!(take(&share, &service()).await.unwrap_err().kind(), ProblemKind::Unavailable);
    }

    #[tokio::test]
    async fn who_holds_nothing_is_forgotten() {
        let share = FairShare::new("requests", Room { all: 4_096, person: 4, service: 4, reserved: 0 });
        let kept = take(&share, &person("kept")).await.unwrap();
        for number in 0..2 * MOST_REMEMBERED {
            take(&share, &person(&number.to_string())).await.unwrap();
        }
        let each = share.each.lock().unwrap();
        assert!(each.len() <= MOST_REMEMBERED && each.contains_key(&kept.holder.to_string()));
    }
}
