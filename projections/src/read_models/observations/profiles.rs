//! What a session's lab and nodes used, as the newest observation with a profile says. Profiles stay in the event.

use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::observation::{NodeProfile, Profile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Projections, ReadError};

/// The profile of an observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedProfile {
    /// The event of the observation.
    pub event_id: Uuid,
    /// When the lab was read.
    pub observed_at: DateTime<Utc>,
    /// What the lab used until then.
    pub profile: Profile,
}

/// What one node used, as an observation says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedNodeProfile {
    /// CML's id.
    pub node_id: String,
    /// Its label, which may be blank.
    #[serde(default)]
    pub label: String,
    /// E.g. `iosv`.
    #[serde(default)]
    pub node_definition: String,
    /// What it used; null: nothing was sampled of it.
    #[serde(default)]
    pub profile: Option<NodeProfile>,
}

impl Projections {
    /// The profile of the newest of a session's observations that has one.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn newest_profile(&self, id: &SessionId) -> Result<Option<ObservedProfile>, ReadError> {
        let known = self.session_profile(id).await?;
        let (Some(source), Some(profile)) = (known.source, known.profile) else { return Ok(None) };
        Ok(Some(ObservedProfile { event_id: source.event_id, observed_at: source.observed_at, profile }))
    }

    /// What each node of an observation used, in the order of the observation.
    ///
    /// # Errors
    /// The database or the log does not answer.
    pub async fn node_profiles(&self, event_id: Uuid) -> Result<Vec<ObservedNodeProfile>, ReadError> {
        Ok(self.observed_part(event_id, &["nodes"]).await?.unwrap_or_default())
    }
}
