//! How far the relay is.

use uuid::Uuid;

use crate::log::Position;

/// How far the log was published, and what is remembered of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Every event up to here was acknowledged.
    pub(super) position: Position,
    /// The event at `acked_sequence`.
    pub(super) event_id: Option<Uuid>,
    /// When the stream was created, in nanoseconds since 1970; `None` before the first look at it.
    pub(super) stream_created: Option<String>,
    /// The greatest sequence that the stream acknowledged.
    pub(super) acked_sequence: Option<i64>,
}
