//! Events given to a fold, without a log and without Postgres.

use app::log::{Metadata, RecordedEvent};
use chrono::DateTime;
use domain::RawJson;
use serde_json::Value;
use uuid::Uuid;

use crate::projector::{Applied, Fold, Recorded};
use crate::refused::Refused;
use crate::table::AnyTable;

/// The committed sample of an event.
pub(crate) fn sample(event_type: &str) -> Value {
    let path = format!("{}/../domain/samples/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// An event as the log has it; its id tells its sequence, its position too.
pub(crate) fn recorded(aggregate_id: &str, sequence: i64, payload: &Value) -> Recorded {
    let versioned = payload["type"].as_str().unwrap();
    let (event_type, event_version) = versioned.rsplit_once(".v").unwrap();
    Recorded::from_log(RecordedEvent {
        position: format!("0000000001-{sequence:020}-{sequence:019}").parse().unwrap(),
        event_id: event_id(sequence),
        aggregate_type: event_type.split('.').next().unwrap().to_owned(),
        aggregate_id: aggregate_id.to_owned(),
        sequence,
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        payload: RawJson::from(payload),
        metadata: Metadata { actor: Some("service:booking".to_owned()), ..Metadata::default() },
        recorded_at: DateTime::UNIX_EPOCH,
    })
}

pub(crate) fn event_id(sequence: i64) -> Uuid {
    Uuid::from_u128(sequence.unsigned_abs().into())
}

/// Gives an event to a fold of which nothing is stored.
pub(crate) fn given(fold: &mut impl Fold, recorded: &Recorded) -> Result<Applied, Refused> {
    let event = recorded.event.as_ref().map_err(Refused::clone)?;
    fold.want(event, recorded);
    fold.tables().into_iter().for_each(AnyTable::expect_nothing_stored);
    fold.want_by_rows(event, recorded);
    fold.tables().into_iter().for_each(AnyTable::expect_nothing_stored);
    fold.fold(event, recorded)
}
