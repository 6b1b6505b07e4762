//! Headers of a message, as they are stored.

use std::collections::BTreeMap;

use async_nats::HeaderMap;

use crate::printable::{storable, storable_bytes};

/// Most bytes of all headers that are kept of a message, names included.
const MOST_BYTES: usize = 64 * 1024;
/// Longest name, and value, of a header that is kept.
const LONGEST: usize = 8 * 1024;

/// A message's headers by name: the last value of each.
pub(crate) fn plain_headers(headers: Option<&HeaderMap>) -> BTreeMap<String, String> {
    headers
        .into_iter()
        .flat_map(HeaderMap::iter)
        .filter_map(|(name, values)| Some((name.to_string(), values.last()?.as_str().to_owned())))
        .collect()
}

/// The reverse of [`plain_headers`], as far as the headers can be sent.
pub(crate) fn header_map(plain: &BTreeMap<String, String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in plain {
        let parsed = (name.parse::<async_nats::HeaderName>(), value.parse::<async_nats::HeaderValue>());
        if let (Ok(name), Ok(value)) = parsed {
            headers.insert(name, value);
        }
    }
    headers
}

/// Headers from their wire form, as far as it can be parsed; bytes that are no text are escaped.
pub(crate) fn from_wire(wire: &[u8]) -> BTreeMap<String, String> {
    wire.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(|line| {
            let line = line.trim_ascii_end();
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii_start();
            Some((storable_bytes(name, LONGEST), storable_bytes(value, LONGEST)))
        })
        .collect()
}

/// Headers that Postgres can hold, within their bound.
pub(super) fn bounded(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut bytes = 0;
    headers
        .iter()
        .map(|(name, value)| (storable(name, LONGEST), storable(value, LONGEST)))
        .take_while(|(name, value)| {
            bytes += name.len() + value.len();
            bytes <= MOST_BYTES
        })
        .collect()
}
