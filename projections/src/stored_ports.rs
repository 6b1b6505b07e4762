//! Ports as columns hold them, in SQL that no value of a column can fail: what is no map of ports holds none.

/// The members of a JSON column, as `key` and `value` of `alias`.
pub(crate) fn members(column: &str, alias: &str) -> String {
    format!("jsonb_each(CASE WHEN jsonb_typeof({column}) = 'object' THEN {column} ELSE '{{}}' END) {alias}")
}

/// A text as the number of a port, else null.
pub(crate) fn number(text: &str) -> String {
    format!("CASE WHEN {text} ~ '^\\d{{1,5}}$' THEN ({text})::bigint END")
}
