//! Printing answers: tables for people, JSON, JSON lines, YAML and CSV for programs.

use std::io::Write;

use anyhow::Context as _;
use app::printable::{is_harmless, printable_json};
use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use gateway::csv::harmless;
use serde::Serialize;
use serde_json::Value;

use crate::terminal::out;

/// Longest object or list that is shown within a cell, in bytes of its JSON.
const LONGEST_INNER: usize = 80;

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns; `-` where a value is unknown.
    Table,
    /// As `table`, with more columns.
    Wide,
    /// One indented JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// One YAML document.
    Yaml,
    /// Comma-separated values with a header; empty where a value is unknown.
    Csv,
}

/// A column: its heading and where its value is in a row (a JSON pointer).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    heading: &'static str,
    pointer: &'static str,
    is_wide: bool,
}

/// A column with this heading, whose value is at this JSON pointer.
pub(crate) const fn column(heading: &'static str, pointer: &'static str) -> Column {
    Column { heading, pointer, is_wide: false }
}

/// As [`column`], shown only where there is room: by `wide`, and in files.
pub(crate) const fn wide_column(heading: &'static str, pointer: &'static str) -> Column {
    Column { heading, pointer, is_wide: true }
}

impl OutputFormat {
    /// Prints rows to standard output.
    pub(crate) fn rows(self, columns: &[Column], rows: &[Value]) -> anyhow::Result<()> {
        self.write_rows(columns, rows, &mut out())
    }

    /// Prints one thing to standard output.
    pub(crate) fn one(self, thing: &Value) -> anyhow::Result<()> {
        self.write_one(thing, &mut out())
    }

    /// Prints a sentence to standard output, beneath a table; to programs nothing.
    pub(crate) fn remark(self, text: &str) -> anyhow::Result<()> {
        if self.is_for_people() {
            let shown: String = text.chars().filter(|character| is_harmless(*character)).collect();
            writeln!(out(), "{shown}")?;
        }
        Ok(())
    }

    /// Prints a file to standard output as it is, whatever the format. Text that could steer a terminal is left out.
    pub(crate) fn file(self, text: &str) -> anyhow::Result<()> {
        let is_kept = |character: &char| *character == '\n' || is_harmless(*character);
        let shown: String = text.chars().filter(is_kept).collect();
        out().write_all(shown.as_bytes())?;
        Ok(())
    }

    /// Whether people read it.
    pub(crate) fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// Whether it shows an answer whole, and not as rows.
    pub(crate) fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }

    /// The columns that this format has.
    pub(super) fn columns(self, columns: &[Column]) -> Vec<Column> {
        columns.iter().filter(|column| self != Self::Table || !column.is_wide).copied().collect()
    }

    fn write_rows(self, columns: &[Column], rows: &[Value], out: &mut impl Write) -> anyhow::Result<()> {
        let columns = self.columns(columns);
        match self {
            Self::Table | Self::Wide => {
                let mut table = bare_table();
                table.set_header(columns.iter().map(|column| column.heading));
                for row in rows {
                    table.add_row(columns.iter().map(|column| column.table_cell(row)));
                }
                writeln!(out, "{}", close_up(table))?;
            }
            Self::Json => writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(rows)?))?,
            Self::Jsonl => rows.iter().try_for_each(|row| writeln!(out, "{}", printable_json(&row.to_string())))?,
            Self::Yaml => write!(out, "{}", yaml(&rows)?)?,
            Self::Csv => {
                out.write_all(&csv_line(columns.iter().map(|column| column.name()))?)?;
                for row in rows {
                    out.write_all(&csv_line(columns.iter().map(|column| column.csv_cell(row)))?)?;
                }
                out.flush()?;
            }
        }
        Ok(())
    }

    fn write_one(self, thing: &Value, out: &mut impl Write) -> anyhow::Result<()> {
        match self {
            Self::Json => writeln!(out, "{}", printable_json(&serde_json::to_string_pretty(thing)?))?,
            Self::Jsonl => writeln!(out, "{}", printable_json(&thing.to_string()))?,
            Self::Yaml => write!(out, "{}", yaml(thing)?)?,
            Self::Table | Self::Wide => write!(out, "{}", sections(thing))?,
            Self::Csv => {
                let members = thing.as_object().context("the answer is no JSON object")?;
                out.write_all(&csv_line(members.keys().map(|name| harmless(name.clone())))?)?;
                out.write_all(&csv_line(members.values().map(|value| csv_cell(Some(value))))?)?;
                out.flush()?;
            }
        }
        Ok(())
    }
}

impl Column {
    /// Its heading.
    pub(super) fn heading(self) -> &'static str {
        self.heading
    }

    /// What it is called in a file, e.g. `capacity.cpu_cores`.
    pub(super) fn name(self) -> String {
        self.pointer.trim_start_matches('/').replace('/', ".")
    }

    /// Its value as a person reads it.
    pub(super) fn table_cell(self, row: &Value) -> String {
        table_cell(row.pointer(self.pointer))
    }

    /// Its value as a file has it.
    pub(super) fn csv_cell(self, row: &Value) -> String {
        csv_cell(row.pointer(self.pointer))
    }
}

/// A line of comma-separated values.
pub(super) fn csv_line(cells: impl Iterator<Item = String>) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).context("a row cannot be written")?;
    writer.into_inner().map_err(|_| anyhow::anyhow!("a row cannot be written"))
}

/// A YAML document. Where it would hold what steers a terminal, it is written as JSON, which is YAML too and can escape it.
pub(super) fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_norway::to_string(value).context("the answer cannot be written as YAML")?;
    if text.chars().all(|character| character == '\n' || is_harmless(character)) {
        return Ok(text);
    }
    Ok(format!("{}\n", printable_json(&serde_json::to_string_pretty(value)?)))
}

fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// One thing for people: its plain members, then a section for each member that is an object or a list of them.
fn sections(thing: &Value) -> String {
    let is_section = |value: &Value| match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(entries) => entries.first().is_some_and(Value::is_object),
        _ => false,
    };
    let members: Vec<(&String, &Value)> = thing.as_object().into_iter().flatten().collect();
    let mut text = pairs(members.iter().filter(|(_, value)| !is_section(value)).copied());
    for (name, value) in members.into_iter().filter(|(_, value)| is_section(value)) {
        let section = match value {
            Value::Array(entries) => entries_as_table(entries),
            other => pairs(other.as_object().into_iter().flatten()),
        };
        text.push_str(&format!("\n{name}\n"));
        text.extend(section.lines().map(|line| format!("  {line}\n")));
    }
    text
}

fn pairs<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    let mut table = bare_table();
    let mut is_empty = true;
    for (name, value) in members {
        is_empty = false;
        table.add_row([name.clone(), inner_cell(value)]);
    }
    if is_empty { String::new() } else { format!("{}\n", close_up(table)) }
}

/// A list of objects, a column for each member of the first one.
fn entries_as_table(entries: &[Value]) -> String {
    let names: Vec<&String> =
        entries.first().and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name).collect();
    let mut table = bare_table();
    table.set_header(names.iter().map(|name| name.replace('_', " ").to_uppercase()));
    for entry in entries {
        table.add_row(names.iter().map(|name| inner_cell(entry.get(name.as_str()).unwrap_or(&Value::Null))));
    }
    format!("{}\n", close_up(table))
}

/// A value within a section. One that is large itself is counted; other formats show it.
fn inner_cell(value: &Value) -> String {
    let text = table_cell(Some(value));
    match value {
        Value::Array(entries) if text.len() > LONGEST_INNER => format!("{} entries, see -o yaml", entries.len()),
        Value::Object(members) if text.len() > LONGEST_INNER => format!("{} members, see -o yaml", members.len()),
        _ => text,
    }
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
    const WITH_A_WIDE_ONE: &[Column] = &[column("ID", "/id"), wide_column("OWNER", "/owner")];

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
    fn one_thing_has_a_section_for_each_object_and_each_list_of_them() {
        let nodes: Vec<Value> = (0..20).map(|number| json!({ "node_id": number })).collect();
        let thing = json!({
            "id": "a", "owner": null, "open": [], "tags": ["x", "y"],
            "observed": { "cores": 1.5, "nodes": nodes },
            "ports": [{ "name": "PC", "port_number": 5041 }, { "name": "R1", "port_number": null }]
        });
        let mut out = Vec::new();
        OutputFormat::Table.write_one(&thing, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        id     a
        open   []
        owner  -
        tags   ["x","y"]

        observed
          cores  1.5
          nodes  20 entries, see -o yaml

        ports
          NAME  PORT NUMBER
          PC    5041
          R1    -
        "#);
    }

    #[test]
    fn a_wide_column_is_shown_where_there_is_room() {
        let rows = [json!({"id": "a", "owner": "ada"})];
        let printed = |format: OutputFormat| {
            let mut out = Vec::new();
            format.write_rows(WITH_A_WIDE_ONE, &rows, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(OutputFormat::Table), "ID\na\n");
        assert_eq!(printed(OutputFormat::Wide), "ID  OWNER\na   ada\n");
        assert_eq!(printed(OutputFormat::Csv), "id,owner\na,ada\n");
    }

    #[test]
    fn yaml_reads_back_as_what_was_printed_and_steers_no_terminal() {
        let rows = [json!({"id": "true", "version": "1.0", "note": "a: b\n- c", "none": null, "share": 0.5})];
        let text = printed(OutputFormat::Yaml, &rows);
        assert_eq!(serde_norway::from_str::<Value>(&text).unwrap(), json!(rows));
        let steering = [json!({"id": "\u{1b}[2J\u{202e}x"})];
        let text = printed(OutputFormat::Yaml, &steering);
        assert!(text.chars().all(|character| character == '\n' || is_harmless(character)), "{text:?}");
        assert_eq!(serde_norway::from_str::<Value>(&text).unwrap(), json!(steering));
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
