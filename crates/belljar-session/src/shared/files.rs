//! Directories and generated files of a session in shared isolation, at their real places.

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use belljar_stack::plan::FilePlan;

/// Makes a directory that is the replica's own.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    fs_err::create_dir_all(path)?;
    give(path)
}

/// Writes generated files. The plan has seen to it that they lie in the session's directory.
pub(crate) fn place_files(files: &[FilePlan]) -> io::Result<()> {
    for file in files {
        if let Some(parent) = file.path.parent() {
            private_dir(parent)?;
        }
        fs_err::write(&file.path, &file.text)?;
        give(&file.path)?;
    }
    Ok(())
}

/// Where we are root, replicas are somebody else, and there are servers that want to own their data.
fn give(path: &Path) -> io::Result<()> {
    match belljar_sandbox::plain_identity() {
        Some(identity) => chown(path, Some(identity.uid), Some(identity.gid)),
        None => Ok(()),
    }
}
