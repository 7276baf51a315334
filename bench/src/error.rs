//! What a measurement can fail with.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not built: `./x bench` builds it", .0.display())]
    NotBuilt(PathBuf),
    #[error("`{command}` failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("{what} did not happen within {seconds} s")]
    TooLate { what: String, seconds: u64 },
    #[error("the kernel's floor cannot be measured: {0}")]
    Floor(#[from] belljar_sandbox::SandboxError),
    #[error("the process that carries sessions failed: {0}")]
    Worker(String),
    #[error("{what} makes no sense: {why}")]
    Nonsense { what: String, why: String },
    #[error("there is no `{0}`; `--list` shows what there is")]
    NoSuchGroup(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: what could not be done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
