//! How to get by the API, by the command line and by SQL what a page shows. Every page names the path of the API that has
//! its content ([`Shell::twin`](super::shell::Shell::twin)); the rest follows from that path.

mod view;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use self::view::View;

/// A read of the API, by the others' names.
struct Read {
    /// Its path; `{}` stands for an id.
    path: &'static str,
    /// The command that reads it; its ids follow in order.
    command: &'static str,
    /// The parameter that the command takes after them, without a name.
    positional: Option<&'static str>,
    /// The option that takes the id, where the command takes none by itself.
    id_option: Option<&'static str>,
    /// The analysts' view of the same.
    view: Option<View>,
}

const fn read(path: &'static str, command: &'static str) -> Read {
    Read { path, command, positional: None, id_option: None, view: None }
}

impl Read {
    /// The same as a view with a row for each.
    const fn listed(self, view: &'static str) -> Self {
        self.viewed(View::rows_of(view))
    }

    /// The same as the rows of a view that have the ids in these columns.
    const fn row_of(self, view: &'static str, keys: &'static [&'static str]) -> Self {
        self.viewed(View::rows_of(view).keyed(keys))
    }

    const fn viewed(self, view: View) -> Self {
        Self { view: Some(view), ..self }
    }
}

/// The list of requests as a view.
const REQUESTS: View = View::rows_of("observation_requests").over("requested_at").by(&[
    ("definition_id", "definition_id"),
    ("worker_id", "worker_id"),
    ("session_id", "session_id"),
    ("status", "outcome"),
]);

/// The list of changes as a view.
const CHANGES: View = View::rows_of("changes").over("recorded_at").by(&[
    ("actor", "actor"),
    ("kind", "aggregate_type"),
    ("id", "aggregate_id"),
]);

/// The reads that pages show. Saved views, sign-ins, dead letters and what controllers tell are for those who run Lablet, and
/// not for analysts.
const READS: &[Read] = &[
    read("/api/overview", "overview").listed("freshness"),
    read("/api/lablet-sessions", "session list").viewed(View::rows_of("sessions").over("created_at")),
    read("/api/lablet-sessions/{}", "session show").row_of("sessions", &["session_id"]),
    read("/api/lablet-sessions/{}/nodes/{}", "session node").row_of("observation_nodes", &["session_id", "node_id"]),
    read("/api/lablet-sessions/{}/profile", "session profile").row_of("session_demands", &["session_id"]),
    read("/api/lablet-sessions/{}/nodes/{}/profile", "session profile")
        .row_of("node_demands", &["session_id", "node_id"]),
    read("/api/lablet-definitions", "definition list").listed("definitions"),
    read("/api/lablet-definitions/{}", "definition show").row_of("definitions", &["definition_id"]),
    read("/api/lablet-definitions/{}/evidence", "definition evidence").row_of("session_evidence", &["definition_id"]),
    read("/api/lablet-definitions/{}/back-test", "definition back-test"),
    read("/api/lablet-definitions/{}/recommendation", "definition recommend")
        .row_of("definition_recommendations", &["definition_id"]),
    read("/api/lablet-definitions/{}/recommendation/explanation", "definition explain"),
    Read { id_option: Some("definition"), ..read("/api/lablet-definitions/{}/advice-policy", "advice policy show") },
    read("/api/advice-policy", "advice policy show"),
    read("/api/sizing-gaps", "definition sizing-gaps").listed("sizing_gaps"),
    read("/api/observation-requests", "observation requests").viewed(REQUESTS),
    read("/api/observation-failures", "observation failures").viewed(REQUESTS.always("outcome = 'failed'")),
    read("/api/controllers", "controller list"),
    read("/api/port-drift", "drift ports").listed("drifted_ports"),
    read("/api/dead-letter-groups", "dead-letters groups"),
    read("/api/discarded-letters", "dead-letters discarded"),
    read("/api/advice-score", "advice score").listed("advice_scores"),
    read("/api/proposals", "proposal list").listed("proposals"),
    read("/api/proposals/{}", "proposal show").row_of("proposals", &["proposal_id"]),
    read("/api/workers", "worker list").listed("workers"),
    read("/api/workers/{}", "worker show").row_of("workers", &["worker_id"]),
    read("/api/activity", "activity").viewed(CHANGES),
    read("/api/events/{}", "event show").row_of("events", &["event_id"]),
    read("/api/operations", "operations").listed("freshness"),
    read("/api/dead-letters", "dead-letters list"),
    read("/api/dead-letters/{}", "dead-letters show"),
    read("/api/sign-ins", "sign-in list"),
    Read { positional: Some("text"), ..read("/api/search", "search") },
    read("/api/cells", "cell list"),
    Read { positional: Some("text"), ..read("/api/cell-hits", "cell search") },
];

/// Parameters that say which page is shown, and not what.
const PAGING: [&str; 3] = ["cursor", "limit", "position"];

/// The same content, by other ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// A request to the API.
    pub(crate) api: String,
    /// A command in a shell.
    pub(crate) command: Option<String>,
    /// A statement for the analysts' database. `None`: it is not in the views, or not by this filter.
    pub(crate) sql: Option<String>,
}

impl Elsewhere {
    /// The same as this path of the API, with its query.
    pub(crate) fn new(twin: &str) -> Self {
        let (path, query) = twin.split_once('?').unwrap_or((twin, ""));
        let filters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .filter(|(name, value)| !PAGING.contains(&name.as_str()) && !value.is_empty())
            .collect();
        let known = READS.iter().find_map(|read| ids(read.path, path).map(|ids| (read, ids)));
        Self {
            api: format!("curl -H \"Authorization: Bearer $LABLET_TOKEN\" \"$LABLET_URL{twin}\""),
            command: known.as_ref().map(|(read, ids)| command(read, ids, &filters)),
            sql: known.as_ref().and_then(|(read, ids)| read.view?.statement(ids, &filters)),
        }
    }
}

/// The ids in a path of this form; `None`: it has another one.
fn ids(form: &str, path: &str) -> Option<Vec<String>> {
    let (mut form, mut path) = (form.split('/'), path.split('/'));
    let mut ids = Vec::new();
    loop {
        match (form.next(), path.next()) {
            (None, None) => return Some(ids),
            (Some("{}"), Some(part)) => ids.push(percent_decode_str(part).decode_utf8_lossy().into_owned()),
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return None,
        }
    }
}

fn command(read: &Read, ids: &[String], filters: &[(String, String)]) -> String {
    let mut command = format!("lablet {}", read.command);
    for id in ids {
        let option = read.id_option.map(|option| format!("--{option} ")).unwrap_or_default();
        command.push_str(&format!(" {option}{}", quoted(id)));
    }
    for (name, value) in filters {
        if read.positional == Some(name) {
            command.push_str(&format!(" {}", quoted(value)));
            continue;
        }
        // As the commands call them: a definition is named by its id anyway.
        let name = name.strip_suffix("_id").unwrap_or(name).replace('_', "-");
        command.push_str(&format!(" --{name} {}", quoted(value)));
    }
    command
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:/@+".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(twin: &str) -> (String, String) {
        let Elsewhere { command, sql, .. } = Elsewhere::new(twin);
        (command.unwrap_or_default(), sql.unwrap_or_default())
    }

    #[test]
    fn a_list_keeps_its_filters_and_leaves_out_the_page() {
        assert_eq!(
            told("/api/lablet-sessions?status=running%2Cready&definition_id=ospf&cursor=7&drift=true"),
            (
                "lablet session list --status running,ready --definition ospf --drift true".to_owned(),
                "SELECT * FROM analytics_v1.sessions WHERE status IN ('running', 'ready') AND definition_id = 'ospf' \
                 AND port_drift_detected;"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_sql_cannot_filter_by_is_left_to_the_others() {
        assert_eq!(
            told("/api/lablet-sessions?last=day&owner_id=ada").1,
            "SELECT * FROM analytics_v1.sessions WHERE created_at >= now() - interval '24 hours' AND owner_id = 'ada';"
        );
        assert_eq!(told("/api/lablet-sessions?last=day&time=changed").1, "");
        assert_eq!(
            told("/api/activity?actor=admin%3Aada&kind=definition&last=week"),
            (
                "lablet activity --actor admin:ada --kind definition --last week".to_owned(),
                "SELECT * FROM analytics_v1.changes WHERE actor = 'admin:ada' AND aggregate_type = 'lablet_definition' AND \
                 recorded_at >= now() - interval '7 days';"
                    .to_owned()
            )
        );
        assert_eq!(
            told("/api/observation-requests?status=failed&worker_id=w1").1,
            "SELECT * FROM analytics_v1.observation_requests WHERE outcome = 'failed' AND worker_id = 'w1';"
        );
        let (command, sql) = told("/api/lablet-sessions?text=it%27s");
        assert_eq!((command.as_str(), sql.as_str()), ("lablet session list --text 'it'\\''s'", ""));
    }

    #[test]
    fn one_thing_is_named_by_its_ids() {
        assert_eq!(
            told("/api/lablet-sessions/s-1/nodes/n%2F2"),
            (
                "lablet session node s-1 n/2".to_owned(),
                "SELECT * FROM analytics_v1.observation_nodes WHERE session_id = 's-1' AND node_id = 'n/2';".to_owned()
            )
        );
        assert_eq!(told("/api/workers/w1").1, "SELECT * FROM analytics_v1.workers WHERE worker_id = 'w1';");
        assert_eq!(told("/api/nothing"), (String::new(), String::new()));
    }
}
