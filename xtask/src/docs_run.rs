//! Runs the commands of the documents, so that they keep being true.
//!
//! A page becomes one bash script of as many lines: what is run stands on its own line, everything else is
//! empty. So the line that bash names is the line of the page.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::markdown::{self, Line};
use crate::repository::{files, has_extension, root, text};

/// How long one page may take.
const LIMIT: &str = "300";

/// Ends a file block. No page has it.
const END: &str = "END_OF_THE_DOCUMENTS_FILE";

pub(crate) fn run(only: &[String]) -> Vec<String> {
    let pages = files().into_iter().filter(|path| {
        let is_document = path.starts_with("docs") || path.as_os_str() == "README.md";
        let is_wanted = only.is_empty() || only.iter().any(|one| Path::new(one) == path);
        has_extension(path, "md") && is_document && is_wanted
    });
    let mut faults = Vec::new();
    for path in pages {
        let page = text(&path).unwrap_or_default();
        let outcome = script(&page).map_err(|(line, fault)| format!("{}:{line}: {fault}", path.display()));
        match outcome {
            Ok(None) => {}
            Ok(Some(script)) => faults.extend(run_page(&path, &script).err()),
            Err(fault) => faults.push(fault),
        }
    }
    faults
}

/// The page as a script; none where it has nothing to run. An error has its line.
fn script(page: &str) -> Result<Option<String>, (usize, String)> {
    let mut script = String::new();
    let mut runs = false;
    // What the last comment asks of the block below it, and what is done with the block that is open.
    let mut wish = None;
    let mut open = None;
    for (number, line) in (1..).zip(markdown::lines(page)) {
        let out = match line {
            Line::Text(text) => match Mark::of(text) {
                Some(Mark::Copy(dir)) => {
                    let name = Path::new(dir).file_name().and_then(|name| name.to_str()).unwrap_or(dir);
                    format!("cp -r \"$REPOSITORY/{dir}\" './{name}'")
                }
                mark => {
                    if let Some(wish) = wish
                        && !text.trim().is_empty()
                    {
                        return Err((number, unused(wish)));
                    }
                    wish = mark.or(wish);
                    String::new()
                }
            },
            Line::Open(language) => {
                open = wish.take();
                match open {
                    Some(Mark::Run) if !matches!(language, "sh" | "bash" | "console") => {
                        return Err((number, format!("a block of `{language}` can't be run; mark it `sh`")));
                    }
                    Some(Mark::File(name)) => {
                        format!("mkdir -p \"$(dirname '{name}')\"; cat >'{name}' <<'{END}'")
                    }
                    _ => String::new(),
                }
            }
            Line::Code(code) => match open {
                Some(Mark::Run) => {
                    runs = true;
                    code.to_owned()
                }
                Some(_) => code.to_owned(),
                None => String::new(),
            },
            Line::Close => match open.take() {
                Some(Mark::File(_)) => END.to_owned(),
                _ => String::new(),
            },
        };
        script.push_str(&out);
        script.push('\n');
    }
    match wish {
        Some(wish) => Err((page.lines().count(), unused(wish))),
        None => Ok(runs.then_some(script)),
    }
}

fn unused(mark: Mark<'_>) -> String {
    format!("`{mark:?}` stands above no fenced block")
}

/// A comment that says what to do with the block below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark<'a> {
    Run,
    File(&'a str),
    Copy(&'a str),
}

impl<'a> Mark<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let comment = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
        if comment == "run" {
            return Some(Self::Run);
        }
        let (word, rest) = comment.split_once(':')?;
        match word {
            "file" => Some(Self::File(rest.trim())),
            "copy" => Some(Self::Copy(rest.trim())),
            _ => None,
        }
    }
}

/// Runs a page's script in an empty directory with an empty state.
fn run_page(path: &Path, script: &str) -> Result<(), String> {
    let home =
        tempfile::Builder::new().prefix("bj-docs-").tempdir_in("/var/tmp").map_err(|e| e.to_string())?;
    let place = |name: &str| home.path().join(name);
    for dir in ["work", "run", "home"] {
        fs_err::create_dir(place(dir)).map_err(|error| error.to_string())?;
    }
    // Replicas of root's sessions are another user.
    for dir in [home.path(), &place("work")] {
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(dir, readable).map_err(|error| error.to_string())?;
    }
    // On the page's first line, which is a heading and so empty here, and no line of its own.
    let prologue = format!(
        "set -euo pipefail; trap 'echo \"{}:$LINENO: this command failed: $BASH_COMMAND\" >&2' ERR; ",
        path.display()
    );
    let file = place("page.sh");
    fs_err::write(&file, format!("{prologue}{script}")).map_err(|error| error.to_string())?;
    let environment = [
        ("PATH", path_with_belljar()),
        ("HOME", place("home").into_os_string()),
        ("USER", "reader".into()),
        ("LANG", "C.UTF-8".into()),
        ("BELLJAR_STATE_DIR", place("state").into_os_string()),
        ("XDG_RUNTIME_DIR", place("run").into_os_string()),
        ("REPOSITORY", root().into_os_string()),
    ];
    let run = |program: &str, args: &[&std::ffi::OsStr]| {
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(environment.clone()).current_dir(place("work"));
        command.output()
    };
    let page = run("timeout", &[LIMIT.as_ref(), "bash".as_ref(), file.as_os_str()]);
    // Whatever the page leaves running ends with it.
    let down = run("belljar", &["down".as_ref(), "--all".as_ref()]);
    let output = page.map_err(|error| error.to_string())?;
    if output.status.success() {
        return down.map(drop).map_err(|error| format!("belljar cannot be run: {error}"));
    }
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let why = if output.status.code() == Some(124) { "was not over in time" } else { "failed" };
    Err(format!("{} {why}\n{}\n{}", path.display(), said(&output.stdout), said(&output.stderr)))
}

/// The built program's directory, then the usual ones.
fn path_with_belljar() -> OsString {
    let this = std::env::current_exe().unwrap_or_default();
    let built = this.parent().map(Path::to_owned).unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    std::env::join_paths(std::iter::once(built).chain(usual.map(PathBuf::from))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_script_line_by_line() {
        let page = "# Title\n<!-- file: a/b.toml -->\n```toml\nx = 1\n```\n<!-- run -->\n```sh\nbelljar up\n```\n```sh\nnot run\n```";
        let script = script(page).unwrap().unwrap();
        let lines: Vec<_> = script.lines().collect();
        assert_eq!(lines[2], format!("mkdir -p \"$(dirname 'a/b.toml')\"; cat >'a/b.toml' <<'{END}'"));
        assert_eq!(&lines[3..5], ["x = 1", END]);
        assert_eq!(lines[7], "belljar up");
        assert!(!script.contains("not run"));
        assert_eq!(lines.len(), page.lines().count());
    }

    #[test]
    fn a_page_with_nothing_to_run_is_no_script() {
        assert_eq!(script("# Title\n```sh\nx\n```\n"), Ok(None));
    }

    #[test]
    fn a_mark_above_nothing_is_a_fault_at_its_line() {
        assert_eq!(script("<!-- run -->\n\ntext\n").map_err(|(line, _)| line), Err(3));
        assert_eq!(script("text\n\n<!-- run -->\n").map_err(|(line, _)| line), Err(3));
        assert_eq!(script("<!-- run -->\n```toml\nx\n```\n").map_err(|(line, _)| line), Err(2));
    }
}
