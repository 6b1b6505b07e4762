//! Claiming a session: of several controllers one samples it.

use domain::SessionId;
use uuid::Uuid;

use super::TaskOutcome;
use super::store::SummaryStore;
use crate::profile::Summary;

/// What came of claiming a session.
#[derive(Debug)]
pub(super) enum Claim {
    Won {
        summary: Box<Summary>,
        revision: u64,
    },
    /// Another controller samples it.
    Lost {
        holder: Option<Uuid>,
    },
}

/// Takes a session over, where nobody samples it. `silent`: the controller that was not heard of for too long.
pub(super) async fn claim(
    store: SummaryStore,
    session: SessionId,
    controller: Uuid,
    silent: Option<Uuid>,
    new: Summary,
) -> TaskOutcome {
    let claim = async {
        let (revision, summary) = match store.read(&session).await? {
            None => (None, new),
            Some(stored) => match stored.controller {
                Some(holder) if holder != controller && Some(holder) != silent => {
                    return Ok(Claim::Lost { holder: Some(holder) });
                }
                _ => (Some(stored.revision), stored.summary),
            },
        };
        let revision = store.write(&session, Some(controller), revision, &summary).await?;
        Ok(Claim::Won { summary: Box::new(summary), revision })
    };
    let claim = claim.await;
    TaskOutcome::Claimed { session, claim }
}
