//! Rows of a view, column by column, with the types that files can hold.

use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// Bytes in memory, about, at which a part is written in any case.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What a column of a view is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    /// True or false.
    Boolean,
    /// 64 bits, signed.
    Integer,
    /// 64 bits, floating.
    Double,
    /// Microseconds since 1970, in UTC.
    Time,
    /// Texts, ids, and whatever else Postgres has, as JSON where it is an array or a document.
    Text,
}

/// A column of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ViewColumn {
    pub(super) name: String,
    pub(super) kind: ColumnType,
    /// How it is read.
    pub(super) expression: String,
}

impl ViewColumn {
    /// A column that comes from no database.
    pub(crate) fn plain(name: &str, kind: ColumnType) -> Self {
        Self { name: name.to_owned(), kind, expression: String::new() }
    }

    /// A column of this type of Postgres, as `format_type` names it.
    pub(super) fn new(name: String, postgres_type: &str) -> Self {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let (kind, expression) = match postgres_type {
            "boolean" => (ColumnType::Boolean, quoted.clone()),
            "smallint" | "integer" | "bigint" => (ColumnType::Integer, format!("{quoted}::bigint")),
            "real" | "double precision" | "numeric" => (ColumnType::Double, format!("{quoted}::double precision")),
            "timestamp with time zone" => (ColumnType::Time, quoted.clone()),
            other if other.ends_with("[]") => (ColumnType::Text, format!("to_jsonb({quoted})::text")),
            _ => (ColumnType::Text, format!("{quoted}::text")),
        };
        Self { name, kind, expression: format!("{expression} AS {quoted}") }
    }
}

/// The values of a column; none where one is null.
#[derive(Debug, Clone)]
pub(super) enum Values {
    Boolean(Vec<Option<bool>>),
    Integer(Vec<Option<i64>>),
    Double(Vec<Option<f64>>),
    Time(Vec<Option<DateTime<Utc>>>),
    Text(Vec<Option<String>>),
}

/// A part of a view in memory.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(super) columns: Vec<ViewColumn>,
    pub(super) values: Vec<Values>,
    pub(crate) rows: usize,
    /// Bytes in memory, about.
    pub(super) bytes: usize,
}

impl Part {
    /// An empty one.
    pub(crate) fn new(columns: &[ViewColumn]) -> Self {
        let values = columns.iter().map(|column| match column.kind {
            ColumnType::Boolean => Values::Boolean(Vec::new()),
            ColumnType::Integer => Values::Integer(Vec::new()),
            ColumnType::Double => Values::Double(Vec::new()),
            ColumnType::Time => Values::Time(Vec::new()),
            ColumnType::Text => Values::Text(Vec::new()),
        });
        Self { values: values.collect(), columns: columns.to_vec(), rows: 0, bytes: 0 }
    }

    /// Takes a row of the view.
    pub(super) fn push(&mut self, row: &PgRow) -> anyhow::Result<()> {
        for (index, values) in self.values.iter_mut().enumerate() {
            self.bytes += 16;
            match values {
                Values::Boolean(values) => values.push(row.try_get(index)?),
                Values::Integer(values) => values.push(row.try_get(index)?),
                Values::Double(values) => values.push(row.try_get(index)?),
                Values::Time(values) => values.push(row.try_get(index)?),
                Values::Text(values) => {
                    let text: Option<String> = row.try_get(index)?;
                    self.bytes += text.as_ref().map_or(0, String::len);
                    values.push(text);
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Takes a row that is a JSON object: members that are no columns are left out, columns without a member are null.
    pub(crate) fn push_json(&mut self, row: &Value) -> anyhow::Result<()> {
        for (column, values) in self.columns.iter().zip(&mut self.values) {
            self.bytes += 16;
            let value = row.get(&column.name).filter(|value| !value.is_null());
            match values {
                Values::Boolean(values) => values.push(value.and_then(Value::as_bool)),
                Values::Integer(values) => values.push(value.and_then(Value::as_i64)),
                Values::Double(values) => values.push(value.and_then(Value::as_f64)),
                Values::Time(values) => {
                    let time = value.and_then(Value::as_str).map(str::parse::<DateTime<Utc>>).transpose();
                    values.push(time.with_context(|| format!("{} is no time", column.name))?);
                }
                Values::Text(values) => {
                    let text = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                    self.bytes += text.as_ref().map_or(0, String::len);
                    values.push(text);
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Whether it is to be written before it takes more.
    pub(crate) fn is_full(&self, most_rows: u32) -> bool {
        self.rows >= most_rows as usize || self.bytes >= MOST_BYTES
    }

    /// A row as JSON.
    pub(super) fn json(&self, row: usize) -> Value {
        let mut members = Map::new();
        for (column, values) in self.columns.iter().zip(&self.values) {
            let value = match values {
                Values::Boolean(values) => values[row].into(),
                Values::Integer(values) => values[row].into(),
                Values::Double(values) => values[row].into(),
                Values::Time(values) => values[row].map(time).into(),
                Values::Text(values) => values[row].clone().into(),
            };
            members.insert(column.name.clone(), value);
        }
        Value::Object(members)
    }

    /// The text of a row's cell; empty where it is unknown.
    pub(super) fn cell(&self, column: usize, row: usize) -> String {
        let text = match &self.values[column] {
            Values::Boolean(values) => values[row].map(|value| value.to_string()),
            Values::Integer(values) => values[row].map(|value| value.to_string()),
            Values::Double(values) => values[row].map(|value| value.to_string()),
            Values::Time(values) => values[row].map(time),
            Values::Text(values) => values[row].clone().map(gateway::csv::harmless),
        };
        text.unwrap_or_default()
    }

    /// The position of a row.
    pub(super) fn position(&self, row: usize) -> anyhow::Result<&str> {
        let column = self.columns.iter().position(|column| column.name == "position");
        match column.map(|column| &self.values[column]) {
            Some(Values::Text(values)) => match &values[row] {
                Some(position) => Ok(position),
                None => bail!("a row has no position"),
            },
            _ => bail!("the view has no positions"),
        }
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
