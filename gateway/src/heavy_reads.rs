//! Reads that cost much and may be a little behind: lists, searches and files. They go to the replica where there is one.
//!
//! A read that names a position waits for it at the replica for a moment, and then goes to the primary. A replica that is
//! away, too far behind, or fails in the middle of a read costs no answer: the primary gives it. Where it was read, the
//! answer says.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aide::OperationInput;
use app::log::{Log, Position};
use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use projections::ReadModel;
use projections::replica::Replica;

use crate::position::Since;
use crate::problem::Problem;
use crate::queries::Queries;

/// Header that says where an answer was read.
const LABLET_READ_FROM: &str = "lablet-read-from";
/// How long a read waits at the replica for the position that it names.
const WAIT_AT_REPLICA: Duration = Duration::from_secs(1);

/// The replica, where one is configured.
#[derive(Clone)]
pub(crate) struct ConfiguredReplica(pub(crate) Option<Replica>);

/// Where a request is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Primary,
    /// So far behind the primary.
    Replica(Duration),
}

/// Where a request was read, for its answer: found out by the handler, told by whoever sends the answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadFrom(Arc<Mutex<Option<Source>>>);

impl ReadFrom {
    fn keep(&self, source: Source) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    fn source(&self) -> Option<Source> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says it in the answer's headers, where it was a question.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let value = match self.source() {
            None => return,
            Some(Source::Primary) => "primary".to_owned(),
            Some(Source::Replica(lag)) => format!("replica; lag={:.3}", lag.as_secs_f64()),
        };
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(LABLET_READ_FROM, value);
        }
    }

    /// Says it at the foot of a page, where it was a question.
    pub(crate) fn words(&self) -> Option<String> {
        Some(match self.source()? {
            Source::Primary => "Read from the primary".to_owned(),
            Source::Replica(lag) => format!("Read from the replica, {:.1} s behind", lag.as_secs_f64()),
        })
    }
}

/// Reads of one request.
pub(crate) struct HeavyReads {
    queries: Queries,
    replica: Option<Replica>,
    /// What the page around them says that it shows.
    shown: Option<Position>,
    told: ReadFrom,
}

impl HeavyReads {
    /// The same for a page that says that it shows everything up to here.
    #[must_use]
    pub(crate) fn showing(self, position: Position) -> Self {
        Self { shown: Some(position), ..self }
    }

    /// The log: of the primary in any case.
    pub(crate) fn log(&self) -> &Log {
        self.queries.log()
    }

    /// Reads from wherever these read models are where the caller wants them.
    ///
    /// # Errors
    /// Those of `ask`, and those of [`Since::reached`].
    pub(crate) async fn read<T, E, F>(
        &self,
        since: Since,
        models: &[ReadModel],
        ask: impl Fn(Queries) -> F,
    ) -> Result<T, Problem>
    where
        E: Into<Problem>,
        F: Future<Output = Result<T, E>>,
    {
        if let Some(replica) = &self.replica
            && let Some((queries, lag)) = self.replica_at(replica, since, models).await?
        {
            self.told.keep(Source::Replica(lag));
            match ask(queries).await.map_err(Into::into) {
                Err(problem) if problem.kind().status().is_server_error() => {
                    tracing::warn!(reason = problem.document().detail, "replica failed, reading the primary");
                    replica.distrust("a read of it failed");
                }
                answered => return answered,
            }
        }
        if self.replica.is_some() {
            self.told.keep(Source::Primary);
        }
        since.reached(&self.queries, models).await?;
        ask(self.queries.clone()).await.map_err(Into::into)
    }

    /// The replica, where it is to be read and shows what is needed.
    async fn replica_at(
        &self,
        replica: &Replica,
        since: Since,
        models: &[ReadModel],
    ) -> Result<Option<(Queries, Duration)>, Problem> {
        let Some((projections, lag)) = replica.reads() else { return Ok(None) };
        let queries = self.queries.reading(projections, WAIT_AT_REPLICA);
        // What the replica does not answer, the primary does.
        if let Some(shown) = self.shown
            && !queries.have_reached(models, shown).await.unwrap_or(false)
        {
            return Ok(None);
        }
        match since.reached(&queries, models).await {
            Ok(_) => Ok(Some((queries, lag))),
            Err(problem) if problem.kind().status().is_server_error() => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

impl<S> FromRequestParts<S> for HeavyReads
where
    S: Send + Sync,
    Queries: FromRef<S>,
    ConfiguredReplica: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let ConfiguredReplica(replica) = ConfiguredReplica::from_ref(state);
        let told = parts.extensions.get::<ReadFrom>().cloned().unwrap_or_default();
        Ok(Self { queries: Queries::from_ref(state), replica, shown: None, told })
    }
}

impl OperationInput for HeavyReads {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_was_read_is_said_where_it_was_a_question() {
        let told = |source: Option<Source>| {
            let read_from = ReadFrom::default();
            if let Some(source) = source {
                read_from.keep(source);
            }
            let mut headers = HeaderMap::new();
            read_from.tell(&mut headers);
            (headers.get(LABLET_READ_FROM).map(|value| value.to_str().unwrap().to_owned()), read_from.words())
        };
        assert_eq!(told(None), (None, None));
        let primary = (Some("primary".to_owned()), Some("Read from the primary".to_owned()));
        assert_eq!(told(Some(Source::Primary)), primary);
        let replica = (Some("replica; lag=0.412".to_owned()), Some("Read from the replica, 0.4 s behind".to_owned()));
        assert_eq!(told(Some(Source::Replica(Duration::from_millis(412)))), replica);
    }
}
