//! Hosts that CML credentials may go to.
//!
//! Whoever may change where a worker is could otherwise have its password sent to an address of theirs. So credentials go
//! only to hosts that the controller's own configuration names: [`HostList`] for the common ones, a list of its own for
//! an entry of the credentials file. The name alone does not decide: what it resolves to is looked at as well, and the
//! connection goes to the address that was looked at. Addresses of this machine and of this link (loopback, link-local,
//! the cloud's metadata among them) have to be named as addresses; `localhost` may be named as it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// Most entries of a list.
const MOST_ENTRIES: usize = 1_000;

/// A host, or all hosts below a domain, each at any port or at one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostPattern {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    /// This name, in ASCII and lower case, without a dot at its end.
    Name(String),
    /// Names of one or more labels before this one; not the domain itself.
    Below(String),
    /// This address.
    Address(IpAddr),
}

/// Hosts, e.g. `cml-1.example.org, *.lab.example.com, 192.0.2.7:8443, [2001:db8::7]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostList(Vec<HostPattern>);

/// A list that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the entry {entry:?} {problem}; expected host, host:port, *.domain or an address, such as cml-1.example.org, \
     *.lab.example.com, 192.0.2.7:8443, [2001:db8::7]"
)]
pub struct HostListError {
    entry: String,
    problem: &'static str,
}

/// An address that only its own naming allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host's name leads to {0}, which has to be named as an address")]
pub struct SpecialAddress(pub(crate) Special);

/// What is special about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Loopback,
    LinkLocal,
    Unspecified,
    Multicast,
    Metadata,
}

impl fmt::Display for Special {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Unspecified => "the unspecified address",
            Self::Multicast => "a multicast or broadcast address",
            Self::Metadata => "the address of a cloud's metadata",
        })
    }
}

impl HostList {
    /// Reads a list with commas between its entries.
    ///
    /// A host without a port is allowed at any port. `*.lab.example.com` stands for names of one or more labels below
    /// `lab.example.com`, not for `lab.example.com` itself. Case, a dot at the end and the form of an international name
    /// or of an address make no difference.
    ///
    /// # Errors
    /// [`HostListError`] names the first entry that is none.
    pub fn parse(text: &str) -> Result<Self, HostListError> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        if entries.len() > MOST_ENTRIES {
            return Err(HostListError { entry: text.chars().take(40).collect(), problem: "begins too long a list" });
        }
        entries.into_iter().map(HostPattern::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an entry stands for this host at this port.
    pub(crate) fn names(&self, host: &Host<&str>, port: u16) -> bool {
        let Some(host) = Hosts::from_url_host(host.to_owned()) else { return false };
        self.0.iter().any(|pattern| pattern.port.is_none_or(|named| named == port) && pattern.hosts.include(&host))
    }

    /// Whether a connection may go to `address` as what the named host `name` resolved to.
    pub(crate) fn check_address(&self, name: &str, address: IpAddr, port: u16) -> Result<(), SpecialAddress> {
        let Some(special) = special(address) else { return Ok(()) };
        let as_host = match address {
            IpAddr::V4(address) => Host::Ipv4(address),
            IpAddr::V6(address) => Host::Ipv6(address),
        };
        let is_its_own_name = special == Special::Loopback && is_localhost(&canonical_name(name));
        if is_its_own_name || self.names(&as_host, port) { Ok(()) } else { Err(SpecialAddress(special)) }
    }
}

impl HostPattern {
    fn parse(entry: &str) -> Result<Self, HostListError> {
        let refused = |problem| HostListError { entry: entry.chars().take(200).collect(), problem };
        if entry.contains(['/', '@', '?', '#', '\\']) {
            return Err(refused("is no host: leave out scheme, user and path"));
        }
        let (host, port) = split_port(entry);
        let port = match port {
            Some(port) => Some(
                port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| refused("has a port that is none"))?,
            ),
            None => None,
        };
        let (host, below) = host.strip_prefix("*.").map_or((host, false), |domain| (domain, true));
        if host.contains('*') {
            return Err(refused("has a * elsewhere than in *. at its beginning"));
        }
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let hosts = Host::parse(&host).ok().and_then(Hosts::from_url_host).ok_or_else(|| refused("is no host"))?;
        let hosts = match (hosts, below) {
            (Hosts::Name(domain), true) => Hosts::Below(domain),
            (Hosts::Address(_), true) => return Err(refused("puts *. before an address")),
            (hosts, _) => hosts,
        };
        Ok(Self { hosts, port })
    }
}

/// `host:port` and `[address]:port` in two. An address of version 6 without brackets has no port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

impl Hosts {
    fn from_url_host(host: Host<impl AsRef<str>>) -> Option<Self> {
        match host {
            Host::Domain(name) => Some(canonical_name(name.as_ref())).filter(|name| !name.is_empty()).map(Self::Name),
            Host::Ipv4(address) => Some(Self::Address(IpAddr::V4(address))),
            // One address in two forms.
            Host::Ipv6(address) => Some(Self::Address(IpAddr::V6(address).to_canonical())),
        }
    }

    fn include(&self, host: &Self) -> bool {
        match (self, host) {
            (Self::Below(domain), Self::Name(name)) => name
                .strip_suffix(domain.as_str())
                .and_then(|labels| labels.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty() && labels.split('.').all(|label| !label.is_empty())),
            (named, host) => named == host,
        }
    }
}

fn canonical_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// RFC 6761: these names are this machine and nothing else.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// What is special about an address, that of version 4 which one of version 6 holds included.
fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    match address.octets() {
        [0, ..] => Some(Special::Unspecified),
        [127, ..] => Some(Special::Loopback),
        [169, 254, 169, 254] => Some(Special::Metadata),
        [169, 254, ..] => Some(Special::LinkLocal),
        [224..=239, ..] | [255, 255, 255, 255] => Some(Special::Multicast),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        special_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Special::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Special::Loopback),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Some(Special::Metadata),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some(Special::LinkLocal),
        [first, ..] if first & 0xff00 == 0xff00 => Some(Special::Multicast),
        // Mapped, compatible, translated by NAT64 (RFC 6052, RFC 8215) and 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn list(text: &str) -> HostList {
        HostList::parse(text).unwrap()
    }

    fn names(named: &str, address: &str) -> bool {
        let url = Url::parse(address).unwrap();
        list(named).names(&url.host().unwrap(), url.port_or_known_default().unwrap())
    }

    #[test]
    fn a_host_is_named_whatever_its_form_and_nothing_else_is() {
        for (named, address) in [
            ("cml.example.org", "https://CML.Example.ORG"),
            ("CML.example.org.", "https://cml.example.org:8443"),
            ("cml.example.org", "https://cml.example.org./lab"),
            ("cml.example.org:443", "https://cml.example.org"),
            ("bücher.example", "https://xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "https://BÜCHER.example"),
            ("192.0.2.7", "https://192.0.2.7:8443"),
            ("192.0.2.7", "https://0xc0000207"),
            ("192.0.2.7", "https://[::ffff:192.0.2.7]"),
            ("::ffff:192.0.2.7", "https://192.0.2.7"),
            ("[2001:db8::7]:8443", "https://[2001:DB8:0::7]:8443"),
            ("2001:db8::7", "https://[2001:db8::7]"),
            ("*.lab.example.com", "https://one.lab.example.com"),
            ("*.lab.example.com", "https://one.two.Lab.Example.com."),
            ("*.lab.example.com:8443", "https://one.lab.example.com:8443"),
            ("a.example, , b.example", "https://b.example"),
        ] {
            assert!(names(named, address), "{named} names {address}");
        }
        for (named, address) in [
            ("", "https://cml.example.org"),
            ("cml.example.org", "https://cml.example.org.evil.example"),
            ("cml.example.org", "https://xcml.example.org"),
            ("cml.example.org", "https://www.cml.example.org"),
            ("cml.example.org:443", "https://cml.example.org:8443"),
            ("*.lab.example.com", "https://lab.example.com"),
            ("*.lab.example.com", "https://evillab.example.com"),
            ("*.lab.example.com", "https://a.lab.example.com.evil.example"),
            ("*.0.2.7", "https://192.0.2.7"),
            ("192.0.2.7", "https://192.0.2.70"),
            ("192.0.2.7", "https://[2001:db8::c000:207]"),
        ] {
            assert!(!HostList::parse(named).is_ok_and(|_| names(named, address)), "{named} does not name {address}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_by_entry() {
        for entry in [
            "https://cml.example.org",
            "user@cml.example.org",
            "cml.example.org/api",
            "*",
            "*.",
            "a.*.example",
            "*.192.0.2.7",
            "*.[::1]",
            "cml.example.org:0",
            "cml.example.org:https",
            "cml.example.org:",
            "[::1",
            "a b",
            ".",
        ] {
            let refused = HostList::parse(&format!("good.example, {entry}")).unwrap_err();
            assert_eq!(refused.entry, entry);
        }
    }

    #[test]
    fn an_address_of_this_machine_or_link_has_to_be_named_as_one() {
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::169.254.169.254",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let check = |named: &str| list(named).check_address("cml.example.org", address, 443);
            assert!(check("cml.example.org, 192.0.2.1").is_err(), "{address}");
            assert!(check(&format!("cml.example.org, {address}")).is_ok(), "{address}");
        }
        for address in
            ["10.0.0.1", "192.168.1.1", "172.16.0.1", "192.0.2.1", "2001:db8::1", "fd00::1", "64:ff9b::a00:1"]
        {
            let address: IpAddr = address.parse().unwrap();
            assert!(list("cml.example.org").check_address("cml.example.org", address, 443).is_ok(), "{address}");
        }
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(list("localhost").check_address("LocalHost.", loopback, 443).is_ok());
        assert!(list("localhost").check_address("localhost", "169.254.169.254".parse().unwrap(), 443).is_err());
        assert!(list("127.0.0.1:8443").check_address("cml.example.org", loopback, 8443).is_ok());
        assert!(list("127.0.0.1:8443").check_address("cml.example.org", loopback, 22).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_refused(text in "[-a-zA-Z0-9.*:,\\[\\] /@äß]{0,40}") {
            if let Ok(list) = HostList::parse(&text) {
                prop_assert!(!list.names(&Host::Domain("nobody-named-this.invalid"), 443));
            }
        }

        #[test]
        fn every_loopback_address_is_special_in_every_form(low in 0_u32..1 << 24) {
            let v4 = Ipv4Addr::from(0x7f00_0000 | low);
            let forms = [IpAddr::V4(v4), IpAddr::V6(v4.to_ipv6_mapped()), IpAddr::V6(v4.to_ipv6_compatible())];
            for form in forms {
                prop_assert_eq!(special(form), Some(Special::Loopback));
            }
        }
    }
}
