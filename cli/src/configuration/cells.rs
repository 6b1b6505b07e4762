//! The cells of a console.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use gateway::cells::Cell;

/// Where the other cells are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CellsArguments {
    /// TOML file with a table a cell, for a console of several cells: where the gateway of each is.
    #[arg(long, env = "LABLET_CELLS")]
    cells: Option<PathBuf>,
}

impl CellsArguments {
    /// The file, which can be used; `None`: there is no other cell.
    pub(crate) fn file(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(self.read()?.map(|(file, _)| file))
    }

    /// The cells, where they have to be configured.
    pub(crate) fn configured(&self) -> anyhow::Result<Vec<Cell>> {
        let (_, cells) =
            self.read()?.context("no cells are configured: set LABLET_CELLS to a file of them, see docs/cells.md")?;
        Ok(cells)
    }

    fn read(&self) -> anyhow::Result<Option<(PathBuf, Vec<Cell>)>> {
        let Some(file) = self.cells.clone().filter(|file| !file.as_os_str().is_empty()) else { return Ok(None) };
        let cells = Cell::read_all(&file).context("LABLET_CELLS cannot be used")?;
        Ok(Some((file, cells)))
    }
}
