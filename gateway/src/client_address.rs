//! Where a request really comes from: the peer of the connection, or who a trusted proxy says.
//!
//! A proxy adds the address it saw to the end of `Forwarded` (RFC 7239) or `X-Forwarded-For`; whatever stands before it
//! was sent by the client and may say anything. So the list is read from its end, as long as trusted proxies speak.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::header::FORWARDED;
use http::request::Parts;

use crate::networks::Networks;
use crate::problem::{Problem, ProblemKind};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// Most hops that are looked at.
const MOST_HOPS: usize = 16;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// The address.
    pub(crate) ip: IpAddr,
    /// Whether that is certain: nobody in between who is not trusted, or does not say for whom he speaks.
    pub(crate) is_certain: bool,
}

impl ClientAddress {
    /// Where a request over the connection of this peer comes from.
    pub(crate) fn from_headers(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> Self {
        let peer = peer.to_canonical();
        let is_forwarded =
            [FORWARDED.as_str(), X_FORWARDED_FOR, "x-real-ip"].iter().any(|name| headers.contains_key(*name));
        if !is_forwarded || !trusted.contain(peer) {
            return Self { ip: peer, is_certain: !is_forwarded };
        }
        let by_list =
            list(headers, X_FORWARDED_FOR).map(|hops| last_untrusted(peer, hops.into_iter().map(Some), trusted));
        let by_forwarded = list(headers, FORWARDED.as_str())
            .map(|hops| last_untrusted(peer, hops.into_iter().map(forwarded_for), trusted));
        match (by_list, by_forwarded) {
            (Some(one), Some(other)) if one != other => {
                // A proxy writes one of them; the other is the client's own invention, and we cannot tell which.
                tracing::debug!(%peer, "forwarding headers contradict each other");
                Self { ip: peer, is_certain: false }
            }
            (Some(client), _) | (None, Some(client)) => client,
            (None, None) => Self { ip: peer, is_certain: false },
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let known = parts.extensions.get::<Self>().copied();
        known.ok_or_else(|| Problem::new(ProblemKind::Internal, "The address of the client is not known."))
    }
}

/// The peer of the connection on which a request came.
pub(crate) fn peer(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())
}

/// The entries of a list header over all its lines; `None` where there is no such header.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    // A line that is no text ends the part that can be trusted.
    Some(lines.flat_map(|line| line.to_str().unwrap_or("unknown").split(',')).map(str::trim).collect())
}

/// The `for` of an entry of `Forwarded`; an entry without one names nobody.
fn forwarded_for(entry: &str) -> Option<&str> {
    let mut pairs = entry.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Some(value.trim())
}

/// Goes back from the peer, hop by hop, as long as the one who speaks is trusted and names an address.
fn last_untrusted<'a>(
    peer: IpAddr,
    hops: impl DoubleEndedIterator<Item = Option<&'a str>>,
    trusted: &Networks,
) -> ClientAddress {
    let mut client = ClientAddress { ip: peer, is_certain: true };
    for hop in hops.rev().take(MOST_HOPS) {
        if !trusted.contain(client.ip) {
            break;
        }
        match hop.and_then(address) {
            Some(ip) => client.ip = ip,
            None => return ClientAddress { is_certain: false, ..client },
        }
    }
    client
}

/// An address as proxies write it: quoted or not, with a port or not, IPv6 in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted: Networks = "10.0.0.0/8,::1".parse().unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        ClientAddress::from_headers(peer.parse().unwrap(), &map, &trusted).ip.to_string()
    }

    #[test]
    fn a_trusted_proxy_says_who_asks_and_nobody_else_does() {
        for (peer, headers, expected) in [
            ("192.0.2.1", vec![], "192.0.2.1"),
            ("192.0.2.1", vec![("x-forwarded-for", "203.0.113.9")], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            ("::ffff:10.0.0.1", vec![("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            ("::1", vec![("forwarded", "for=203.0.113.9;proto=https")], "203.0.113.9"),
            ("10.0.0.1", vec![("forwarded", r#"proto=https;For="[2001:db8::7]:4711""#)], "2001:db8::7"),
            ("10.0.0.1", vec![("x-forwarded-for", "2001:db8::7")], "2001:db8::7"),
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9:4711")], "203.0.113.9"),
            // What the client wrote itself stands before what the proxies added.
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.0.0.7")], "203.0.113.9"),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            ("10.0.0.1", vec![("x-forwarded-for", "10.0.0.8, 10.0.0.7")], "10.0.0.8"),
            // Nothing is known of who is behind an entry that is no address.
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9, unknown")], "10.0.0.1"),
            ("10.0.0.1", vec![("forwarded", "for=203.0.113.9, for=_hidden")], "10.0.0.1"),
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9, \u{e9}")], "10.0.0.1"),
            ("10.0.0.1", vec![("x-forwarded-for", "")], "10.0.0.1"),
            // Both headers: one of them is forged.
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.1")], "10.0.0.1"),
            ("10.0.0.1", vec![("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")], "203.0.113.9"),
        ] {
            assert_eq!(client(peer, &headers), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn who_comes_through_a_proxy_that_is_not_trusted_or_not_clear_is_not_certain() {
        let forwarded = HeaderMap::from_iter([(HeaderName::from_static("x-real-ip"), "127.0.0.1".parse().unwrap())]);
        let is_certain = |headers: &HeaderMap, trusted: &str| {
            ClientAddress::from_headers("127.0.0.1".parse().unwrap(), headers, &trusted.parse().unwrap()).is_certain
        };
        assert!(is_certain(&HeaderMap::new(), "none"));
        assert!(!is_certain(&forwarded, "none") && !is_certain(&forwarded, "10.0.0.1"));
        let of = |list: &'static str, other: &'static str| {
            HeaderMap::from_iter([
                (HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(list)),
                (HeaderName::from_static("forwarded"), HeaderValue::from_static(other)),
            ])
        };
        assert!(is_certain(&of("203.0.113.9", "for=203.0.113.9"), "127.0.0.1"));
        assert!(!is_certain(&of("203.0.113.9", "for=127.0.0.1"), "127.0.0.1"));
        assert!(!is_certain(&of("unknown", "for=unknown"), "127.0.0.1"));
    }
}
