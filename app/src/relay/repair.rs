//! Makes the stream of events what the log holds, where a comparison found that it is not.
//!
//! Both repairs may be interrupted and made again: what is done is not found again.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::comparison::{Comparison, ComparisonError, Difference, compare_and_tell};
use super::progress;
use crate::log::{Log, LogError, Position};
use crate::notice::{NoticeError, PublicUrl, announce};
use bus::connect::REQUEST_TIMEOUT;
use bus::{Bus, streams};

/// Differences in hand between the comparison and the repair.
const IN_HAND: usize = 256;
/// Most lost events that are listed.
const MOST_LISTED: usize = 100;

/// What is to be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Publish the events of the log that the stream lacks.
    PublishMissing,
    /// Remove the messages of events that the log does not hold: it was restored from a backup, and they were lost.
    RemoveUnknown,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What the comparison found before.
    pub found: Comparison,
    /// Events that were published.
    pub published: u64,
    /// Events that the server does not take again yet: it remembers that it had them, for [`streams::DEDUPE_WINDOW`] after
    /// they were first published.
    pub remembered: u64,
    /// Messages that were removed.
    pub removed: u64,
    /// The first of the events that they told of.
    pub lost: Vec<LostEvent>,
}

/// An event that consumers may have seen and that the log does not hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LostEvent {
    /// Its id; empty where the message has none.
    pub event_id: String,
    /// The subject of its message.
    pub subject: String,
    /// Its position, as the message says it; `None`: it says none.
    pub position: Option<Position>,
}

/// A repair did not end.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The relay's progress cannot be read.
    #[error("how far the relay is cannot be read")]
    Progress(#[source] sqlx::Error),
    /// Log and bus cannot be compared.
    #[error("log and bus cannot be compared")]
    Comparison(#[from] ComparisonError),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// No notice can be made of an event.
    #[error("no notice can be made of event {event_id}")]
    Notice {
        /// Which.
        event_id: Uuid,
        /// Why.
        #[source]
        source: NoticeError,
    },
    /// The stream did not take an event, or did not remove a message.
    #[error("{what} was refused, or not answered")]
    Stream {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn refused<E: std::error::Error + Send + Sync + 'static>(what: String) -> impl FnOnce(E) -> RepairError {
    move |source| RepairError::Stream { what, source: Box::new(source) }
}

/// Compares the stream with the log up to where the relay has come, and mends what is asked for. `done` counts what was
/// mended so far.
///
/// # Errors
/// [`RepairError`]; what was mended stays so.
pub async fn repair(
    log: &Log,
    bus: &Bus,
    public_url: &PublicUrl,
    repair: Repair,
    done: &watch::Sender<u64>,
) -> Result<RepairReport, RepairError> {
    let until = progress(log.pool()).await.map_err(RepairError::Progress)?.position;
    let (found, mut differences) = mpsc::channel(IN_HAND);
    let mend = async move {
        let mut report = RepairReport::default();
        while let Some(difference) = differences.recv().await {
            match (repair, difference) {
                (Repair::PublishMissing, Difference::Missing { event_id, previous }) => {
                    publish(log, bus, public_url, event_id, previous, &mut report).await?;
                }
                (Repair::RemoveUnknown, Difference::Unknown { message_id, sequence }) => {
                    remove(bus, message_id, sequence, &mut report).await?;
                }
                (Repair::PublishMissing, Difference::Unknown { .. })
                | (Repair::RemoveUnknown, Difference::Missing { .. }) => continue,
            }
            done.send_modify(|count| *count += 1);
        }
        Ok::<_, RepairError>(report)
    };
    let compare = async { Ok(compare_and_tell(log, bus, until, Some(found)).await?) };
    let (found, report) = tokio::try_join!(compare, mend)?;
    Ok(RepairReport { found, ..report })
}

/// Publishes one event under the id that it always has. It stands behind later ones then: a consumer that read the hole from
/// the log drops it.
async fn publish(
    log: &Log,
    bus: &Bus,
    public_url: &PublicUrl,
    event_id: Uuid,
    previous: Position,
    report: &mut RepairReport,
) -> Result<(), RepairError> {
    let Some(event) = log.event(event_id).await? else { return Ok(()) };
    let notice = announce(&event, previous, public_url).map_err(|source| RepairError::Notice { event_id, source })?;
    let what = || format!("the publish of event {event_id}");
    let message =
        PublishMessage::build().headers(notice.headers).expected_stream(streams::EVENTS).payload(notice.payload);
    let sent = bus.jetstream().send_publish(notice.subject, message).await.map_err(refused(what()))?;
    let acknowledgement = timeout(REQUEST_TIMEOUT, sent.into_future()).await.map_err(refused(what()))?;
    if acknowledgement.map_err(refused(what()))?.duplicate {
        report.remembered += 1;
    } else {
        report.published += 1;
    }
    Ok(())
}

/// Removes one message, and remembers of which event it told.
async fn remove(bus: &Bus, message_id: String, sequence: u64, report: &mut RepairReport) -> Result<(), RepairError> {
    #[derive(serde::Deserialize)]
    struct Notice {
        position: Option<Position>,
    }
    let what = || format!("the removal of message {sequence}");
    let stream = bus.jetstream().get_stream_no_info(streams::EVENTS).await.map_err(refused(what()))?;
    if report.lost.len() < MOST_LISTED {
        let message = timeout(REQUEST_TIMEOUT, stream.get_raw_message(sequence)).await.map_err(refused(what()))?;
        let message = message.map_err(refused(what()))?;
        let position = serde_json::from_slice::<Notice>(&message.payload).ok().and_then(|notice| notice.position);
        report.lost.push(LostEvent { event_id: message_id, subject: message.subject.to_string(), position });
    }
    timeout(REQUEST_TIMEOUT, stream.delete_message(sequence))
        .await
        .map_err(refused(what()))?
        .map_err(refused(what()))?;
    report.removed += 1;
    Ok(())
}

/// Empties the stream of full records, so that no read model takes from it what the log does not hold. One that is not there
/// is empty.
///
/// # Errors
/// The server refuses or does not answer.
pub async fn empty_records(bus: &Bus) -> Result<(), RepairError> {
    let what = || format!("the purge of {}", streams::RECORDS);
    let purge = async {
        let Ok(stream) = bus.jetstream().get_stream(streams::RECORDS).await else { return Ok(()) };
        stream.purge().await.map(|_| ())
    };
    let within: Duration = REQUEST_TIMEOUT;
    timeout(within, purge).await.map_err(refused(what()))?.map_err(refused(what()))
}
