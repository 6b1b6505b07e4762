//! Addresses that a webhook may reach: public ones, and those that its target's own settings allow.
//!
//! Whoever can name a target's host, or answer for its name, could otherwise have this process send requests to what is
//! inside: the cloud's metadata, a database, the gateway itself.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Networks inside that a target may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedNetworks(Vec<IpNet>);

/// An address that is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}; the target's `allow` does not name it")]
pub struct AddressRefused {
    address: IpAddr,
    what: Inside,
}

/// What an address is that is no public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Unspecified,
    Loopback,
    Private,
    LinkLocal,
    Metadata,
    Shared,
    Multicast,
    Documentation,
    Reserved,
}

impl fmt::Display for Inside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata",
            Self::Shared => "an address behind a carrier's NAT",
            Self::Multicast => "a multicast or broadcast address",
            Self::Documentation => "an address for documentation",
            Self::Reserved => "a reserved address",
        })
    }
}

impl AllowedNetworks {
    /// Reads networks and addresses, e.g. `10.20.0.0/16` and `fd00::7`.
    ///
    /// # Errors
    /// The first entry that is none.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let network = |entry: &'a str| {
            entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from)).map_err(|_| entry.to_owned())
        };
        entries.into_iter().map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a connection may go to this address.
    ///
    /// # Errors
    /// [`AddressRefused`] where it is no public address and no allowed network has it.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let Some(what) = inside(address) else { return Ok(()) };
        let address = address.to_canonical();
        // What only holds an address of version 4, as one of NAT64 does, has to be named as it is.
        if self.0.iter().any(|network| network.contains(&address)) {
            Ok(())
        } else {
            Err(AddressRefused { address, what })
        }
    }
}

/// What an address is that is no public one, that of version 4 which one of version 6 holds included.
fn inside(address: IpAddr) -> Option<Inside> {
    match address {
        IpAddr::V4(address) => inside_v4(address),
        IpAddr::V6(address) => inside_v6(address),
    }
}

/// By IANA's registry of special addresses.
fn inside_v4(address: Ipv4Addr) -> Option<Inside> {
    match address.octets() {
        [0, ..] => Some(Inside::Unspecified),
        [127, ..] => Some(Inside::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Inside::Private),
        [169, 254, 169, 254] => Some(Inside::Metadata),
        [169, 254, ..] => Some(Inside::LinkLocal),
        [100, 64..=127, ..] => Some(Inside::Shared),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some(Inside::Documentation),
        [224..=239, ..] | [255, 255, 255, 255] => Some(Inside::Multicast),
        // Protocol assignments, anycast of 6to4, AS112, benchmarks, and what was class E. Azure's metadata is a public
        // address by its number alone.
        [168, 63, 129, 16] => Some(Inside::Metadata),
        [192, 0, 0, _] | [192, 88, 99, _] | [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] => {
            Some(Inside::Reserved)
        }
        [198, 18..=19, ..] | [240..=255, ..] => Some(Inside::Reserved),
        _ => None,
    }
}

fn inside_v6(address: Ipv6Addr) -> Option<Inside> {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        inside_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Inside::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Inside::Loopback),
        // Mapped and translated by NAT64 (RFC 6052): as public as what they hold.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4 likewise.
        [0x2002, high, low, ..] => embedded(high, low),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Some(Inside::Metadata),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some(Inside::Private),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some(Inside::LinkLocal),
        // Site-local, given up long ago and still routed inside.
        [first, ..] if first & 0xffc0 == 0xfec0 => Some(Inside::Private),
        [first, ..] if first & 0xff00 == 0xff00 => Some(Inside::Multicast),
        [0x2001, 0xdb8, ..] => Some(Inside::Documentation),
        [first, second, ..] if first == 0x3fff && second < 0x1000 => Some(Inside::Documentation),
        // Teredo, ORCHID and the other protocol assignments.
        [0x2001, second, ..] if second < 0x200 => Some(Inside::Reserved),
        [first, ..] if (0x2000..=0x3fff).contains(&first) => None,
        // Nothing else is global unicast: NAT64 of a site, compatible, discard and unassigned addresses.
        _ => Some(Inside::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REFUSED: [(&str, Inside); 58] = [
        ("0.0.0.0", Inside::Unspecified),
        ("0.1.2.3", Inside::Unspecified),
        ("127.0.0.1", Inside::Loopback),
        ("127.255.255.254", Inside::Loopback),
        ("10.0.0.1", Inside::Private),
        ("10.255.255.255", Inside::Private),
        ("172.16.0.1", Inside::Private),
        ("172.31.255.255", Inside::Private),
        ("192.168.0.1", Inside::Private),
        ("169.254.169.254", Inside::Metadata),
        ("168.63.129.16", Inside::Metadata),
        ("169.254.170.2", Inside::LinkLocal),
        ("100.64.0.1", Inside::Shared),
        ("100.100.100.200", Inside::Shared),
        ("100.127.255.255", Inside::Shared),
        ("192.0.0.170", Inside::Reserved),
        ("192.0.2.1", Inside::Documentation),
        ("198.51.100.1", Inside::Documentation),
        ("203.0.113.1", Inside::Documentation),
        ("192.88.99.1", Inside::Reserved),
        ("192.175.48.1", Inside::Reserved),
        ("198.18.0.1", Inside::Reserved),
        ("198.19.255.255", Inside::Reserved),
        ("224.0.0.1", Inside::Multicast),
        ("239.255.255.255", Inside::Multicast),
        ("240.0.0.1", Inside::Reserved),
        ("255.255.255.255", Inside::Multicast),
        ("::", Inside::Unspecified),
        ("::1", Inside::Loopback),
        ("::127.0.0.1", Inside::Reserved),
        ("::8.8.8.8", Inside::Reserved),
        ("::ffff:127.0.0.1", Inside::Loopback),
        ("::ffff:10.0.0.1", Inside::Private),
        ("::ffff:169.254.169.254", Inside::Metadata),
        ("::ffff:100.64.0.1", Inside::Shared),
        ("::ffff:0:10.0.0.1", Inside::Reserved),
        ("64:ff9b::a00:1", Inside::Private),
        ("64:ff9b::7f00:1", Inside::Loopback),
        ("64:ff9b::a9fe:a9fe", Inside::Metadata),
        ("64:ff9b:1::808:808", Inside::Reserved),
        ("2002:7f00:1::", Inside::Loopback),
        ("2002:a00:1::1", Inside::Private),
        ("2002:c0a8:101::1", Inside::Private),
        ("100::1", Inside::Reserved),
        ("2001::1", Inside::Reserved),
        ("2001:10::1", Inside::Reserved),
        ("2001:db8::1", Inside::Documentation),
        ("3fff::1", Inside::Documentation),
        ("4000::1", Inside::Reserved),
        ("fc00::1", Inside::Private),
        ("fd00::1", Inside::Private),
        ("fd00:ec2::254", Inside::Metadata),
        ("fe80::1", Inside::LinkLocal),
        ("febf::1", Inside::LinkLocal),
        ("fec0::1", Inside::Private),
        ("ff02::1", Inside::Multicast),
        ("ff0e::1", Inside::Multicast),
        ("5f00::1", Inside::Reserved),
    ];

    #[test]
    fn an_address_inside_is_refused_and_reached_where_it_is_allowed() {
        for (text, what) in REFUSED {
            let address: IpAddr = text.parse().unwrap();
            let refused = AllowedNetworks::default().check(address).unwrap_err();
            assert_eq!(refused.what, what, "{text}");
            let named = address.to_canonical().to_string();
            assert_eq!(AllowedNetworks::parse([named.as_str()]).unwrap().check(address), Ok(()), "{text}");
            assert!(AllowedNetworks::parse(["8.8.8.0/24", "2600::/16"]).unwrap().check(address).is_err(), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_reached_and_their_neighbours_inside_are_not() {
        for text in [
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.255.255",
            "192.169.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2001:4860:4860::8888",
            "2600::1",
            "2a00::1",
        ] {
            assert_eq!(AllowedNetworks::default().check(text.parse().unwrap()), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        assert_eq!(AllowedNetworks::parse(["10.0.0.0/8", "inside"]), Err("inside".to_owned()));
        let allowed = AllowedNetworks::parse(["10.20.0.0/16"]).unwrap();
        assert_eq!(allowed.check("10.20.3.4".parse().unwrap()), Ok(()));
        assert!(allowed.check("10.21.3.4".parse().unwrap()).is_err());
        let refused = allowed.check("169.254.169.254".parse().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("metadata") && refused.contains("`allow`"), "{refused}");
    }

    proptest! {
        #[test]
        fn an_address_of_version_4_is_the_same_in_whatever_holds_it(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let [high, low] = [(bits >> 16) as u16, bits as u16];
            let forms = [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ];
            for form in forms {
                prop_assert_eq!(inside(form.into()), inside(v4.into()), "{}", form);
            }
        }
    }
}
