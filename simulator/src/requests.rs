//! How often which request was made: what a test asserts a client's economy on.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

const MOST_PATHS: usize = 500;

/// Requests to the API since the start, or since they were last reset. The control path does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    pub total: u64,
    /// By method and path, with `{id}` in the place of each identifier, e.g. `GET /api/v0/labs/{id}/nodes`.
    pub by_path: BTreeMap<String, u64>,
}

impl Requests {
    /// How many went to this method and path; 0 if none did.
    pub fn count(&self, method_and_path: &str) -> u64 {
        self.by_path.get(method_and_path).copied().unwrap_or_default()
    }

    pub(crate) fn record(&mut self, method: &str, path: &str) {
        self.total += 1;
        let segment = |segment| {
            if Uuid::try_parse(segment).is_ok() { "{id}" } else { segment }
        };
        let path: Vec<&str> = path.split('/').map(segment).collect();
        let mut name = format!("{method} {}", path.join("/"));
        if self.by_path.len() >= MOST_PATHS && !self.by_path.contains_key(&name) {
            name = "elsewhere".to_owned();
        }
        *self.by_path.entry(name).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_do_not_tell_paths_apart() {
        let mut requests = Requests::default();
        requests.record("GET", "/api/v0/labs/863799a0-0000-4000-8000-000000000001/nodes");
        requests.record("GET", "/api/v0/labs/863799a0-0000-4000-8000-000000000002/nodes");
        assert_eq!(requests.count("GET /api/v0/labs/{id}/nodes"), 2);
        assert_eq!(requests.total, 2);
    }
}
