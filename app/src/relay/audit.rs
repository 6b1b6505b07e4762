//! Whether the stream still holds what it acknowledged.

use std::error::Error;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind};
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use bus::{Bus, streams};

/// The stream as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamState {
    /// When it was created, in nanoseconds since 1970.
    pub(super) created: String,
    /// Its first sequence.
    pub(super) first: i64,
    /// Its last sequence.
    pub(super) last: i64,
    /// The event at the last acknowledged sequence, where it is still there.
    pub(super) at_acked: Option<Uuid>,
    /// The event at the last sequence.
    pub(super) at_last: Option<Uuid>,
}

/// What comparing the stream with the checkpoint tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing was ever published to it.
    Unused,
    /// It holds what was acknowledged, or removed it by its own limits.
    Intact,
    /// It is another stream, or holds another message at the last event's sequence.
    Lost,
    /// It ends before what was acknowledged.
    RolledBack {
        /// The last event that it still has.
        last_event: Option<Uuid>,
    },
}

/// Compares. Pure, so that every case can be tested.
pub(super) fn judge(checkpoint: &Checkpoint, state: &StreamState) -> Finding {
    let Some(created) = &checkpoint.stream_created else { return Finding::Unused };
    if *created != state.created {
        return Finding::Lost;
    }
    let Some(acked) = checkpoint.acked_sequence else { return Finding::Intact };
    if state.last < acked {
        return Finding::RolledBack { last_event: state.at_last };
    }
    if state.first > acked {
        // Removed by the stream's limits, or purged by an operator, who meant it.
        return Finding::Intact;
    }
    if state.at_acked == checkpoint.event_id { Finding::Intact } else { Finding::Lost }
}

/// Looks at the stream, as far as the checkpoint makes it necessary.
pub(super) async fn look(
    bus: &Bus,
    info: &Info,
    checkpoint: &Checkpoint,
) -> Result<StreamState, Box<dyn Error + Send + Sync>> {
    let sequence = |number: u64| i64::try_from(number);
    let mut state = StreamState {
        created: info.created.unix_timestamp_nanos().to_string(),
        first: sequence(info.state.first_sequence)?,
        last: sequence(info.state.last_sequence)?,
        at_acked: None,
        at_last: None,
    };
    if checkpoint.stream_created.as_ref() != Some(&state.created) {
        return Ok(state);
    }
    let Some(acked) = checkpoint.acked_sequence else { return Ok(state) };
    if state.last < acked {
        if info.state.messages > 0 {
            state.at_last = event_at(bus, info.state.last_sequence).await?;
        }
    } else if state.first <= acked {
        state.at_acked = event_at(bus, u64::try_from(acked)?).await?;
    }
    Ok(state)
}

/// The id of the event at a sequence; `None` where there is no message, or one that is no event of ours.
async fn event_at(bus: &Bus, sequence: u64) -> Result<Option<Uuid>, Box<dyn Error + Send + Sync>> {
    let stream = bus.jetstream().get_stream_no_info(streams::EVENTS).await?;
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(message.headers.get(NATS_MESSAGE_ID).and_then(|id| id.as_str().parse().ok())),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            LastRawMessageErrorKind::InvalidSubject
            | LastRawMessageErrorKind::JetStream(_)
            | LastRawMessageErrorKind::Other => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Position;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            position: Position::START,
            event_id: Some(Uuid::from_u128(5)),
            stream_created: Some("1000".to_owned()),
            acked_sequence: Some(50),
        }
    }

    fn state() -> StreamState {
        StreamState {
            created: "1000".to_owned(),
            first: 1,
            last: 50,
            at_acked: Some(Uuid::from_u128(5)),
            at_last: None,
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_intact() {
        assert_eq!(judge(&checkpoint(), &state()), Finding::Intact);
        assert_eq!(judge(&checkpoint(), &StreamState { last: 60, ..state() }), Finding::Intact);
        let aged = StreamState { first: 51, at_acked: None, ..state() };
        assert_eq!(judge(&checkpoint(), &aged), Finding::Intact, "its limits took it");
    }

    #[test]
    fn every_loss_is_told_apart() {
        let never = Checkpoint { stream_created: None, acked_sequence: None, event_id: None, ..checkpoint() };
        assert_eq!(judge(&never, &state()), Finding::Unused);
        assert_eq!(judge(&checkpoint(), &StreamState { created: "2000".to_owned(), ..state() }), Finding::Lost);
        let at_last = Some(Uuid::from_u128(3));
        let shorter = StreamState { last: 49, at_acked: None, at_last, ..state() };
        assert_eq!(judge(&checkpoint(), &shorter), Finding::RolledBack { last_event: at_last });
        let other = StreamState { at_acked: Some(Uuid::from_u128(6)), ..state() };
        assert_eq!(judge(&checkpoint(), &other), Finding::Lost, "it was rolled back and written to since");
    }
}
