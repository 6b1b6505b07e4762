//! Names beside ids, for people: looked up when a row is read, by the key of the other read model's table, so that a name
//! that changes is new everywhere at once. Null where that read model does not show the thing (yet).

/// The name of the definition whose id this column has.
pub(crate) fn definition(column: &str) -> String {
    format!("(SELECT named.name FROM read_definitions.definitions named WHERE named.id = {column})")
}

/// The name of the worker whose id this column has.
pub(crate) fn worker(column: &str) -> String {
    format!("(SELECT named.name FROM read_workers.workers named WHERE named.id = {column})")
}
