//! What a worker's name leads to, looked at before anything is sent there.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::hosts::{HostList, SpecialAddress};

/// Resolves names with the system's resolver and leaves out addresses that the configuration would have to name. The
/// connection is made to what is left, so that a name that answers something else a moment later changes nothing.
pub(super) struct CheckedResolver {
    hosts: Arc<HostList>,
    port: u16,
}

impl CheckedResolver {
    /// A resolver for one worker, whose host is among `hosts`.
    pub(super) fn new(hosts: Arc<HostList>, port: u16) -> Self {
        Self { hosts, port }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (hosts, port) = (self.hosts.clone(), self.port);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = allowed(&hosts, name.as_str(), port, found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The addresses that may be connected to.
///
/// # Errors
/// [`SpecialAddress`] where there are addresses, and none of them may.
fn allowed(
    hosts: &HostList,
    name: &str,
    port: u16,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, SpecialAddress> {
    let mut allowed = Vec::new();
    let mut refused = None;
    for address in found {
        match hosts.check_address(name, address.ip(), port) {
            Ok(()) => allowed.push(address),
            Err(error) => {
                tracing::warn!(host = name, address = %address.ip(), "worker address not allowed");
                refused = Some(error);
            }
        }
    }
    match refused {
        Some(error) if allowed.is_empty() => Err(error),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_those_of_this_machine_are_left_out() {
        let hosts = HostList::parse("cml.example.org").unwrap();
        let found = |texts: &[&str]| {
            let addresses: Vec<SocketAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            allowed(&hosts, "cml.example.org", 443, addresses.into_iter())
        };
        let rebound = found(&["127.0.0.1:0", "192.0.2.1:0", "[::ffff:169.254.169.254]:0"]).unwrap();
        assert_eq!(rebound, ["192.0.2.1:0".parse().unwrap()]);
        assert!(found(&["[::1]:0", "127.0.0.1:0"]).is_err());
        assert_eq!(found(&[]), Ok(vec![]));
    }
}
