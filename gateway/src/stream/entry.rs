//! One event on its way to the clients of the stream.

use app::log::Position;

use super::AggregateKind;

/// An event, rendered once for all clients.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    /// The type of its CloudEvent.
    pub(crate) event_type: String,
    /// The definition that the event is about, where it names one.
    pub(crate) definition_id: Option<String>,
    /// What goes into `data:`, one line of JSON.
    pub(crate) json: String,
}

/// Which events a client wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) aggregate: Option<AggregateKind>,
    pub(crate) session_id: Option<String>,
    pub(crate) definition_id: Option<String>,
}

impl Filter {
    /// Whether the client wants this one.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        let of_session = |id: &String| entry.aggregate_type == "lablet_session" && entry.aggregate_id == *id;
        self.aggregate.is_none_or(|kind| entry.aggregate_type == kind.as_str())
            && self.session_id.as_ref().is_none_or(of_session)
            && self.definition_id.as_ref().is_none_or(|id| entry.definition_id.as_ref() == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(aggregate_type: &str, aggregate_id: &str, definition_id: Option<&str>) -> Entry {
        Entry {
            position: Position::START,
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: aggregate_id.to_owned(),
            event_type: format!("io.lablet.{aggregate_type}.created.v1"),
            definition_id: definition_id.map(str::to_owned),
            json: "{}".to_owned(),
        }
    }

    #[test]
    fn a_filter_lets_through_what_it_names() {
        let session = entry("lablet_session", "s1", Some("d1"));
        let definition = entry("lablet_definition", "d1", Some("d1"));
        let worker = entry("worker", "s1", None);
        let by = |aggregate, session: Option<&str>, definition: Option<&str>| Filter {
            aggregate,
            session_id: session.map(str::to_owned),
            definition_id: definition.map(str::to_owned),
        };
        let wanted = |filter: Filter| [&session, &definition, &worker].map(|entry| filter.wants(entry));
        assert_eq!(wanted(Filter::default()), [true, true, true]);
        assert_eq!(wanted(by(Some(AggregateKind::Worker), None, None)), [false, false, true]);
        assert_eq!(wanted(by(None, Some("s1"), None)), [true, false, false]);
        assert_eq!(wanted(by(None, None, Some("d1"))), [true, true, false]);
    }
}
