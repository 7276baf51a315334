//! Control groups of sessions that were killed: they are no files that go with a directory, but they are named in
//! the session's own.

use std::io::ErrorKind;
use std::path::Path;

use crate::remove::RemoveError;

/// The file in a session's directory that names its control groups.
pub(crate) const FILE_NAME: &str = "control-groups";
/// What they are in.
const PARENT: &str = "belljar";

/// Removes the control groups that a session's directory names. A group can be removed only when nobody is in it,
/// and only one that bears the session's id is.
pub(crate) fn remove_of(id: &str, session: &Path) -> Result<(), RemoveError> {
    // Most sessions have none; and what cannot be read names nothing.
    let named = fs_err::read_to_string(session.join(FILE_NAME)).unwrap_or_default();
    for group in named.lines().map(Path::new).filter(|group| is_of(id, group)) {
        for entry in fs_err::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path())?;
            }
        }
        remove(group)?;
        if let Some(parent) = group.parent() {
            // Other sessions have theirs in it where this fails.
            let _ = fs_err::remove_dir(parent);
        }
    }
    Ok(())
}

fn is_of(id: &str, group: &Path) -> bool {
    group.is_absolute()
        && group.components().all(|part| part != std::path::Component::ParentDir)
        && group.file_name().is_some_and(|name| name == id)
        && group.parent().and_then(Path::file_name).is_some_and(|name| name == PARENT)
}

fn remove(group: &Path) -> Result<(), RemoveError> {
    match fs_err::remove_dir(group) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(RemoveError { path: group.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_the_session_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let session = dir.path().join("session");
        let own = dir.path().join("belljar/abcd-efg2");
        let others = ["belljar/wxyz-abc3", "else/abcd-efg2"].map(|one| dir.path().join(one));
        for path in [&session, &own.join("web-1"), &others[0], &others[1]] {
            fs_err::create_dir_all(path).unwrap();
        }
        let lines: Vec<_> = others.iter().chain([&own]).map(|path| format!("{}\n", path.display())).collect();
        fs_err::write(session.join(FILE_NAME), lines.concat()).unwrap();
        remove_of("abcd-efg2", &session).unwrap();
        assert!(!own.exists());
        assert!(others.iter().all(|one| one.exists()));
        remove_of("abcd-efg2", &session).unwrap();
        remove_of("abcd-efg2", &dir.path().join("none")).unwrap();
    }
}
