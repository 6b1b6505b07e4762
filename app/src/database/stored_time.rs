//! Stored times, among which Postgres has some that are none.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};

/// A `timestamptz` as it is read. `infinity` and times beyond chrono's range are an error of their column, where sqlx's
/// own decoding of a `DateTime` panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredTime(pub DateTime<Utc>);

/// What Postgres counts microseconds from.
const YEAR_2000: DateTime<Utc> = match DateTime::from_timestamp(946_684_800, 0) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};

impl Type<Postgres> for StoredTime {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for StoredTime {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                let time = TimeDelta::microseconds(<i64 as Decode<Postgres>>::decode(value)?);
                let time = YEAR_2000.checked_add_signed(time);
                Ok(Self(time.ok_or("the stored time is infinite, or beyond the years that can be read")?))
            }
            PgValueFormat::Text => <DateTime<Utc> as Decode<Postgres>>::decode(value).map(Self),
        }
    }
}

impl From<StoredTime> for DateTime<Utc> {
    fn from(time: StoredTime) -> Self {
        time.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_time_that_is_none_is_an_error_and_no_panic() {
        let database = servers::testing::database(&crate::log::MIGRATOR).await;
        let read = async |time: &str| {
            let time = sqlx::query_scalar::<_, StoredTime>("SELECT $1::text::timestamptz").bind(time.to_owned());
            time.fetch_one(&database.pool()).await
        };
        for none in ["infinity", "-infinity", "294276-12-31 23:59:59Z"] {
            let error = read(none).await.unwrap_err();
            assert!(matches!(error, sqlx::Error::ColumnDecode { .. }), "{none}: {error:?}");
        }
        let ordinary = read("2026-11-27 07:00:00.123456Z").await.unwrap();
        assert_eq!(ordinary.0.to_rfc3339(), "2026-11-27T07:00:00.123456+00:00");
        assert_eq!(read("1000-01-01 00:00:00Z").await.unwrap().0.to_rfc3339(), "1000-01-01T00:00:00+00:00");
    }
}
