//! Printing answers: tables for people, JSON, JSON lines and CSV for programs.

use anyhow::Context as _;
use app::printable::{is_harmless, printable_json};
use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use gateway::csv::harmless;
use serde_json::Value;

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns; `-` where a value is unknown.
    Table,
    /// One indented JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// Comma-separated values with a header; empty where a value is unknown.
    Csv,
}

/// A column: its heading and where its value is in a row (a JSON pointer).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    heading: &'static str,
    pointer: &'static str,
}

/// A column with this heading, whose value is at this JSON pointer.
pub(crate) const fn column(heading: &'static str, pointer: &'static str) -> Column {
    Column { heading, pointer }
}

impl OutputFormat {
    /// Prints rows to standard output.
    pub(crate) fn rows(self, columns: &[Column], rows: &[Value]) -> anyhow::Result<()> {
        self.write_rows(columns, rows, &mut std::io::stdout().lock())
    }

    /// Prints one thing to standard output.
    pub(crate) fn one(self, thing: &Value) -> anyhow::Result<()> {
        self.write_one(thing, &mut std::io::stdout().lock())
    }

    /// Prints a sentence to standard output, beneath a table; to programs nothing.
    pub(crate) fn remark(self, text: &str) -> anyhow::Result<()> {
        if self == Self::Table {
            let shown: String = text.chars().filter(|character| is_harmless(*character)).collect();
            std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{shown}\n"))?;
        }
        Ok(())
    }

    /// Prints a file to standard output as it is, whatever the format. Text that could steer a terminal is left out.
    pub(crate) fn file(self, text: &str) -> anyhow::Result<()> {
        let is_kept = |character: &char| *character == '\n' || is_harmless(*character);
        let shown: String = text.chars().filter(is_kept).collect();
        std::io::Write::write_all(&mut std::io::stdout().lock(), shown.as_bytes())?;
        Ok(())
    }

    fn write_rows(self, columns: &[Column], rows: &[Value], out: &mut impl std::io::Write) -> anyhow::Result<()> {
        match self {
            Self::Table => {
                let mut table = bare_table();
                table.set_header(columns.iter().map(|column| column.heading));
                for row in rows {
                    table.add_row(columns.iter().map(|column| table_cell(row.pointer(column.pointer))));
                }
                writeln!(out, "{}", close_up(table))?;
            }
            Self::Json => writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(rows)?))?,
            Self::Jsonl => rows.iter().try_for_each(|row| writeln!(out, "{}", printable_json(&row.to_string())))?,
            Self::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                let names = columns.iter().map(|column| column.pointer.trim_start_matches('/').replace('/', "."));
                writer.write_record(names)?;
                for row in rows {
                    writer.write_record(columns.iter().map(|column| csv_cell(row.pointer(column.pointer))))?;
                }
                writer.flush().context("standard output cannot be written")?;
            }
        }
        Ok(())
    }

    fn write_one(self, thing: &Value, out: &mut impl std::io::Write) -> anyhow::Result<()> {
        match self {
            Self::Json => writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(thing)?))?,
            Self::Jsonl => writeln!(out, "{}", printable_json(&thing.to_string()))?,
            Self::Table => {
                let mut table = bare_table();
                for (name, value) in thing.as_object().into_iter().flatten() {
                    table.add_row([name.clone(), table_cell(Some(value))]);
                }
                writeln!(out, "{}", close_up(table))?;
            }
            Self::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                let members = thing.as_object().context("the answer is no JSON object")?;
                writer.write_record(members.keys().map(|name| harmless(name.clone())))?;
                writer.write_record(members.values().map(|value| csv_cell(Some(value))))?;
                writer.flush().context("standard output cannot be written")?;
            }
        }
        Ok(())
    }
}

fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The table's text, without a margin before the first column.
fn close_up(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A value in a table. Of a number that is not whole, no more than four digits after the point: files have them all.
fn table_cell(value: Option<&Value>) -> String {
    match value.and_then(Value::as_f64) {
        Some(number) if number.fract() != 0.0 => {
            let rounded = format!("{number:.4}");
            rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => cell(value, "-"),
    }
}

/// A value in a file that a spreadsheet may open; empty where it is unknown.
fn csv_cell(value: Option<&Value>) -> String {
    harmless(cell(value, ""))
}

/// A value as a person reads it. Text that could steer a terminal is shown without its control characters.
fn cell(value: Option<&Value>, unknown: &str) -> String {
    let text = match value {
        None | Some(Value::Null) => return unknown.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    text.chars().map(|character| if is_harmless(character) { character } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[column("ID", "/id"), column("CORES", "/total/cores")];

    fn printed(format: OutputFormat, rows: &[Value]) -> String {
        let mut out = Vec::new();
        format.write_rows(COLUMNS, rows, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_are_printed_in_each_format_and_unknown_is_never_zero() {
        let rows =
            [json!({"id": "a", "total": {"cores": 1.5}}), json!({"id": "b,\u{1b}[31m", "total": {"cores": null}})];
        insta::assert_snapshot!(printed(OutputFormat::Table, &rows), @r"
        ID       CORES
        a        1.5
        b, [31m  -
        ");
        let share = [json!({"id": "c", "total": {"cores": 0.925_373_134_328_358_2}})];
        assert!(printed(OutputFormat::Table, &share).contains("0.9254"));
        assert!(printed(OutputFormat::Csv, &share).contains("0.9253731343283582"));
        assert_eq!(printed(OutputFormat::Csv, &rows), "id,total.cores\na,1.5\n\"b, [31m\",\n");
        assert_eq!(printed(OutputFormat::Jsonl, &rows[..1]), "{\"id\":\"a\",\"total\":{\"cores\":1.5}}\n");
        assert_eq!(serde_json::from_str::<Value>(&printed(OutputFormat::Json, &rows)).unwrap(), json!(rows));
    }

    #[test]
    fn a_spreadsheet_calculates_nothing_of_what_somebody_wrote() {
        let rows = [json!({"id": "=cmd|' /C calc'!A0", "total": {"cores": -1.5}}), json!({"id": "\t@x"})];
        assert_eq!(printed(OutputFormat::Csv, &rows), "id,total.cores\n'=cmd|' /C calc'!A0,-1.5\n' @x,\n");
        let mut out = Vec::new();
        OutputFormat::Csv.write_one(&json!({"+name": "+1+1", "plain": "x"}), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "'+name,plain\n'+1+1,x\n");
        assert!(printed(OutputFormat::Jsonl, &rows).contains(r#""=cmd|"#), "only spreadsheets calculate");
    }

    #[test]
    fn one_thing_is_printed_a_member_a_line() {
        let mut out = Vec::new();
        OutputFormat::Table.write_one(&json!({"id": "a", "worker_id": null}), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        id         a
        worker_id  -
        ");
    }
}
