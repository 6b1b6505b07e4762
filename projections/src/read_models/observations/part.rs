//! Parts of an observation that stay in its event.

use domain::observation::NodeObservation;
use domain::stored;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::{Projections, ReadError};

/// Where an observation has its resources.
const RESOURCES: &str = "observed_resources";

impl Projections {
    /// What an observation has at a path within its resources. `None`: nothing.
    ///
    /// # Errors
    /// The log does not answer, or what it has there is none of these.
    pub(crate) async fn observed_part<T>(&self, event_id: Uuid, path: &[&str]) -> Result<Option<T>, ReadError>
    where
        T: DeserializeOwned + JsonSchema + 'static,
    {
        let path: Vec<String> = std::iter::once(&RESOURCES).chain(path).map(ToString::to_string).collect();
        self.log.payload_part(event_id, &path).await?.map(read).transpose()
    }

    /// A node of an observation. `None`: it lists no such node.
    ///
    /// # Errors
    /// The log does not answer, or what it has there is no node.
    pub(crate) async fn observed_node(
        &self,
        event_id: Uuid,
        node_id: &str,
    ) -> Result<Option<NodeObservation>, ReadError> {
        let path = [RESOURCES.to_owned(), "nodes".to_owned()];
        self.log.payload_element(event_id, &path, "node_id", node_id).await?.map(read).transpose()
    }
}

fn read<T: DeserializeOwned + JsonSchema + 'static>(part: Value) -> Result<T, ReadError> {
    stored::read_part(part).map_err(|error| {
        ReadError::Database(sqlx::Error::ColumnDecode { index: "payload".to_owned(), source: Box::new(error) })
    })
}
