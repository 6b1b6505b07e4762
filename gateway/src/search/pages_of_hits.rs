//! Where what a search found is shown.

use projections::search::{SearchHit, SearchKind};

use crate::pages::parts::encoded;

/// Where a hit's page is.
pub(crate) fn page_of(hit: &SearchHit) -> String {
    let id = encoded(&hit.id);
    let session = || hit.session_id.as_ref().map(ToString::to_string).unwrap_or_default();
    match (hit.kind, &hit.worker_id) {
        (SearchKind::Session, _) => format!("/sessions/{id}"),
        (SearchKind::Definition, _) => format!("/definitions/{id}"),
        (SearchKind::Worker, _) => format!("/workers/{id}"),
        (SearchKind::Event, _) => format!("/events/{id}"),
        (SearchKind::Port, Some(worker)) => format!("/workers/{}?text={id}#port-map", worker),
        (SearchKind::Port, None) => format!("/sessions/{}#ports", session()),
        (SearchKind::Node, _) => format!("/sessions/{}/nodes/{id}", session()),
        (SearchKind::Owner, _) => format!("/sessions?text={id}"),
        (SearchKind::Request, _) => format!("/sessions/{}?request={id}#requests", session()),
        (SearchKind::DeadLetter, _) => format!("/operations/dead-letters/{id}"),
    }
}

/// The word for what a hit is.
pub(crate) fn kind(kind: SearchKind) -> &'static str {
    match kind {
        SearchKind::Session => "session",
        SearchKind::Definition => "definition",
        SearchKind::Worker => "worker",
        SearchKind::Event => "event",
        SearchKind::Port => "port",
        SearchKind::Node => "node",
        SearchKind::Owner => "owner",
        SearchKind::Request => "request",
        SearchKind::DeadLetter => "dead letter",
    }
}

#[cfg(test)]
mod tests {
    use domain::{SessionId, WorkerId};

    use super::*;

    #[test]
    fn a_hit_leads_to_where_it_is_shown() {
        let hit = |kind, worker: Option<&str>| SearchHit {
            kind,
            id: "5041".to_owned(),
            title: "PC_serial".to_owned(),
            detail: None,
            lab_title: None,
            session_id: SessionId::parse("s1").ok(),
            worker_id: worker.and_then(|id| WorkerId::parse(id).ok()),
        };
        let pages = [
            page_of(&hit(SearchKind::Port, Some("w1"))),
            page_of(&hit(SearchKind::Port, None)),
            page_of(&hit(SearchKind::Node, None)),
            page_of(&hit(SearchKind::Request, None)),
            page_of(&hit(SearchKind::Owner, None)),
        ];
        assert_eq!(
            pages,
            [
                "/workers/w1?text=5041#port-map",
                "/sessions/s1#ports",
                "/sessions/s1/nodes/5041",
                "/sessions/s1?request=5041#requests",
                "/sessions?text=5041",
            ]
        );
    }
}
