//! Values in Postgres' binary form, which is the same in an array of a statement and in a `COPY`.

use app::log::Position;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// A type of Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellType {
    /// As a cast names it.
    pub(crate) name: &'static str,
    /// Its object id, and that of its array.
    pub(crate) oid: u32,
    pub(crate) array_oid: u32,
}

/// A stored value that this build does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no {0}")]
pub(crate) struct UnreadableCell(pub(crate) &'static str);

/// A value of a column.
pub(crate) trait Cell: Sized {
    const TYPE: CellType;

    /// Appends the binary form; `false`: it is null, and nothing was appended.
    fn write(&self, out: &mut Vec<u8>) -> bool;

    /// Reads the binary form; `None` is null.
    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell>;

    /// What it takes in memory.
    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// Appends a value with its length before it.
pub(crate) fn write_prefixed(cell: &impl Cell, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let is_some = cell.write(out);
    let length = if is_some { i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX) } else { -1 };
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    is_some
}

/// Stored times may lie where chrono has none; such a time is the nearest that can be written.
const YEAR_2000: i64 = 946_684_800_000_000;
const EARLIEST: i64 = -62_135_596_800_000_000;
const LATEST: i64 = 253_402_300_799_999_999;

macro_rules! number {
    ($type:ty, $name:literal, $oid:literal, $array:literal) => {
        impl Cell for $type {
            const TYPE: CellType = CellType { name: $name, oid: $oid, array_oid: $array };

            fn write(&self, out: &mut Vec<u8>) -> bool {
                out.extend_from_slice(&self.to_be_bytes());
                true
            }

            fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(UnreadableCell($name))?;
                Ok(Self::from_be_bytes(bytes))
            }
        }
    };
}

number!(i32, "integer", 23, 1007);
number!(i64, "bigint", 20, 1016);
number!(f64, "double precision", 701, 1022);

impl Cell for bool {
    const TYPE: CellType = CellType { name: "boolean", oid: 16, array_oid: 1000 };

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.push(u8::from(*self));
        true
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        match bytes {
            Some([byte]) => Ok(*byte != 0),
            _ => Err(UnreadableCell("boolean")),
        }
    }
}

pub(crate) const TEXT: CellType = CellType { name: "text", oid: 25, array_oid: 1009 };

impl Cell for String {
    const TYPE: CellType = TEXT;

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.as_bytes());
        true
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(UnreadableCell("text"))?;
        Ok(text.to_owned())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.len()
    }
}

impl Cell for &'static str {
    const TYPE: CellType = TEXT;

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.as_bytes());
        true
    }

    fn read(_: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        Err(UnreadableCell("text of this build"))
    }
}

impl Cell for Position {
    const TYPE: CellType = TEXT;

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.to_string().as_bytes());
        true
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        String::read(bytes)?.parse().map_err(|_| UnreadableCell("position"))
    }
}

impl Cell for Uuid {
    const TYPE: CellType = CellType { name: "uuid", oid: 2950, array_oid: 2951 };

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.as_bytes());
        true
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        bytes.and_then(|bytes| Self::from_slice(bytes).ok()).ok_or(UnreadableCell("uuid"))
    }
}

impl Cell for DateTime<Utc> {
    const TYPE: CellType = CellType { name: "timestamptz", oid: 1184, array_oid: 1185 };

    fn write(&self, out: &mut Vec<u8>) -> bool {
        (self.timestamp_micros() - YEAR_2000).write(out)
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        let microseconds = i64::read(bytes).map_err(|_| UnreadableCell("timestamptz"))?.saturating_add(YEAR_2000);
        DateTime::from_timestamp_micros(microseconds.clamp(EARLIEST, LATEST)).ok_or(UnreadableCell("timestamptz"))
    }
}

/// A value in a `jsonb` column that a fold looks into: read once, when its row is loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize + DeserializeOwned> Cell for Json<T> {
    const TYPE: CellType = Jsonb::TYPE;

    fn write(&self, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        // The version of the form.
        out.push(1);
        let written = serde_json::to_writer(&mut *out, &self.0).is_ok();
        if !written {
            // A value that has no JSON is a mistake of ours in a type; no column takes the null.
            out.truncate(start);
        }
        written
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        let Some([1, text @ ..]) = bytes else { return Err(UnreadableCell("jsonb")) };
        serde_json::from_slice(text).map(Self).map_err(|_| UnreadableCell("jsonb of this build"))
    }

    fn bytes(&self) -> usize {
        let mut counted = Counted(size_of::<Self>());
        match serde_json::to_writer(&mut counted, &self.0) {
            Ok(()) | Err(_) => counted.0,
        }
    }
}

/// Counts what is written to it.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A `jsonb` as its text: hardly a fold looks into one that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jsonb(Box<str>);

impl Jsonb {
    /// The text of a value; `None`: it has none, as a map whose keys are no texts.
    pub(crate) fn from_value(value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Self(serde_json::to_string(value)?.into_boxed_str()))
    }

    /// The empty array.
    pub(crate) fn empty_array() -> Self {
        Self("[]".into())
    }

    /// What it holds, as a type.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }

    /// What it holds.
    #[cfg(test)]
    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap()
    }
}

impl Cell for Jsonb {
    const TYPE: CellType = CellType { name: "jsonb", oid: 3802, array_oid: 3807 };

    fn write(&self, out: &mut Vec<u8>) -> bool {
        // The version of the form.
        out.push(1);
        out.extend_from_slice(self.0.as_bytes());
        true
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        let Some([1, text @ ..]) = bytes else { return Err(UnreadableCell("jsonb")) };
        Ok(Self(std::str::from_utf8(text).map_err(|_| UnreadableCell("jsonb"))?.into()))
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }
}

/// A count in a `numeric` column, which holds whatever an old event counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl Cell for Count {
    const TYPE: CellType = CellType { name: "numeric", oid: 1700, array_oid: 1231 };

    fn write(&self, out: &mut Vec<u8>) -> bool {
        // Digits to the base 10,000, the greatest first: their number, the weight of the first, sign, scale, digits.
        let mut digits = [0_u16; 5];
        let (mut rest, mut first) = (self.0, digits.len());
        while rest > 0 {
            first -= 1;
            digits[first] = u16::try_from(rest % 10_000).unwrap_or_default();
            rest /= 10_000;
        }
        let digits = &digits[first..];
        let length = i16::try_from(digits.len()).unwrap_or_default();
        for number in [length, (length - 1).max(0), 0, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for digit in digits {
            out.extend_from_slice(&digit.to_be_bytes());
        }
        true
    }

    fn read(_: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        Err(UnreadableCell("count that is ever read back"))
    }
}

impl<C: Cell> Cell for Option<C> {
    const TYPE: CellType = C::TYPE;

    fn write(&self, out: &mut Vec<u8>) -> bool {
        self.as_ref().is_some_and(|cell| cell.write(out))
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, UnreadableCell> {
        bytes.map(|bytes| C::read(Some(bytes))).transpose()
    }

    fn bytes(&self) -> usize {
        self.as_ref().map_or(size_of::<Self>(), Cell::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_json_is_read_as_it_was_written() {
        let value = Json(vec![(Some(i128::MAX), 0.1), (None, 1e9)]);
        let mut written = Vec::new();
        assert!(value.write(&mut written));
        assert_eq!(Json::read(Some(&written)), Ok(value.clone()));
        assert_eq!(value.bytes(), size_of::<Json<()>>() + size_of_val(&value) + written.len() - 1);
        assert_eq!(Json::<Vec<u8>>::read(Some(&written)), Err(UnreadableCell("jsonb of this build")));
        assert_eq!(Json::<Vec<u8>>::read(None), Err(UnreadableCell("jsonb")));
    }
}
