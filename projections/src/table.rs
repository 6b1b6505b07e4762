//! Rows in memory, and the one way in which they come from Postgres and go there.
//!
//! A fold asks for rows by their keys before a batch, changes them, and knows no SQL. Whoever runs it loads what was asked
//! for and writes what changed, one statement a table, or `COPY` where a rebuild makes rows that were not there.

pub(crate) mod cell;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::hash::Hash;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnection, PgRow, PgTypeInfo};
use sqlx::{AssertSqlSafe, Postgres, Row as _, Type};

use self::cell::{Cell, CellType, UnreadableCell, write_prefixed};
use crate::projector::Refused;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) cell_type: CellType,
}

/// A row of a table of a read model. [`rows!`] writes it.
pub(crate) trait StoredRow: Send + Sync + Sized + 'static {
    /// The table, without its schema.
    const TABLE: &'static str;
    const COLUMNS: &'static [Column];
    /// Columns of the key.
    const KEY: &'static [Column];
    type Key: Clone + Eq + Hash + Send + Sync;

    fn key(&self) -> Self::Key;
    fn write_key(key: &Self::Key, out: &mut [ColumnBuffer]);
    /// A value for each column.
    fn write(&self, out: &mut [ColumnBuffer]);
    /// The values one after the other, with their lengths.
    fn copy(&self, out: &mut Vec<u8>);
    fn read(row: &PgRow) -> sqlx::Result<Result<Self, UnreadableColumn>>;
}

/// A column of a stored row that this build does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of {table} {cell}")]
pub(crate) struct UnreadableColumn {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) cell: UnreadableCell,
}

/// Values of one column, as an array of Postgres.
#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnBuffer {
    count: i32,
    has_null: bool,
    values: Vec<u8>,
}

impl ColumnBuffer {
    pub(crate) fn push(&mut self, cell: &impl Cell) {
        self.count += 1;
        self.has_null |= !write_prefixed(cell, &mut self.values);
    }
}

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

/// Reads one column of a row.
pub(crate) fn read_cell<C: Cell>(
    row: &PgRow,
    index: usize,
    table: &'static str,
    column: &'static str,
) -> sqlx::Result<Result<C, UnreadableColumn>> {
    let raw = row.try_get_raw(index)?;
    let bytes = if sqlx::ValueRef::is_null(&raw) { None } else { Some(raw.as_bytes().map_err(sqlx::Error::Decode)?) };
    Ok(C::read(bytes).map_err(|cell| UnreadableColumn { table, column, cell }))
}

/// Declares rows of tables: each struct with its table, its key and its columns, which are named like its fields.
macro_rules! rows {
    ($(
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident in $table:literal by ($($key:ident: $key_type:ty),+) {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility struct $name {
            $($(#[$field_meta])* $visibility $field: $type,)*
        }

        impl $crate::table::StoredRow for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [$crate::table::Column] = &[$($crate::table::Column {
                name: stringify!($field),
                cell_type: <$type as $crate::table::cell::Cell>::TYPE,
            }),*];
            const KEY: &'static [$crate::table::Column] = &[$($crate::table::Column {
                name: stringify!($key),
                cell_type: <$key_type as $crate::table::cell::Cell>::TYPE,
            }),+];
            type Key = ($($key_type,)+);

            fn key(&self) -> Self::Key {
                ($(self.$key.clone(),)+)
            }

            fn write_key(key: &Self::Key, out: &mut [$crate::table::ColumnBuffer]) {
                let ($($key,)+) = key;
                let mut columns = out.iter_mut();
                $(if let Some(column) = columns.next() { column.push($key); })+
            }

            fn write(&self, out: &mut [$crate::table::ColumnBuffer]) {
                let mut columns = out.iter_mut();
                $(if let Some(column) = columns.next() { column.push(&self.$field); })*
            }

            fn copy(&self, out: &mut Vec<u8>) {
                $($crate::table::cell::write_prefixed(&self.$field, out);)*
            }

            fn read(row: &sqlx::postgres::PgRow) -> sqlx::Result<Result<Self, $crate::table::UnreadableColumn>> {
                let mut index = 0..;
                $(
                    let column = index.next().unwrap_or_default();
                    let $field = match $crate::table::read_cell(row, column, $table, stringify!($field))? {
                        Ok(cell) => cell,
                        Err(unreadable) => return Ok(Err(unreadable)),
                    };
                )*
                Ok(Ok(Self { $($field,)* }))
            }
        }
    )*};
}
pub(crate) use rows;

/// What is in memory for a key.
#[derive(Debug)]
enum Slot<R> {
    /// Asked for, and to be loaded.
    Wanted,
    /// There is no such row.
    Absent,
    Row(R, RowState),
    /// Stored, and not understood.
    Unreadable(UnreadableColumn),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowState {
    /// As it is stored.
    Stored,
    /// Stored, and changed since.
    Changed,
    /// Not stored yet.
    New,
}

impl RowState {
    fn after_change(self) -> Self {
        match self {
            Self::Stored | Self::Changed => Self::Changed,
            Self::New => Self::New,
        }
    }
}

/// Rows of a table by their keys.
#[derive(Debug)]
pub(crate) struct Table<R: StoredRow> {
    slots: HashMap<R::Key, Slot<R>>,
    changes: u64,
}

impl<R: StoredRow> Default for Table<R> {
    fn default() -> Self {
        Self { slots: HashMap::new(), changes: 0 }
    }
}

impl<R: StoredRow> Table<R> {
    /// Asks for a row.
    pub(crate) fn want(&mut self, key: R::Key) {
        self.slots.entry(key).or_insert(Slot::Wanted);
    }

    /// Says that a row is to be made, of which there can be none yet: it need not be looked for.
    pub(crate) fn expect_none(&mut self, key: R::Key) {
        self.slots.entry(key).or_insert(Slot::Absent);
    }

    /// A row, if there is one.
    ///
    /// # Errors
    /// It is stored and cannot be understood, or it was not asked for.
    pub(crate) fn get(&self, key: &R::Key) -> Result<Option<&R>, Refused> {
        match self.slots.get(key) {
            Some(Slot::Row(row, _)) => Ok(Some(row)),
            Some(Slot::Absent) => Ok(None),
            Some(Slot::Unreadable(unreadable)) => Err(Refused::new(format!("the row before it: {unreadable}"))),
            Some(Slot::Wanted) | None => Err(Refused::new(format!("a row of {} was not asked for", R::TABLE))),
        }
    }

    /// A row to be changed, which has to be there.
    ///
    /// # Errors
    /// There is none, or it cannot be understood.
    pub(crate) fn change(&mut self, key: &R::Key, fact: &str) -> Result<&mut R, Refused> {
        self.get(key)?;
        match self.slots.get_mut(key) {
            Some(Slot::Row(row, state)) => {
                *state = state.after_change();
                self.changes += 1;
                Ok(row)
            }
            Some(Slot::Wanted | Slot::Absent | Slot::Unreadable(_)) | None => {
                Err(Refused::new(format!("{fact}: there is no row of {} to change", R::TABLE)))
            }
        }
    }

    /// A new row, of whose key there must be none.
    ///
    /// # Errors
    /// There is one.
    pub(crate) fn insert(&mut self, row: R, fact: &str) -> Result<(), Refused> {
        match self.slots.entry(row.key()) {
            Entry::Occupied(mut slot) if matches!(slot.get(), Slot::Absent) => {
                slot.insert(Slot::Row(row, RowState::New));
            }
            Entry::Occupied(_) => {
                return Err(Refused::new(format!("{fact}: there is a row of {} already", R::TABLE)));
            }
            Entry::Vacant(slot) => {
                slot.insert(Slot::Row(row, RowState::New));
            }
        }
        self.changes += 1;
        Ok(())
    }

    /// A row in place of the one of its key, or a new one.
    ///
    /// # Errors
    /// The one that is stored cannot be understood.
    pub(crate) fn put(&mut self, row: R) -> Result<(), Refused> {
        self.get(&row.key())?;
        let state = self.state_after_change(&row.key());
        self.slots.insert(row.key(), Slot::Row(row, state));
        self.changes += 1;
        Ok(())
    }

    /// Changes the row of this key, or else this one. What cannot be understood is replaced.
    pub(crate) fn change_or_insert(&mut self, none: R, change: impl FnOnce(&mut R)) {
        let key = none.key();
        let state = self.state_after_change(&key);
        let mut row = match self.slots.remove(&key) {
            Some(Slot::Row(row, _)) => row,
            Some(Slot::Wanted | Slot::Absent | Slot::Unreadable(_)) | None => none,
        };
        change(&mut row);
        self.slots.insert(key, Slot::Row(row, state));
        self.changes += 1;
    }

    fn state_after_change(&self, key: &R::Key) -> RowState {
        match self.slots.get(key) {
            Some(Slot::Row(_, state)) => state.after_change(),
            Some(Slot::Unreadable(_)) => RowState::Changed,
            Some(Slot::Wanted | Slot::Absent) | None => RowState::New,
        }
    }

    /// The rows that changed or are new, for tests of folds.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Vec<&R> {
        let written = self.slots.values().filter_map(|slot| match slot {
            Slot::Row(_, RowState::Stored) | Slot::Wanted | Slot::Absent | Slot::Unreadable(_) => None,
            Slot::Row(row, RowState::Changed | RowState::New) => Some(row),
        });
        written.collect()
    }
}

/// Rows that are made and never changed.
#[derive(Debug)]
pub(crate) struct AppendOnly<R: StoredRow> {
    pub(crate) rows: Vec<R>,
}

impl<R: StoredRow> Default for AppendOnly<R> {
    fn default() -> Self {
        Self { rows: Vec::new() }
    }
}

/// How rows that are not stored yet are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteMode {
    /// By a statement.
    Insert,
    /// By `COPY`, which pays where there are many.
    Copy,
}

/// A table of a read model, whatever its rows.
pub(crate) trait AnyTable: Send {
    /// Loads the rows that were asked for and are not in memory.
    fn load<'a>(&'a mut self, connection: &'a mut PgConnection, schema: &'a str) -> BoxFuture<'a, sqlx::Result<()>>;

    /// Writes the rows that changed, in the connection's transaction.
    fn write<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: &'a str,
        mode: WriteMode,
    ) -> BoxFuture<'a, sqlx::Result<()>>;

    /// Rises with every change.
    fn changes(&self) -> u64;

    /// Looks nothing up: nothing is stored yet.
    fn expect_nothing_stored(&mut self);
}

impl<R: StoredRow> AnyTable for Table<R> {
    fn load<'a>(&'a mut self, connection: &'a mut PgConnection, schema: &'a str) -> BoxFuture<'a, sqlx::Result<()>> {
        async move {
            let mut keys = vec![ColumnBuffer::default(); R::KEY.len()];
            for (key, slot) in &mut self.slots {
                if let Slot::Wanted = slot {
                    R::write_key(key, &mut keys);
                    *slot = Slot::Absent;
                }
            }
            if keys.first().is_none_or(|key| key.count == 0) {
                return Ok(());
            }
            let statement = AssertSqlSafe(select_statement::<R>(schema));
            let mut query = sqlx::query(statement);
            for (column, buffer) in R::KEY.iter().zip(keys) {
                query = query.bind(BoundArray { cell_type: column.cell_type, buffer });
            }
            for row in query.fetch_all(connection).await? {
                match R::read(&row)? {
                    Ok(row) => {
                        self.slots.insert(row.key(), Slot::Row(row, RowState::Stored));
                    }
                    Err(unreadable) => {
                        if let Some(key) = read_key::<R>(&row, &self.slots)? {
                            self.slots.insert(key, Slot::Unreadable(unreadable));
                        }
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn write<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: &'a str,
        mode: WriteMode,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        async move {
            let (mut new, mut changed) = (Vec::new(), Vec::new());
            for slot in self.slots.values() {
                match slot {
                    Slot::Row(row, RowState::New) => new.push(row),
                    Slot::Row(row, RowState::Changed) => changed.push(row),
                    Slot::Row(_, RowState::Stored) | Slot::Wanted | Slot::Absent | Slot::Unreadable(_) => {}
                }
            }
            write_new(connection, schema, &new, mode).await?;
            if changed.is_empty() {
                return Ok(());
            }
            let updated = execute(connection, update_statement::<R>(schema), &changed).await?;
            if updated != changed.len() as u64 {
                let text =
                    format!("{updated} rows of {schema}.{} in place of {} were updated", R::TABLE, changed.len());
                return Err(sqlx::Error::Protocol(text));
            }
            Ok(())
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        self.changes
    }

    fn expect_nothing_stored(&mut self) {
        for slot in self.slots.values_mut() {
            if let Slot::Wanted = slot {
                *slot = Slot::Absent;
            }
        }
    }
}

impl<R: StoredRow> AnyTable for AppendOnly<R> {
    fn load<'a>(&'a mut self, _: &'a mut PgConnection, _: &'a str) -> BoxFuture<'a, sqlx::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn write<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: &'a str,
        mode: WriteMode,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        async move { write_new(connection, schema, &self.rows.iter().collect::<Vec<_>>(), mode).await }.boxed()
    }

    fn changes(&self) -> u64 {
        self.rows.len() as u64
    }

    fn expect_nothing_stored(&mut self) {}
}

/// Finds whose row it is that cannot be read: its key is among those that were asked for.
fn read_key<R: StoredRow>(row: &PgRow, asked: &HashMap<R::Key, Slot<R>>) -> sqlx::Result<Option<R::Key>> {
    let mut stored = Vec::new();
    for column in R::KEY {
        let raw = row.try_get_raw(column.name)?;
        stored.push(raw.as_bytes().map_err(sqlx::Error::Decode)?.to_vec());
    }
    let is_it = |key: &&R::Key| {
        let mut buffers = vec![ColumnBuffer::default(); R::KEY.len()];
        R::write_key(key, &mut buffers);
        buffers.iter().zip(&stored).all(|(buffer, stored)| buffer.values.get(4..) == Some(stored.as_slice()))
    };
    Ok(asked.keys().find(is_it).cloned())
}

async fn write_new<R: StoredRow>(
    connection: &mut PgConnection,
    schema: &str,
    rows: &[&R],
    mode: WriteMode,
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    match mode {
        WriteMode::Insert => execute(connection, insert_statement::<R>(schema), rows).await.map(|_| ()),
        WriteMode::Copy => {
            let names = names(R::COLUMNS);
            let statement = format!("COPY {schema}.{} ({names}) FROM STDIN (FORMAT binary)", R::TABLE);
            let mut copying = connection.copy_in_raw(&statement).await?;
            // The signature, no flags, no extension of the header.
            let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
            let columns = i16::try_from(R::COLUMNS.len()).unwrap_or(i16::MAX);
            for row in rows {
                bytes.extend_from_slice(&columns.to_be_bytes());
                row.copy(&mut bytes);
                if bytes.len() >= COPY_BYTES {
                    copying.send(std::mem::take(&mut bytes)).await?;
                }
            }
            bytes.extend_from_slice(&(-1_i16).to_be_bytes());
            copying.send(bytes).await?;
            copying.finish().await?;
            Ok(())
        }
    }
}

/// Bytes that are sent at a time.
const COPY_BYTES: usize = 256 * 1024;

async fn execute<R: StoredRow>(connection: &mut PgConnection, statement: String, rows: &[&R]) -> sqlx::Result<u64> {
    let mut columns = vec![ColumnBuffer::default(); R::COLUMNS.len()];
    for row in rows {
        row.write(&mut columns);
    }
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (column, buffer) in R::COLUMNS.iter().zip(columns) {
        query = query.bind(BoundArray { cell_type: column.cell_type, buffer });
    }
    Ok(query.execute(connection).await?.rows_affected())
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// `$1::text[], $2::bigint[], …`
fn arrays(columns: &[Column]) -> String {
    let mut arrays = String::new();
    for (index, column) in columns.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(arrays, "{comma}${}::{}[]", index + 1, column.cell_type.name);
    }
    arrays
}

fn on_key<R: StoredRow>(left: &str, right: &str) -> String {
    R::KEY.iter().map(|key| format!("{left}.{0} = {right}.{0}", key.name)).collect::<Vec<_>>().join(" AND ")
}

fn select_statement<R: StoredRow>(schema: &str) -> String {
    let columns = R::COLUMNS.iter().map(|column| format!("t.{}", column.name)).collect::<Vec<_>>().join(", ");
    if let [key] = R::KEY {
        let (name, cell_type) = (key.name, key.cell_type.name);
        return format!("SELECT {columns} FROM {schema}.{} t WHERE t.{name} = ANY($1::{cell_type}[])", R::TABLE);
    }
    format!(
        "SELECT {columns} FROM {schema}.{} t JOIN unnest({}) AS wanted ({}) ON {}",
        R::TABLE,
        arrays(R::KEY),
        names(R::KEY),
        on_key::<R>("t", "wanted")
    )
}

fn insert_statement<R: StoredRow>(schema: &str) -> String {
    let names = names(R::COLUMNS);
    format!("INSERT INTO {schema}.{} ({names}) SELECT * FROM unnest({})", R::TABLE, arrays(R::COLUMNS))
}

fn update_statement<R: StoredRow>(schema: &str) -> String {
    let is_key = |column: &&Column| R::KEY.iter().any(|key| key.name == column.name);
    let changes = R::COLUMNS.iter().filter(|column| !is_key(column));
    let changes = changes.map(|column| format!("{0} = changed.{0}", column.name)).collect::<Vec<_>>().join(", ");
    format!(
        "UPDATE {schema}.{} t SET {changes} FROM unnest({}) AS changed ({}) WHERE {}",
        R::TABLE,
        arrays(R::COLUMNS),
        names(R::COLUMNS),
        on_key::<R>("t", "changed")
    )
}
