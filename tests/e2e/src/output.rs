//! What a command came to.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use belljar_model::ErrorCode;
use serde_json::Value;

/// A command that has ended, and whose outcome nobody has looked at yet.
#[must_use = "assert how it ended, or read what it said"]
#[derive(Debug)]
pub struct Ended(pub(crate) Output);

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// Paths of the test's world and what stands for them in [`Output::shown`].
    pub(crate) redactions: Vec<(String, &'static str)>,
}

impl Ended {
    /// However it ended.
    pub fn output(self) -> Output {
        self.0
    }

    /// It ended with 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.ends_with(0)
    }

    /// It ended with this code, by itself.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Output {
        assert_eq!(self.status.code(), Some(code), "the exit code of {self}");
        self.0
    }

    /// All of these stand on standard error, whatever the exit code.
    #[track_caller]
    pub fn complains(self, texts: &[&str]) -> Output {
        self.0.complains(texts)
    }

    /// One JSON document on standard output, nothing on standard error, exit code 0.
    #[track_caller]
    pub fn json(self) -> Value {
        let output = self.ok();
        assert_eq!(output.stderr, "", "stderr beside --json of {output}");
        output.document()
    }

    /// The error that `--json` tells: this code with its exit code, as `{"error":{…}}` on standard error, and
    /// nothing on standard output. Answers the message.
    #[track_caller]
    pub fn json_error(self, code: ErrorCode) -> String {
        assert_eq!(self.stdout, "", "stdout beside an error of {self}");
        let Ok(document) = serde_json::from_str::<Value>(&self.stderr) else {
            panic!("stderr is not one JSON document: {self}");
        };
        let error = &document["error"];
        assert_eq!(error["code"], code.as_str(), "the error's code of {self}");
        assert!(error["hints"].is_array(), "the error's hints of {self}");
        assert_eq!(self.status.code(), Some(i32::from(code.exit_code().0)), "the exit code of {self}");
        error["message"].as_str().expect("the error has a message").to_owned()
    }
}

impl std::ops::Deref for Ended {
    type Target = Output;

    fn deref(&self) -> &Output {
        &self.0
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[expect(clippy::return_self_not_must_use, reason = "each of them is an assertion, and enough by itself")]
impl Output {
    /// The exit code, as a shell tells it: 128 + the signal where one ended it.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }

    /// All of these stand on standard error.
    #[track_caller]
    pub fn complains(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is missing on stderr of {self}");
        }
        self
    }

    /// All of these stand on standard output.
    #[track_caller]
    pub fn prints(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text), "`{text}` is missing on stdout of {self}");
        }
        self
    }

    /// Standard output, whole.
    #[track_caller]
    pub fn prints_exactly(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "stdout of {self}");
        self
    }

    /// The JSON document on standard output, whatever else there is.
    #[track_caller]
    pub fn document(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(document) => document,
            Err(error) => panic!("stdout is not one JSON document ({error}): {self}"),
        }
    }

    /// One JSON document a line on standard output.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let read = |line| match serde_json::from_str(line) {
            Ok(document) => document,
            Err(error) => panic!("`{line}` is not JSON ({error}): {self}"),
        };
        self.stdout.lines().map(read).collect()
    }

    /// The whole of it with everything that differs from run to run replaced, for snapshots.
    pub fn shown(&self) -> String {
        let text = format!("exit: {}\n--- stdout\n{}--- stderr\n{}", self.code(), self.stdout, self.stderr);
        redact(&text, &self.redactions)
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, stdout, stderr, took, .. } = self;
        write!(f, "`{command}` ({}, {took:?})\n--- stdout\n{stdout}--- stderr\n{stderr}---", self.status)
    }
}

fn redact(text: &str, paths: &[(String, &'static str)]) -> String {
    let mut text = paths.iter().fold(text.to_owned(), |text, (path, name)| text.replace(path, name));
    let patterns = [
        (r"\b[a-z0-9]{4}-[a-z0-9]{3}[0-9]\b", "ID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "MOMENT"),
        (r"\b\d+(\.\d+)?(ms|s)\b", "TIME"),
        (r"\bprocess \d+", "process PID"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    ];
    for (pattern, name) in patterns {
        let regex = regex::Regex::new(pattern).expect("the pattern is well formed");
        text = regex.replace_all(&text, name).into_owned();
    }
    text
}
