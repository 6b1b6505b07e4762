//! What a path of the API shows, as a statement over the analysts' views.

/// A view, and which of its rows are meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    name: &'static str,
    /// Columns that have the ids of the path.
    keys: &'static [&'static str],
    /// What holds of every row that is shown, whatever is asked for.
    always: Option<&'static str>,
    /// The column of which `last`, `from` and `before` speak.
    time: Option<&'static str>,
    /// Filters by a column, each with its own name or another one in the view.
    columns: &'static [(&'static str, &'static str)],
}

/// Filters that are columns of the same name in most views.
const SAME: &[(&str, &str)] = &[
    ("definition_id", "definition_id"),
    ("worker_id", "worker_id"),
    ("session_id", "session_id"),
    ("owner_id", "owner_id"),
    ("status", "status"),
];

impl View {
    /// A row for each.
    pub(super) const fn rows_of(name: &'static str) -> Self {
        Self { name, keys: &[], always: None, time: None, columns: SAME }
    }

    /// The rows that have the path's ids in these columns.
    pub(super) const fn keyed(self, keys: &'static [&'static str]) -> Self {
        Self { keys, ..self }
    }

    /// Those alone of which this holds.
    pub(super) const fn always(self, condition: &'static str) -> Self {
        Self { always: Some(condition), ..self }
    }

    /// Ranges of time are of this column.
    pub(super) const fn over(self, time: &'static str) -> Self {
        Self { time: Some(time), ..self }
    }

    /// These filters are columns, and no others.
    pub(super) const fn by(self, columns: &'static [(&'static str, &'static str)]) -> Self {
        Self { columns, ..self }
    }

    /// The statement; `None`: the view cannot be filtered so.
    pub(super) fn statement(&self, ids: &[String], filters: &[(String, String)]) -> Option<String> {
        let mut conditions: Vec<String> = self.always.iter().map(|condition| (*condition).to_owned()).collect();
        conditions.extend(self.keys.iter().zip(ids).map(|(key, id)| format!("{key} = {}", literal(id))));
        // Of another time than the one that is meant unless stated, the view says nothing.
        let time = self.time.filter(|_| filters.iter().all(|(name, _)| name != "time"));
        for (name, value) in filters.iter().filter(|(name, _)| name != "sort") {
            conditions.push(self.condition(name, value, time)?);
        }
        let condition =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        Some(format!("SELECT * FROM analytics_v1.{}{condition};", self.name))
    }

    fn condition(&self, name: &str, value: &str, time: Option<&str>) -> Option<String> {
        if let Some((_, column)) = self.columns.iter().find(|(filter, _)| *filter == name) {
            let values: Vec<String> = value.split(',').map(|value| literal(stored(column, value))).collect();
            return Some(match &values[..] {
                [value] => format!("{column} = {value}"),
                _ => format!("{column} IN ({})", values.join(", ")),
            });
        }
        match name {
            "drift" if self.name == "sessions" => drift(value).map(ToOwned::to_owned),
            "last" => Some(format!("{} >= now() - interval '{}'", time?, interval(value)?)),
            "from" => Some(format!("{} >= {}", time?, literal(value))),
            "before" => Some(format!("{} < {}", time?, literal(value))),
            _ => None,
        }
    }
}

/// As the view has a value that the API calls otherwise.
fn stored<'a>(column: &str, value: &'a str) -> &'a str {
    match (column, value) {
        ("aggregate_type", "session") => "lablet_session",
        ("aggregate_type", "definition") => "lablet_definition",
        ("aggregate_type", "policy") => "advice_policy",
        _ => value,
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn interval(last: &str) -> Option<&'static str> {
    Some(match last {
        "hour" => "1 hour",
        "day" => "24 hours",
        "week" => "7 days",
        "month" => "30 days",
        _ => return None,
    })
}

/// How the ports of a session stand.
fn drift(state: &str) -> Option<&'static str> {
    Some(match state {
        "true" => "port_drift_detected",
        "false" => "NOT port_drift_detected",
        "open" => "port_drift_detected AND coalesce(port_drift_acknowledged_until <= now(), true)",
        "acknowledged" => "port_drift_detected AND port_drift_acknowledged_until > now()",
        "unknown" => "port_drift_detected IS NULL",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn filters_are_conditions_and_what_is_none_makes_no_statement() {
        let view = View::rows_of("observation_requests").always("outcome = 'failed'").over("requested_at");
        let statement = |given: &[(&str, &str)]| view.statement(&[], &filters(given));
        assert_eq!(
            statement(&[("worker_id", "w1"), ("last", "day"), ("before", "2026-03-01T10:00:00Z")]).unwrap(),
            "SELECT * FROM analytics_v1.observation_requests WHERE outcome = 'failed' AND worker_id = 'w1' AND \
             requested_at >= now() - interval '24 hours' AND requested_at < '2026-03-01T10:00:00Z';"
        );
        assert_eq!(statement(&[("text", "x")]), None);
        assert_eq!(statement(&[("time", "changed"), ("last", "day")]), None);
        assert_eq!(View::rows_of("workers").statement(&[], &filters(&[("last", "day")])), None, "it has no time");
    }

    #[test]
    fn every_state_of_a_drift_is_a_condition() {
        for state in projections::read_models::sessions::DriftFilter::ALL {
            assert!(drift(state.as_str()).is_some(), "{}", state.as_str());
        }
        for last in crate::recent::Recent::ALL {
            assert!(interval(last.as_str()).is_some(), "{}", last.as_str());
        }
    }
}
