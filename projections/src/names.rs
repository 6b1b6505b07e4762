//! Names beside ids, for people: looked up when a row is read, by the key of the other read model's table, so that a name
//! that changes is new everywhere at once. Null where that read model does not show the thing (yet).

use std::collections::BTreeSet;

use domain::{DefinitionId, WorkerId};
use sqlx::{Postgres, QueryBuilder};

use crate::{Projections, ReadError};

/// The name of the definition whose id this column has.
pub(crate) fn definition(column: &str) -> String {
    format!("(SELECT named.name FROM read_definitions.definitions named WHERE named.id = {column})")
}

/// The name of the worker whose id this column has.
pub(crate) fn worker(column: &str) -> String {
    format!("(SELECT named.name FROM read_workers.workers named WHERE named.id = {column})")
}

/// A thing that has a name, for lists to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedThing {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Projections {
    /// The definitions that come first by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn definition_names(&self, most: u32) -> Result<Vec<NamedThing>, ReadError> {
        self.named("SELECT id, name FROM read_definitions.definitions ORDER BY lower(name), id LIMIT ", most).await
    }

    /// The workers that come first by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn worker_names(&self, most: u32) -> Result<Vec<NamedThing>, ReadError> {
        self.named("SELECT id, name FROM read_workers.workers ORDER BY lower(name), id LIMIT ", most).await
    }

    async fn named(&self, statement: &'static str, most: u32) -> Result<Vec<NamedThing>, ReadError> {
        let mut query = QueryBuilder::<Postgres>::new(statement);
        query.push_bind(i64::from(most));
        let rows: Vec<(String, String)> = query.build_query_as().fetch_all(&self.reads).await?;
        Ok(rows.into_iter().map(|(id, name)| NamedThing { id, name }).collect())
    }

    /// The name of a definition, where no other one has it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn unique_definition_name(&self, id: &DefinitionId) -> Result<Option<String>, ReadError> {
        self.unique_name("read_definitions.definitions", id.as_str()).await
    }

    /// The name of a worker, where no other one has it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn unique_worker_name(&self, id: &WorkerId) -> Result<Option<String>, ReadError> {
        self.unique_name("read_workers.workers", id.as_str()).await
    }

    async fn unique_name(&self, table: &'static str, id: &str) -> Result<Option<String>, ReadError> {
        let mut query = QueryBuilder::<Postgres>::new(format!("SELECT one.name FROM {table} one WHERE one.id = "));
        query.push_bind(id.to_owned()).push(format!(
            " AND NOT EXISTS (SELECT FROM {table} other WHERE lower(other.name) = lower(one.name) AND other.id <> one.id)"
        ));
        Ok(query.build_query_scalar().fetch_optional(&self.reads).await?)
    }

    /// The names of these definitions, in one statement; those that no read model shows are left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn names_of_definitions(&self, ids: BTreeSet<&str>) -> Result<Vec<NamedThing>, ReadError> {
        self.names_of("SELECT id, name FROM read_definitions.definitions WHERE id = ANY(", ids).await
    }

    /// The names of these workers, in one statement; those that no read model shows are left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn names_of_workers(&self, ids: BTreeSet<&str>) -> Result<Vec<NamedThing>, ReadError> {
        self.names_of("SELECT id, name FROM read_workers.workers WHERE id = ANY(", ids).await
    }

    async fn names_of(&self, statement: &'static str, ids: BTreeSet<&str>) -> Result<Vec<NamedThing>, ReadError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let mut query = QueryBuilder::<Postgres>::new(statement);
        query.push_bind(ids).push(")");
        let rows: Vec<(String, String)> = query.build_query_as().fetch_all(&self.reads).await?;
        Ok(rows.into_iter().map(|(id, name)| NamedThing { id, name }).collect())
    }
}
