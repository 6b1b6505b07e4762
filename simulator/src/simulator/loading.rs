//! Topologies that are there from the start.

use std::path::Path;

use super::{LARGEST_TOPOLOGY, SimulatorError};
use crate::{
    topology::{TopologyError, UnreadableTopology},
    world::{ImportError, World},
};

/// Loads one file, or every topology of a folder. In a folder one that cannot be loaded is logged and the others are
/// served; it is an error when none is left.
pub(super) fn load(world: &mut World, path: &Path) -> Result<(), SimulatorError> {
    if !path.is_dir() {
        return load_file(world, path);
    }
    let unreadable = |source| SimulatorError::Folder { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(unreadable)? {
        files.push(entry.map_err(unreadable)?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    files.sort();
    let count = files.len();
    let mut first = None;
    for file in files {
        if let Err(error) = load_file(world, &file) {
            let reason = with_causes(&error);
            tracing::error!(file = %file.display(), reason, "topology not loaded, serving the others");
            world.unreadable.push(UnreadableTopology { path: file, reason });
            first.get_or_insert(error);
        }
    }
    match first {
        Some(first) if world.unreadable.len() == count => {
            Err(SimulatorError::NoneLoaded { folder: path.to_owned(), count, first: Box::new(first) })
        }
        _ => Ok(()),
    }
}

fn load_file(world: &mut World, file: &Path) -> Result<(), SimulatorError> {
    let unreadable = |source| SimulatorError::Folder { path: file.to_owned(), source };
    let refused = |reason| SimulatorError::File { path: file.to_owned(), reason };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        // Reading a pipe would wait for its other end.
        return Err(refused(TopologyError::Unreadable { reason: "it is no file".to_owned() }));
    }
    if metadata.len() > LARGEST_TOPOLOGY as u64 {
        let found = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        return Err(refused(TopologyError::TooMany { what: "bytes", found, most: LARGEST_TOPOLOGY }));
    }
    let yaml = std::fs::read_to_string(file).map_err(unreadable)?;
    match world.import(&yaml, None) {
        Ok((_, warnings)) => {
            for warning in warnings {
                tracing::warn!(file = %file.display(), warning, "topology imported with a warning");
            }
            Ok(())
        }
        Err(ImportError::Topology(reason)) => Err(refused(reason)),
        Err(ImportError::TooManyLabs) => Err(SimulatorError::TooManyLabs),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
