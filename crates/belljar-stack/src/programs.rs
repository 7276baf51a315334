//! Finding the server programs that recipes run.

use std::cmp::Ordering;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use globset::Glob;

/// Finds programs on a machine.
pub trait Programs {
    /// Absolute path of `name`, looked for in `extra_dirs` (globs such as `/usr/lib/postgresql/*/bin`; newest
    /// version first) and then on the host's `PATH`. A `name` with a `/` is that file or none.
    fn find(&self, name: &str, extra_dirs: &[String]) -> Option<PathBuf>;
}

/// The programs of this machine.
#[derive(Debug, Clone)]
pub struct HostPrograms {
    /// The value of `PATH`.
    pub path: String,
}

impl Programs for HostPrograms {
    fn find(&self, name: &str, extra_dirs: &[String]) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|path| is_program(path));
        }
        let extra = extra_dirs.iter().flat_map(|dir| expand(dir));
        // An empty or relative part of PATH means the working directory, which says nothing about the machine.
        let on_path = self.path.split(':').map(PathBuf::from).filter(|dir| dir.is_absolute());
        extra.chain(on_path).map(|dir| dir.join(name)).find(|path| is_program(path))
    }
}

fn is_program(path: &Path) -> bool {
    path.is_absolute()
        && path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The directories that an absolute glob matches, the newest version first.
fn expand(glob: &str) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from("/")];
    for part in glob.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?', '[', '{']) {
            dirs = dirs.iter().map(|dir| dir.join(part)).collect();
            continue;
        }
        let Ok(matcher) = Glob::new(part).map(|glob| glob.compile_matcher()) else { return Vec::new() };
        let mut matches: Vec<PathBuf> = dirs
            .iter()
            .filter_map(|dir| fs_err::read_dir(dir).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| matcher.is_match(name)))
            .collect();
        matches.sort_by(|a, b| by_version(&b.to_string_lossy(), &a.to_string_lossy()));
        dirs = matches;
    }
    dirs
}

/// Compares texts with numbers in them by the numbers: `9.6` is before `15`.
fn by_version(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (number_a, number_b) = (digits(a), digits(b));
        let order = if number_a.is_empty() || number_b.is_empty() {
            match (a.chars().next(), b.chars().next()) {
                (Some(x), Some(y)) if x == y => {
                    a = &a[x.len_utf8()..];
                    b = &b[y.len_utf8()..];
                    continue;
                }
                (x, y) => return x.cmp(&y),
            }
        } else {
            a = &a[number_a.len()..];
            b = &b[number_b.len()..];
            let (x, y) = (number_a.trim_start_matches('0'), number_b.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{HostPrograms, Programs as _, by_version};

    fn install(path: &Path, mode: u32) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, "").unwrap();
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_newest_version_is_found_first_and_the_path_last() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        install(&at("pg/9.6/bin/postgres"), 0o755);
        install(&at("pg/15/bin/postgres"), 0o755);
        // A newer version whose server is not installed, only a file that can't be executed.
        install(&at("pg/16/bin/postgres"), 0o644);
        install(&at("bin/postgres"), 0o755);
        install(&at("bin/nats-server"), 0o755);
        let programs = HostPrograms { path: format!("relative::{}", at("bin").display()) };
        let dirs = [format!("{}/pg/*/bin", root.path().display())];
        assert_eq!(programs.find("postgres", &dirs), Some(at("pg/15/bin/postgres")));
        assert_eq!(programs.find("postgres", &[]), Some(at("bin/postgres")));
        assert_eq!(programs.find("nats-server", &dirs), Some(at("bin/nats-server")));
        assert_eq!(programs.find("etcd", &dirs), None);
        let exact = at("pg/9.6/bin/postgres");
        assert_eq!(programs.find(exact.to_str().unwrap(), &dirs), Some(exact));
        assert_eq!(programs.find(at("pg/9.6/bin/initdb").to_str().unwrap(), &dirs), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let mut versions = ["16", "9.6", "15", "9.10", "9", "016", "beta"];
        versions.sort_by(|a, b| by_version(a, b));
        assert_eq!(versions, ["9", "9.6", "9.10", "15", "16", "016", "beta"]);
    }
}
