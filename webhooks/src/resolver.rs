//! What a target's name leads to, checked before anything is sent there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::{AddressRefused, AllowedNetworks};

/// Answers for names; a test answers itself.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Resolves names, and leaves out addresses that are not reached. The connection is made to what is left, so that a name
/// that answers something else a moment later changes nothing.
#[derive(Clone)]
pub(crate) struct CheckedResolver {
    allowed: AllowedNetworks,
    lookup: Lookup,
}

/// The names of the system's resolver.
pub(crate) fn system() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }))
}

impl CheckedResolver {
    pub(crate) fn new(allowed: AllowedNetworks, lookup: Lookup) -> Self {
        Self { allowed, lookup }
    }

    /// The addresses of a name that a connection may go to.
    fn reachable(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, AddressRefused> {
        let (mut reachable, mut refused) = (Vec::new(), None);
        for address in found {
            match self.allowed.check(address.ip()) {
                Ok(()) => reachable.push(address),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if reachable.is_empty() => Err(error),
            _ => Ok(reachable),
        }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = (resolver.lookup)(name.as_str().to_owned()).await?;
            Ok(Box::new(resolver.reachable(found)?.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_those_inside_are_left_out() {
        let resolver = CheckedResolver::new(AllowedNetworks::default(), system());
        let found = |texts: &[&str]| resolver.reachable(texts.iter().map(|text| text.parse().unwrap()).collect());
        let mixed = ["127.0.0.1:0", "8.8.8.8:0", "[::ffff:169.254.169.254]:0"];
        assert_eq!(found(&mixed), Ok(vec!["8.8.8.8:0".parse().unwrap()]));
        assert!(found(&["[::1]:0", "10.0.0.1:0"]).is_err());
        assert_eq!(found(&[]), Ok(vec![]));
    }
}
