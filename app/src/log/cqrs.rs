//! cqrs-es' own interface to the log, for programs that are built on that framework and for the contract suite.

use std::collections::HashMap;
use std::sync::Arc;

use cqrs_es::{Aggregate, AggregateContext, AggregateError, DomainEvent as _, EventEnvelope, EventStore};
use domain::Decide;

use super::append::{Append, AppendError, NewEvent};
use super::{Log, LogError};

/// An aggregate and the sequence at which it was loaded.
pub struct LogContext<A> {
    id: String,
    state: A,
    sequence: i64,
    epoch: i32,
}

impl<A: Aggregate> AggregateContext<A> for LogContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.state
    }
}

fn failed<E: std::error::Error>(error: LogError) -> AggregateError<E> {
    match error {
        LogError::Unavailable(error) => AggregateError::DatabaseConnectionError(Box::new(error)),
        corrupt @ LogError::Corrupt { .. } => AggregateError::DeserializationError(Box::new(corrupt)),
    }
}

impl<A: Decide> EventStore<A> for Log {
    type AC = LogContext<A>;

    async fn load_events(&self, aggregate_id: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let mut envelopes = Vec::new();
        let mut after = 0;
        loop {
            let page = self.history(A::TYPE, aggregate_id, after, 1_000).await.map_err(failed)?;
            let Some(last) = page.last() else { return Ok(envelopes) };
            after = last.sequence;
            for recorded in page {
                envelopes.push(EventEnvelope {
                    aggregate_id: recorded.aggregate_id.clone(),
                    sequence: usize::try_from(recorded.sequence).unwrap_or(usize::MAX),
                    payload: recorded.decode().map_err(failed)?,
                    metadata: as_map(&recorded.metadata),
                });
            }
        }
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<Self::AC, AggregateError<A::Error>> {
        let epoch = self.known_epoch().await.map_err(failed)?;
        let (state, sequence) = self
            .load::<A>(aggregate_id)
            .await
            .map_err(failed)?
            .map_or((A::default(), 0), |(state, sequence, _)| (Arc::unwrap_or_clone(state), sequence));
        Ok(LogContext { id: aggregate_id.to_owned(), state, sequence, epoch })
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Self::AC,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let serialised =
            |error| AggregateError::UnexpectedError(Box::new(error) as Box<dyn std::error::Error + Send + Sync>);
        let mut new_events = Vec::with_capacity(events.len());
        for event in &events {
            new_events.push(NewEvent {
                event_id: self.id_generator().uuid(),
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_string(event).map_err(serialised)?,
            });
        }
        let append = Append {
            epoch: context.epoch,
            aggregate_type: A::TYPE,
            aggregate_id: context.id.clone(),
            expected: context.sequence,
            events: new_events,
            metadata: serde_json::to_string(&metadata).map_err(serialised)?.into(),
            dedupe: None,
        };
        self.appender.append(append).await.map_err(|error| match error {
            AppendError::Conflict | AppendError::Repeated(_) => AggregateError::AggregateConflict,
            AppendError::Refused(error) => AggregateError::UnexpectedError(Box::new(error)),
            AppendError::Unavailable(error) => AggregateError::DatabaseConnectionError(Box::new(error)),
        })?;
        let first = usize::try_from(context.sequence).unwrap_or(usize::MAX) + 1;
        Ok(events
            .into_iter()
            .zip(first..)
            .map(|(payload, sequence)| EventEnvelope {
                aggregate_id: context.id.clone(),
                sequence,
                payload,
                metadata: metadata.clone(),
            })
            .collect())
    }
}

fn as_map(metadata: &super::Metadata) -> HashMap<String, String> {
    let members = [
        ("actor", &metadata.actor),
        ("correlation_id", &metadata.correlation_id),
        ("causation_id", &metadata.causation_id),
        ("traceparent", &metadata.traceparent),
    ];
    members.into_iter().filter_map(|(name, value)| value.clone().map(|value| (name.to_owned(), value))).collect()
}
