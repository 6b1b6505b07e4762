//! Rows in memory, and the one way in which they come from Postgres and go there.
//!
//! A fold asks for rows by their keys before a batch, changes them, and knows no SQL. Whoever runs it loads what was asked
//! for and is not in memory, a statement a table, and writes what changed: all tables in one [`statement`], or by `COPY`
//! where a rebuild makes rows that were not there.

pub(crate) mod cell;
pub(crate) mod statement;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use self::cell::{Cell, CellType, UnreadableCell, write_prefixed};
use self::statement::WriteStatement;
use crate::refused::Refused;

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
    /// What it takes in memory.
    fn bytes(&self) -> usize;
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

            fn bytes(&self) -> usize {
                0 $(+ $crate::table::cell::Cell::bytes(&self.$field))*
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

/// Bytes of rows that stay in memory from batch to batch; with more of them all go, and the next batch loads what it needs.
const KEPT_BYTES: usize = 1024 * 1024;

/// Rows of a table by their keys.
#[derive(Debug)]
pub(crate) struct Table<R: StoredRow> {
    slots: HashMap<R::Key, Slot<R>>,
    /// Asked for since the last load.
    wanted: Vec<R::Key>,
    /// Changed or new since the last write.
    unwritten_keys: Vec<R::Key>,
    /// What these took when they were made, or before they were changed.
    unwritten_bytes: usize,
    changes: u64,
    /// What rows took in Postgres' form as they were loaded and written: at least what is in memory.
    bytes: usize,
}

impl<R: StoredRow> Default for Table<R> {
    fn default() -> Self {
        Self {
            slots: HashMap::new(),
            wanted: Vec::new(),
            unwritten_keys: Vec::new(),
            unwritten_bytes: 0,
            changes: 0,
            bytes: 0,
        }
    }
}

impl<R: StoredRow> Table<R> {
    /// Asks for a row.
    pub(crate) fn want(&mut self, key: R::Key) {
        if let Entry::Vacant(slot) = self.slots.entry(key) {
            self.wanted.push(slot.key().clone());
            slot.insert(Slot::Wanted);
        }
    }

    /// Whether a row was asked for, and what is there is in memory or is loaded next.
    pub(crate) fn knows(&self, key: &R::Key) -> bool {
        self.slots.contains_key(key)
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
                if *state == RowState::Stored {
                    self.unwritten_keys.push(key.clone());
                    self.unwritten_bytes += row.bytes();
                }
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
            Entry::Occupied(slot) if !matches!(slot.get(), Slot::Absent) => {
                return Err(Refused::new(format!("{fact}: there is a row of {} already", R::TABLE)));
            }
            slot => {
                self.unwritten_keys.push(slot.key().clone());
                self.unwritten_bytes += row.bytes();
                slot.insert_entry(Slot::Row(row, RowState::New));
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
        let key = row.key();
        self.get(&key)?;
        let state = self.note_change(&key, &row);
        self.slots.insert(key, Slot::Row(row, state));
        self.changes += 1;
        Ok(())
    }

    /// Changes the row of this key, or else this one. What cannot be understood is replaced.
    pub(crate) fn change_or_insert(&mut self, none: R, change: impl FnOnce(&mut R)) {
        let key = none.key();
        let state = self.note_change(&key, &none);
        let mut row = match self.slots.remove(&key) {
            Some(Slot::Row(row, _)) => row,
            Some(Slot::Wanted | Slot::Absent | Slot::Unreadable(_)) | None => none,
        };
        change(&mut row);
        self.slots.insert(key, Slot::Row(row, state));
        self.changes += 1;
    }

    /// Notes that the row of this key is written next time, which takes about as much as `row`, and says what it is after
    /// the change.
    fn note_change(&mut self, key: &R::Key, row: &R) -> RowState {
        let (state, is_noted) = match self.slots.get(key) {
            Some(Slot::Row(_, state)) => (state.after_change(), *state != RowState::Stored),
            Some(Slot::Unreadable(_)) => (RowState::Changed, false),
            Some(Slot::Wanted | Slot::Absent) | None => (RowState::New, false),
        };
        if !is_noted {
            self.unwritten_keys.push(key.clone());
            self.unwritten_bytes += row.bytes();
        }
        state
    }

    /// The rows that are not stored yet, and those that are and have changed.
    fn unwritten(&self) -> (Vec<&R>, Vec<&R>) {
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for key in &self.unwritten_keys {
            match self.slots.get(key) {
                Some(Slot::Row(row, RowState::New)) => new.push(row),
                Some(Slot::Row(row, RowState::Changed)) => changed.push(row),
                Some(Slot::Row(_, RowState::Stored) | Slot::Wanted | Slot::Absent | Slot::Unreadable(_)) | None => {}
            }
        }
        (new, changed)
    }

    /// The rows that changed or are new, for tests of folds.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Vec<&R> {
        let (mut rows, changed) = self.unwritten();
        rows.extend(changed);
        rows
    }
}

/// Rows that are made and never changed.
#[derive(Debug)]
pub(crate) struct AppendOnly<R: StoredRow> {
    rows: Vec<R>,
    bytes: usize,
    changes: u64,
}

impl<R: StoredRow> Default for AppendOnly<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), bytes: 0, changes: 0 }
    }
}

impl<R: StoredRow> AppendOnly<R> {
    /// A further row.
    pub(crate) fn push(&mut self, row: R) {
        self.bytes += row.bytes();
        self.rows.push(row);
        self.changes += 1;
    }

    /// The rows that are not stored yet, for tests of folds.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> &[R] {
        &self.rows
    }
}

/// A table of a read model, whatever its rows.
pub(crate) trait AnyTable: Send {
    /// Loads the rows that were asked for and are not in memory.
    fn load<'a>(&'a mut self, connection: &'a mut PgConnection, schema: &'a str) -> BoxFuture<'a, sqlx::Result<()>>;

    /// Looks nothing up: nothing is stored yet.
    fn expect_nothing_stored(&mut self);

    /// Adds the rows that are new or changed to a statement that writes them.
    fn add_to(&mut self, statement: &mut WriteStatement);

    /// Writes the rows that are new by `COPY`, which pays where there are many; after it they count as stored.
    fn copy<'a>(&'a mut self, connection: &'a mut PgConnection, schema: &'a str) -> BoxFuture<'a, sqlx::Result<()>>;

    /// All rows are stored now as they are in memory.
    fn mark_stored(&mut self);

    /// Rises with every change.
    fn changes(&self) -> u64;

    /// What the rows take in memory, about, that are not stored as they are.
    fn unwritten_bytes(&self) -> usize;
}

impl<R: StoredRow> AnyTable for Table<R> {
    fn load<'a>(&'a mut self, connection: &'a mut PgConnection, schema: &'a str) -> BoxFuture<'a, sqlx::Result<()>> {
        async move {
            let mut keys = vec![ColumnBuffer::default(); R::KEY.len()];
            for key in self.wanted.drain(..) {
                if let Some(slot @ Slot::Wanted) = self.slots.get_mut(&key) {
                    R::write_key(&key, &mut keys);
                    *slot = Slot::Absent;
                }
            }
            if keys.first().is_none_or(|key| key.count == 0) {
                return Ok(());
            }
            self.bytes += keys.iter().map(|key| key.values.len()).sum::<usize>();
            for row in statement::select::<R>(connection, schema, keys).await? {
                self.bytes += statement::bytes(&row)?;
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

    fn expect_nothing_stored(&mut self) {
        for key in self.wanted.drain(..) {
            if let Some(slot @ Slot::Wanted) = self.slots.get_mut(&key) {
                *slot = Slot::Absent;
            }
        }
    }

    fn add_to(&mut self, statement: &mut WriteStatement) {
        let (new, changed) = self.unwritten();
        self.bytes += statement.insert(&new) + statement.update(&changed);
    }

    fn copy<'a>(&'a mut self, connection: &'a mut PgConnection, schema: &'a str) -> BoxFuture<'a, sqlx::Result<()>> {
        async move {
            self.bytes += statement::copy(connection, schema, &self.unwritten().0).await?;
            for key in &self.unwritten_keys {
                if let Some(Slot::Row(_, state @ RowState::New)) = self.slots.get_mut(key) {
                    *state = RowState::Stored;
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn mark_stored(&mut self) {
        self.unwritten_bytes = 0;
        if self.bytes > KEPT_BYTES {
            (self.slots, self.bytes) = (HashMap::new(), 0);
            self.unwritten_keys.clear();
            return;
        }
        for key in self.unwritten_keys.drain(..) {
            if let Some(Slot::Row(_, state)) = self.slots.get_mut(&key) {
                *state = RowState::Stored;
            }
        }
    }

    fn changes(&self) -> u64 {
        self.changes
    }

    fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }
}

impl<R: StoredRow> AnyTable for AppendOnly<R> {
    fn load<'a>(&'a mut self, _: &'a mut PgConnection, _: &'a str) -> BoxFuture<'a, sqlx::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn expect_nothing_stored(&mut self) {}

    fn add_to(&mut self, statement: &mut WriteStatement) {
        statement.insert(&self.rows.iter().collect::<Vec<_>>());
    }

    fn copy<'a>(&'a mut self, connection: &'a mut PgConnection, schema: &'a str) -> BoxFuture<'a, sqlx::Result<()>> {
        async move {
            statement::copy(connection, schema, &self.rows.iter().collect::<Vec<_>>()).await?;
            self.mark_stored();
            Ok(())
        }
        .boxed()
    }

    fn mark_stored(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    fn changes(&self) -> u64 {
        self.changes
    }

    fn unwritten_bytes(&self) -> usize {
        self.bytes
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    rows! {
        struct Note in "notes" by (id: String) {
            id: String,
            text: String,
        }
    }

    fn stored(table: &mut Table<Note>, text: &str) {
        table
            .change_or_insert(Note { id: "a".to_owned(), text: String::new() }, |note| text.clone_into(&mut note.text));
        table.add_to(&mut WriteStatement::new("read_notes"));
        table.mark_stored();
    }

    #[test]
    fn a_row_that_was_written_is_not_loaded_again_and_not_written_again() {
        let mut table = Table::default();
        stored(&mut table, "first");
        table.want(("a".to_owned(),));
        assert!(table.wanted.is_empty());
        assert_eq!(table.get(&("a".to_owned(),)).unwrap().unwrap().text, "first");
        assert!(table.rows().is_empty());
        table.change(&("a".to_owned(),), "it changes").unwrap().text.push('!');
        assert_eq!(table.rows(), [&Note { id: "a".to_owned(), text: "first!".to_owned() }]);
    }

    #[test]
    fn rows_in_memory_are_bounded_in_bytes() {
        let mut table = Table::default();
        stored(&mut table, &"x".repeat(KEPT_BYTES + 1));
        assert!(table.slots.is_empty());
        table.want(("a".to_owned(),));
        assert_eq!(table.wanted, [("a".to_owned(),)], "the next batch loads it");
    }
}
