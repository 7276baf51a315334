//! Where the repository is and what is in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root: two levels above this crate's manifest.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the repository").to_owned()
}

/// Every file that is committed or would be, relative to the root, sorted.
pub(crate) fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files: Vec<PathBuf> = match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from).collect()
        }
        // An unpacked archive has no git: then everything counts but what was built.
        _ => walk(&root()),
    };
    // What was deleted and not yet committed is still listed.
    files.retain(|path| root().join(path).is_file());
    files.sort();
    files.dedup();
    files
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == "target" || entry.file_name() == ".git" {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&path));
        } else if let Ok(path) = path.strip_prefix(root()) {
            found.push(path.to_owned());
        }
    }
    found
}

/// The text of a file of the repository; none where it is no text.
pub(crate) fn text(path: &Path) -> Option<String> {
    String::from_utf8(fs_err::read(root().join(path)).ok()?).ok()
}

pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|one| one == extension)
}
