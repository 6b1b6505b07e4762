//! Parts of an observation that stay in its event.

use domain::stored;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{Projections, ReadError};

impl Projections {
    /// What an observation has at a path within its resources. `None`: nothing.
    ///
    /// # Errors
    /// The log does not answer, or what it has there is none of these.
    pub(crate) async fn observed_part<T>(&self, event_id: Uuid, path: &[&str]) -> Result<Option<T>, ReadError>
    where
        T: DeserializeOwned + JsonSchema + 'static,
    {
        let path: Vec<String> = std::iter::once(&"observed_resources").chain(path).map(ToString::to_string).collect();
        let Some(part) = self.log.payload_part(event_id, &path).await? else { return Ok(None) };
        let read = stored::read_part(part)
            .map_err(|error| sqlx::Error::ColumnDecode { index: "payload".to_owned(), source: Box::new(error) })?;
        Ok(Some(read))
    }
}
