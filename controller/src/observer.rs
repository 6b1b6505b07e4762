//! Reads a whole lab in a constant number of requests.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::LabId;
use domain::observation::ResourceObservation;

use crate::cml::{CmlClient, WorkerReader};
use crate::credentials::WorkerAccess;
use crate::observation::{self, LabReads, ObservationImpossible};

/// Observes labs.
#[derive(Debug, Clone)]
pub struct Observer {
    client: CmlClient,
    timeout: Duration,
    settling: Duration,
}

impl Observer {
    /// An observer whose observations take at most `timeout` in total. A lab counts as steady when every node had
    /// booted at least `settling` ago.
    pub fn new(client: CmlClient, timeout: Duration, settling: Duration) -> Self {
        Self { client, timeout, settling }
    }

    /// Reads the lab and says what was seen, at the time `now`.
    ///
    /// Five requests whatever the lab's size; beside them a sign-in and the version when they are not known yet, and
    /// the node definitions when a node's size is not stated and they were not read within the last hour.
    ///
    /// # Errors
    /// [`ObservationImpossible`] when the sign-in failed, the lab does not exist, or its nodes could not be read.
    #[tracing::instrument(name = "controller.observe", skip_all, fields(worker.id = %access.worker(), lab.id = %lab, outcome))]
    pub async fn observe(
        &self,
        access: &WorkerAccess,
        lab: &LabId,
        now: DateTime<Utc>,
    ) -> Result<ResourceObservation, ObservationImpossible> {
        let began = tokio::time::Instant::now();
        let reader = self.client.reader(access, self.timeout);
        let outcome = match reader.sign_in().await {
            Ok(()) => {
                // On the heap, as a request is: what waits for it is itself awaited by several layers.
                let reads = Box::pin(read(&reader, lab)).await;
                observation::assemble(reads, now, self.settling, access.port_range())
            }
            Err(error) => Err(ObservationImpossible::SignIn(error)),
        };
        let word = match &outcome {
            Ok(observation) if observation.is_complete() == Some(true) => "complete",
            Ok(_) => "partial",
            Err(_) => "failed",
        };
        tracing::Span::current().record("outcome", word);
        metrics::histogram!("lablet_observation_seconds", "outcome" => word).record(began.elapsed().as_secs_f64());
        outcome
    }
}

async fn read(reader: &WorkerReader, lab: &LabId) -> LabReads {
    let nodes_and_defaults = async {
        let (nodes, topology) = tokio::join!(reader.nodes(lab), reader.topology(lab));
        let defaults =
            if observation::needs_defaults(&nodes, &topology) { Some(reader.node_defaults().await) } else { None };
        (nodes, topology, defaults)
    };
    let ((nodes, topology, defaults), states, addresses, stats, version) = tokio::join!(
        nodes_and_defaults,
        reader.element_states(lab),
        reader.addresses(lab),
        reader.stats(lab),
        reader.version(),
    );
    LabReads { nodes, topology, states, addresses, stats, defaults, version }
}
