//! Where what sessions used so far can be had, whichever controller samples them.

use chrono::{DateTime, Utc};
use domain::SessionId;
use domain::observation::ResourceObservation;
use tokio::sync::{mpsc, oneshot};

use super::live::LiveSample;
use super::session::catch_up;
use super::store::SummaryStore;
use crate::profile::Summary;

/// Somebody asks what a session used so far.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) session: SessionId,
    pub(super) answer: oneshot::Sender<SoFar>,
}

/// What is known in this process of what a session used.
#[derive(Debug)]
pub(super) enum SoFar {
    /// All of it.
    Sampled(Box<Summary>),
    /// What another controller told lately, which goes beyond what is stored.
    Heard(Vec<LiveSample>),
}

/// Where what sessions used so far can be had. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Profiles {
    questions: Option<mpsc::Sender<Question>>,
    store: SummaryStore,
}

impl Profiles {
    /// `questions`: to the task that samples; `None` where nothing is sampled.
    pub(super) fn new(questions: Option<mpsc::Sender<Question>>, store: SummaryStore) -> Self {
        Self { questions, store }
    }

    /// What the session used so far. `None`: nothing is known of it.
    pub async fn summary(&self, session: &SessionId) -> Option<Summary> {
        let (answer, answered) = oneshot::channel();
        let question = Question { session: session.clone(), answer };
        self.questions.as_ref()?.send(question).await.ok()?;
        let heard = match answered.await.ok()? {
            SoFar::Sampled(summary) => return Some(*summary),
            SoFar::Heard(heard) => heard,
        };
        match self.store.read(session).await {
            Ok(stored) => {
                let mut summary = stored?.summary;
                catch_up(&mut summary, &heard);
                Some(summary)
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, session.id = %session, "profile unknown");
                None
            }
        }
    }

    /// Adds to an observation what the session used so far.
    pub async fn add_to(&self, observation: &mut ResourceObservation, session: &SessionId, now: DateTime<Utc>) {
        let Some(summary) = self.summary(session).await else { return };
        if let Err(invalid) = summary.add_to(observation, now) {
            tracing::error!(error = &invalid as &dyn std::error::Error, session.id = %session, "profile left out");
        }
    }
}
