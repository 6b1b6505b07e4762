//! The statements that read and write rows of tables, all with one array a column.

use std::fmt::Write as _;

use app::log::Position;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnection, PgRow, PgTypeInfo};
use sqlx::{AssertSqlSafe, Postgres, Row as _, Type};

use super::cell::{self, CellType};
use super::{Column, ColumnBuffer, StoredRow};
use crate::checkpoint::Checkpoint;

/// A [`ColumnBuffer`] with its type, to be bound.
struct BoundArray {
    cell_type: CellType,
    buffer: ColumnBuffer,
}

impl Type<Postgres> for BoundArray {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(cell::TEXT.array_oid))
    }

    fn compatible(_: &PgTypeInfo) -> bool {
        true
    }
}

impl Encode<'_, Postgres> for BoundArray {
    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.cell_type.array_oid)))
    }

    fn encode_by_ref(&self, out: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // Dimensions, whether there are nulls, the type of the elements, their number, the index of the first.
        let dimensions = i32::from(self.buffer.count > 0);
        for number in [dimensions, i32::from(self.buffer.has_null)] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.cell_type.oid.to_be_bytes());
        if dimensions > 0 {
            out.extend_from_slice(&self.buffer.count.to_be_bytes());
            out.extend_from_slice(&1_i32.to_be_bytes());
            out.extend_from_slice(&self.buffer.values);
        }
        Ok(IsNull::No)
    }
}

/// The rows with these keys.
pub(super) async fn select<R: StoredRow>(
    connection: &mut PgConnection,
    schema: &str,
    keys: Vec<ColumnBuffer>,
) -> sqlx::Result<Vec<PgRow>> {
    let columns = R::COLUMNS.iter().map(|column| format!("t.{}", column.name)).collect::<Vec<_>>().join(", ");
    let table = R::TABLE;
    let statement = if let [key] = R::KEY {
        let (name, cell_type) = (key.name, key.cell_type.name);
        format!("SELECT {columns} FROM {schema}.{table} t WHERE t.{name} = ANY($1::{cell_type}[])")
    } else {
        let (arrays, names, on_key) = (arrays(R::KEY, 1), names(R::KEY), on_key::<R>("t", "wanted"));
        format!("SELECT {columns} FROM {schema}.{table} t JOIN unnest({arrays}) AS wanted ({names}) ON {on_key}")
    };
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (column, buffer) in R::KEY.iter().zip(keys) {
        query = query.bind(BoundArray { cell_type: column.cell_type, buffer });
    }
    query.fetch_all(connection).await
}

/// Bytes of a row as Postgres sent it.
pub(super) fn bytes(row: &PgRow) -> sqlx::Result<usize> {
    let mut bytes = 0;
    for index in 0..row.len() {
        let raw = row.try_get_raw(index)?;
        if !sqlx::ValueRef::is_null(&raw) {
            bytes += raw.as_bytes().map_err(sqlx::Error::Decode)?.len();
        }
    }
    Ok(bytes)
}

/// Bytes that are sent at a time.
const COPY_BYTES: usize = 256 * 1024;

/// Writes rows that are not stored yet. How many bytes they took.
pub(super) async fn copy<R: StoredRow>(
    connection: &mut PgConnection,
    schema: &str,
    rows: &[&R],
) -> sqlx::Result<usize> {
    if rows.is_empty() {
        return Ok(0);
    }
    let statement = format!("COPY {schema}.{} ({}) FROM STDIN (FORMAT binary)", R::TABLE, names(R::COLUMNS));
    let mut copying = connection.copy_in_raw(&statement).await?;
    // The signature, no flags, no extension of the header.
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let mut sent = 0;
    let columns = i16::try_from(R::COLUMNS.len()).unwrap_or(i16::MAX);
    for row in rows {
        bytes.extend_from_slice(&columns.to_be_bytes());
        row.copy(&mut bytes);
        if bytes.len() >= COPY_BYTES {
            sent += bytes.len();
            copying.send(bytes.as_slice()).await?;
            bytes.clear();
        }
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    sent += bytes.len();
    copying.send(bytes.as_slice()).await?;
    copying.finish().await?;
    Ok(sent)
}

/// One statement that writes the rows of all tables and moves the checkpoint, or does nothing at all: alone it is a
/// transaction, which costs one round trip and is open for no longer than Postgres works.
pub(crate) struct WriteStatement {
    schema: String,
    text: String,
    arrays: Vec<BoundArray>,
    /// Names of the parts that update rows, and how many each has to find.
    updates: Vec<(String, usize)>,
}

impl WriteStatement {
    /// That moves the checkpoint of this schema alone.
    pub(crate) fn new(schema: &str) -> Self {
        let text = format!("WITH moved AS ({})", Checkpoint::move_statement(schema));
        Self { schema: schema.to_owned(), text, arrays: Vec::new(), updates: Vec::new() }
    }

    /// Adds rows that are not stored yet. How many bytes they take.
    pub(super) fn insert<R: StoredRow>(&mut self, rows: &[&R]) -> usize {
        if rows.is_empty() {
            return 0;
        }
        let (schema, table, names) = (&self.schema, R::TABLE, names(R::COLUMNS));
        let arrays = arrays(R::COLUMNS, self.next_parameter());
        let part = format!(
            ", new_{table} AS (INSERT INTO {schema}.{table} ({names})
                SELECT * FROM unnest({arrays}) WHERE EXISTS (SELECT FROM moved))"
        );
        self.text.push_str(&part);
        self.bind(rows)
    }

    /// Adds rows that are stored and have changed. How many bytes they take.
    pub(super) fn update<R: StoredRow>(&mut self, rows: &[&R]) -> usize {
        if rows.is_empty() {
            return 0;
        }
        let is_key = |column: &&Column| R::KEY.iter().any(|key| key.name == column.name);
        let changes = R::COLUMNS.iter().filter(|column| !is_key(column));
        let changes = changes.map(|column| format!("{0} = changed.{0}", column.name)).collect::<Vec<_>>().join(", ");
        let (schema, table, names) = (&self.schema, R::TABLE, names(R::COLUMNS));
        let (arrays, on_key) = (arrays(R::COLUMNS, self.next_parameter()), on_key::<R>("t", "changed"));
        let part = format!(
            ", changed_{table} AS (UPDATE {schema}.{table} t SET {changes} FROM unnest({arrays}) AS changed ({names})
                WHERE {on_key} AND EXISTS (SELECT FROM moved) RETURNING 1)"
        );
        self.text.push_str(&part);
        self.updates.push((format!("changed_{table}"), rows.len()));
        self.bind(rows)
    }

    /// Writes. `None`: the checkpoint is not this one any more, or somebody else is moving it, and nothing was written.
    pub(crate) async fn execute(
        mut self,
        connection: &mut PgConnection,
        from: Checkpoint,
        to: Position,
    ) -> sqlx::Result<Option<Checkpoint>> {
        self.text.push_str(" SELECT 1");
        for (parameter, (part, _)) in (self.next_parameter()..).zip(&self.updates) {
            // Rows that were loaded at a checkpoint are there while it is the same. Should one be missing, a subquery of
            // two rows fails the statement.
            let missing = format!("(SELECT count(*) FROM {part}) <> ${parameter}");
            let _ = write!(self.text, ", (SELECT n FROM generate_series(1, 2) n WHERE {missing})");
        }
        self.text.push_str(" FROM moved");
        let mut query = from.bind_move(sqlx::query(AssertSqlSafe(self.text)), to);
        for array in self.arrays {
            query = query.bind(array);
        }
        for (_, rows) in self.updates {
            query = query.bind(i64::try_from(rows).unwrap_or(i64::MAX));
        }
        Ok(query.fetch_optional(connection).await?.map(|_| from.moved(to)))
    }

    fn next_parameter(&self) -> usize {
        Checkpoint::MOVE_PARAMETERS + self.arrays.len() + 1
    }

    fn bind<R: StoredRow>(&mut self, rows: &[&R]) -> usize {
        let mut columns = vec![ColumnBuffer::default(); R::COLUMNS.len()];
        for row in rows {
            row.write(&mut columns);
        }
        let bytes = columns.iter().map(|column| column.values.len()).sum();
        let typed = R::COLUMNS.iter().zip(columns);
        self.arrays.extend(typed.map(|(column, buffer)| BoundArray { cell_type: column.cell_type, buffer }));
        bytes
    }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// `$1::text[], $2::bigint[], …`, from a parameter on.
fn arrays(columns: &[Column], first: usize) -> String {
    let mut arrays = String::new();
    for (index, column) in columns.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(arrays, "{comma}${}::{}[]", first + index, column.cell_type.name);
    }
    arrays
}

fn on_key<R: StoredRow>(left: &str, right: &str) -> String {
    R::KEY.iter().map(|key| format!("{left}.{0} = {right}.{0}", key.name)).collect::<Vec<_>>().join(" AND ")
}
