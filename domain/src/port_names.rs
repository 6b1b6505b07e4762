//! What the name of a port says: names are `{label with [^A-Za-z0-9_-] → _}_{protocol}`, followed by numbers where two
//! would be the same or where an inside port or a line is named, as in `gitlab-ce_pat_22`.

use crate::port_tags::Transport;
use crate::ports::PortName;

/// Whose port a name speaks of, and by which layer 4 protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortDescription<'a> {
    /// The node's label, cleaned.
    pub label: &'a str,
    /// The layer 4 protocol.
    pub transport: Transport,
}

impl PortName {
    /// What the name says, where it ends in a protocol: the last part that is no number. Whatever stands before it is the
    /// label, which may hold underscores and words of protocols itself.
    pub fn description(&self) -> Option<PortDescription<'_>> {
        let mut rest = self.as_str();
        loop {
            let (label, last) = rest.rsplit_once('_')?;
            if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
                rest = label;
                continue;
            }
            let transport = match last {
                "udp" => Transport::Udp,
                // A forward of PATty is TCP unless its tag says otherwise.
                "tcp" | "pat" | "serial" | "vnc" | "ssh" | "telnet" | "http" | "https" => Transport::Tcp,
                _ => return None,
            };
            return Some(PortDescription { label, transport });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_node_and_the_layer_4_protocol() {
        let described = |name: &str| {
            let name = PortName::parse(name).unwrap();
            name.description().map(|described| (described.label.to_owned(), described.transport))
        };
        for (name, label, transport) in [
            ("PC_serial", "PC", Transport::Tcp),
            ("PC_serial_1", "PC", Transport::Tcp),
            ("gitlab-ce_pat_22", "gitlab-ce", Transport::Tcp),
            ("gitlab-ce_tcp", "gitlab-ce", Transport::Tcp),
            ("R_1_udp_161_2", "R_1", Transport::Udp),
            ("my_udp_serial", "my_udp", Transport::Tcp),
            ("x_pat_tcp", "x_pat", Transport::Tcp),
            ("_vnc", "", Transport::Tcp),
            ("5_5_ssh", "5_5", Transport::Tcp),
        ] {
            assert_eq!(described(name), Some((label.to_owned(), transport)), "{name}");
        }
        for none in ["udp", "console", "5041", "PC_rdp", "tcp_5041x", "_", "1_2"] {
            assert_eq!(described(none), None, "{none}");
        }
    }
}
