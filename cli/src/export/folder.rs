//! The folder of an export: its files, and how far they come.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::column::Part;
use super::file::FileFormat;
use crate::secret::write_private;

/// What files to write, and where to.
#[derive(Debug, Args)]
pub(crate) struct FileArguments {
    /// What to write.
    #[arg(long, value_enum, default_value_t = FileFormat::Parquet)]
    format: FileFormat,
    /// The folder; files are in a folder in it that is named as what they hold, which is made where it does not exist.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Begin after this position, instead of where the last export into this folder ended.
    #[arg(long, value_name = "POSITION", value_parser = position)]
    after: Option<String>,
    /// Most rows of a file, unless more have the same position.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rows_per_file: u32,
}

/// A position, as an argument.
fn position(text: &str) -> Result<String, String> {
    text.parse::<app::log::Position>().map(|position| position.to_string()).map_err(|error| error.to_string())
}

/// Where an export says how far it came, beside its files.
const STATE: &str = "export.json";

/// How far an export came.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    view: String,
    /// Everything up to this position was exported.
    position: String,
}

/// A folder with the files of one view, and what a run added.
pub(crate) struct ExportFolder {
    folder: PathBuf,
    view: String,
    format: FileFormat,
    position: String,
    rows: u64,
    files: u64,
}

impl ExportFolder {
    /// The folder of a view below another, made where it does not exist. It goes on where its last run ended, unless a
    /// position is given.
    ///
    /// # Errors
    /// It cannot be read or made, or holds another view.
    pub(crate) fn open(arguments: &FileArguments, view: &str) -> anyhow::Result<Self> {
        let folder = arguments.to.join(view);
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        remove_drafts(&folder)?;
        let position = match &arguments.after {
            Some(after) => after.clone(),
            None => reached(&folder, view)?.unwrap_or_else(|| app::log::Position::START.to_string()),
        };
        Ok(Self { folder, view: view.to_owned(), format: arguments.format, position, rows: 0, files: 0 })
    }

    /// Up to where it holds everything.
    pub(crate) fn position(&self) -> &str {
        &self.position
    }

    /// Rows that this run wrote.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes a file, and then how far that is. Of no rows, nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&mut self, part: &Part) -> anyhow::Result<()> {
        let Some(newest) = part.rows.checked_sub(1) else { return Ok(()) };
        let last = part.position(newest)?.to_owned();
        let name = format!("{}_{last}.{}", part.position(0)?, self.format.extension());
        self.format.write(part, &self.folder.join(name))?;
        let state = State { view: self.view.clone(), position: last.clone() };
        write_private(&self.folder.join(STATE), &serde_json::to_string(&state)?)?;
        self.rows += part.rows as u64;
        self.files += 1;
        self.position = last;
        Ok(())
    }

    /// What this run wrote, in words.
    pub(crate) fn summary(&self) -> String {
        let files = if self.files == 1 { "file" } else { "files" };
        format!("{} rows of {} in {} {files}, up to {}", self.rows, self.view, self.files, self.position)
    }
}

/// What a run that was killed left half written.
fn remove_drafts(folder: &Path) -> anyhow::Result<()> {
    for name in names(folder)? {
        if name.ends_with(".part") {
            std::fs::remove_file(folder.join(&name)).with_context(|| format!("{name} cannot be removed"))?;
        }
    }
    Ok(())
}

/// Up to where a folder holds everything: by its state, or by a file that was written after it.
fn reached(folder: &Path, view: &str) -> anyhow::Result<Option<String>> {
    let mut reached = None;
    match std::fs::read_to_string(folder.join(STATE)) {
        Ok(text) => {
            let state: State =
                serde_json::from_str(&text).with_context(|| format!("{STATE} is no state of an export"))?;
            if state.view != view {
                bail!("{} is an export of {}", folder.display(), state.view);
            }
            reached = Some(state.position);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{STATE} cannot be read")),
    }
    for name in names(folder)? {
        let last = name.split_once('.').and_then(|(range, _)| range.split_once('_')).map(|(_, last)| last.to_owned());
        let last = last.filter(|last| last.parse::<app::log::Position>().is_ok());
        reached = reached.max(last);
    }
    Ok(reached)
}

fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let failed = || format!("{} cannot be read", folder.display());
    let entries = std::fs::read_dir(folder).with_context(failed)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<Vec<String>>>().with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u32) -> String {
        format!("0000000001-00000000000000000007-{number:019}")
    }

    #[test]
    fn a_folder_says_how_far_it_came_even_where_the_state_was_not_written_any_more() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(reached(folder.path(), "events").unwrap(), None);
        let state = State { view: "events".to_owned(), position: at(4) };
        std::fs::write(folder.path().join(STATE), serde_json::to_string(&state).unwrap()).unwrap();
        assert_eq!(reached(folder.path(), "events").unwrap(), Some(at(4)), "the files may have been taken away");
        std::fs::write(folder.path().join(format!("{}_{}.csv", at(5), at(9))), "").unwrap();
        std::fs::write(folder.path().join(format!("{}_{}.csv.part", at(10), at(12))), "").unwrap();
        remove_drafts(folder.path()).unwrap();
        assert_eq!(reached(folder.path(), "events").unwrap(), Some(at(9)));
        reached(folder.path(), "sessions").unwrap_err();
    }
}
