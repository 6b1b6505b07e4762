//! Who guesses tokens is told to wait. No token can be guessed (each has 256 random bits): this tells a misconfigured
//! program, and its operator, that something is wrong. A right token is never refused for others' wrong ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::networks::subscriber;

/// Wrong tokens from one place within [`WITHIN`].
const MOST: u32 = 10;
/// How long a wrong token counts.
const WITHIN: Duration = Duration::from_secs(60);
/// Places that are remembered.
const MOST_PLACES: usize = 1_024;

/// Wrong tokens of the last minute, by where they came from.
#[derive(Debug, Default)]
pub(super) struct WrongTokens(Mutex<HashMap<IpAddr, Wrong>>);

#[derive(Debug)]
struct Wrong {
    count: u32,
    since: Instant,
}

impl WrongTokens {
    /// How long somebody at this address, who has sent another wrong token, is told to wait.
    pub(super) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = wrong.get(&subscriber(from)).filter(|wrong| wrong.count >= MOST)?;
        WITHIN.checked_sub(now.duration_since(wrong.since)).filter(|wait| !wait.is_zero())
    }

    /// A wrong token came from this address.
    pub(super) fn count(&self, from: IpAddr, now: Instant) {
        let place = subscriber(from);
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= MOST_PLACES && !wrong.contains_key(&place) {
            wrong.retain(|_, wrong| now.duration_since(wrong.since) < WITHIN);
            // Still full of guessers: the one that has waited longest makes room.
            let oldest = wrong.iter().min_by_key(|(_, wrong)| wrong.since).map(|(place, _)| *place);
            if let Some(oldest) = oldest.filter(|_| wrong.len() >= MOST_PLACES) {
                wrong.remove(&oldest);
            }
        }
        let entry = wrong.entry(place).or_insert(Wrong { count: 0, since: now });
        if now.duration_since(entry.since) >= WITHIN {
            *entry = Wrong { count: 0, since: now };
        }
        entry.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_tokens_a_minute_are_looked_at_from_one_place() {
        let (wrong, now) = (WrongTokens::default(), Instant::now());
        let (here, there): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for _ in 0..MOST {
            assert_eq!(wrong.wait(here, now), None);
            wrong.count(here, now);
        }
        assert!(wrong.wait("2001:db8::ffff".parse().unwrap(), now).is_some());
        assert_eq!(wrong.wait(there, now), None);
        assert_eq!(wrong.wait(here, now + WITHIN), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (wrong, now) = (WrongTokens::default(), Instant::now());
        for number in 0..5_000_u32 {
            wrong.count(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(wrong.0.lock().unwrap().len() <= MOST_PLACES);
    }
}
