//! Files of an export: complete or not there.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::column::{ColumnType, Part, Values};

/// What files are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// Apache Parquet: types are kept, times are in UTC.
    Parquet,
    /// Comma-separated values with a header; empty where a value is unknown.
    Csv,
    /// One JSON document a line.
    Jsonl,
}

impl FileFormat {
    /// The end of the name of its files.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// Writes a file under another name first: what is there is complete, whenever this is killed.
    pub(super) fn write(self, part: &Part, target: &Path) -> anyhow::Result<()> {
        let draft = target.with_extension(format!("{}.part", self.extension()));
        let failed = || format!("{} cannot be written", draft.display());
        let file = File::create(&draft).with_context(failed)?;
        let file = match self {
            Self::Parquet => parquet(part, file),
            Self::Csv => csv(part, file),
            Self::Jsonl => json_lines(part, file),
        };
        file.and_then(|file| Ok(file.sync_all()?)).with_context(failed)?;
        std::fs::rename(&draft, target).with_context(|| format!("{} cannot be written", target.display()))?;
        // The name lasts once its folder is written.
        let folder = target.parent().context("a file has no folder")?;
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)
    }
}

fn csv(part: &Part, file: File) -> anyhow::Result<File> {
    let mut writer = csv::Writer::from_writer(file);
    writer.write_record(part.columns.iter().map(|column| &column.name))?;
    for row in 0..part.rows {
        writer.write_record((0..part.columns.len()).map(|column| part.cell(column, row)))?;
    }
    writer.into_inner().map_err(|error| anyhow::Error::new(error.into_error()))
}

fn json_lines(part: &Part, file: File) -> anyhow::Result<File> {
    let mut writer = BufWriter::new(file);
    for row in 0..part.rows {
        writeln!(writer, "{}", part.json(row))?;
    }
    writer.into_inner().map_err(|error| anyhow::Error::new(error.into_error()))
}

fn parquet(part: &Part, file: File) -> anyhow::Result<File> {
    let columns: Vec<String> = part
        .columns
        .iter()
        .map(|column| {
            let kind = match column.kind {
                ColumnType::Boolean => ("BOOLEAN", ""),
                ColumnType::Integer => ("INT64", ""),
                ColumnType::Double => ("DOUBLE", ""),
                ColumnType::Time => ("INT64", " (TIMESTAMP(MICROS,true))"),
                ColumnType::Text => ("BYTE_ARRAY", " (STRING)"),
            };
            format!("OPTIONAL {} {}{};", kind.0, column.name, kind.1)
        })
        .collect();
    let schema = parse_message_type(&format!("message view {{ {} }}", columns.join(" ")))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for values in &part.values {
        let mut column = group.next_column()?.context("a column is missing")?;
        write_column(&mut column, values)?;
        column.close()?;
    }
    group.close()?;
    Ok(writer.into_inner()?)
}

fn write_column(column: &mut SerializedColumnWriter<'_>, values: &Values) -> anyhow::Result<()> {
    // A value that is there is at level 1, null at 0.
    fn levels<T>(values: &[Option<T>]) -> Vec<i16> {
        values.iter().map(|value| i16::from(value.is_some())).collect()
    }
    match values {
        Values::Boolean(values) => {
            let known: Vec<bool> = values.iter().flatten().copied().collect();
            column.typed::<BoolType>().write_batch(&known, Some(&levels(values)), None)?;
        }
        Values::Integer(values) => {
            let known: Vec<i64> = values.iter().flatten().copied().collect();
            column.typed::<Int64Type>().write_batch(&known, Some(&levels(values)), None)?;
        }
        Values::Double(values) => {
            let known: Vec<f64> = values.iter().flatten().copied().collect();
            column.typed::<DoubleType>().write_batch(&known, Some(&levels(values)), None)?;
        }
        Values::Time(values) => {
            let known: Vec<i64> = values.iter().flatten().map(chrono::DateTime::timestamp_micros).collect();
            column.typed::<Int64Type>().write_batch(&known, Some(&levels(values)), None)?;
        }
        Values::Text(values) => {
            let known: Vec<ByteArray> = values.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
            column.typed::<ByteArrayType>().write_batch(&known, Some(&levels(values)), None)?;
        }
    }
    Ok(())
}
