//! Every error of the libraries becomes one of these, here and nowhere else: what happened, what it rests on,
//! what to do, and the code that says so to programs.

use std::error::Error;

use belljar_client::ClientError;
use belljar_client::wire::{ErrorBody, ErrorView};
use belljar_model::name::NameError;
use belljar_model::{ErrorCode, ExitCode};
use belljar_sandbox::SandboxError;
use belljar_session::shared::GroundError;
use belljar_session::{CommandError, EditionError, LaunchError, NotReady};
use belljar_stack::{Faults, PlanError};
use belljar_store::StoreError;

use crate::packages;

/// What a command ends with when it does not end well.
#[derive(Debug)]
pub(crate) enum CliError {
    /// Something to say.
    Failure(Failure),
    /// The faults of a stack file, each at its place.
    Faults(Box<Faults>, ExitCode),
    /// Nothing to say: the command said it all, or nobody reads any more.
    Silent(ExitCode),
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// What the message rests on, outermost first.
    pub(crate) sources: Vec<String>,
    pub(crate) hints: Vec<String>,
    /// Instead of the code's own exit code.
    pub(crate) exit: Option<ExitCode>,
}

pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let (sources, hints) = (Vec::new(), Vec::new());
        Self::Failure(Failure { code, message: message.into(), sources, hints, exit: None })
    }

    /// An error with everything that it rests on.
    pub(crate) fn of(code: ErrorCode, error: &dyn Error) -> Self {
        let mut sources = Vec::new();
        let mut next = error.source();
        while let Some(source) = next {
            sources.push(source.to_string());
            next = source.source();
        }
        Self::Failure(Failure { code, message: error.to_string(), sources, hints: Vec::new(), exit: None })
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Failure(failure) = &mut self {
            failure.hints.push(hint.into());
        }
        self
    }

    /// A command that is only there to check something: that it cannot be started is a wrong command line.
    pub(crate) fn of_check(mut self) -> Self {
        if let Self::Failure(failure) = &mut self
            && matches!(failure.code, ErrorCode::CommandNotFound | ErrorCode::CommandNotExecutable)
        {
            failure.exit = Some(ExitCode::USAGE);
        }
        self
    }

    /// `run` and `exec` end with codes of their own, so that they can't be taken for the command's.
    pub(crate) fn in_run(self) -> Self {
        match self {
            Self::Failure(mut failure) => {
                let own = match failure.code {
                    ErrorCode::CommandNotFound | ErrorCode::CommandNotExecutable | ErrorCode::Interrupted => {
                        None
                    }
                    _ => Some(ExitCode::RUN_FAILED),
                };
                failure.exit = failure.exit.or(own);
                Self::Failure(failure)
            }
            Self::Faults(faults, _) => Self::Faults(faults, ExitCode::RUN_FAILED),
            silent @ Self::Silent(_) => silent,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failure(failure) => failure.exit.unwrap_or_else(|| failure.code.exit_code()),
            Self::Faults(_, code) | Self::Silent(code) => *code,
        }
    }

    /// The error as `--json` shows it.
    pub(crate) fn body(&self) -> Option<ErrorBody> {
        let error = match self {
            Self::Failure(failure) => ErrorView {
                code: failure.code,
                message: std::iter::once(&failure.message)
                    .chain(&failure.sources)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(": "),
                hints: failure.hints.clone(),
            },
            Self::Faults(faults, _) => ErrorView {
                code: ErrorCode::StackInvalid,
                message: faults.to_string().trim_end().to_owned(),
                hints: faults.iter().filter_map(|fault| fault.help().map(str::to_owned)).collect(),
            },
            Self::Silent(_) => return None,
        };
        Some(ErrorBody { error })
    }
}

impl From<ErrorView> for CliError {
    fn from(view: ErrorView) -> Self {
        let ErrorView { code, message, hints } = view;
        Self::Failure(Failure { code, message, sources: Vec::new(), hints, exit: None })
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(view) => view.into(),
            other @ ClientError::OtherVersion { .. } => Self::of(other.code(), &other).hint(
                "end it with the belljar that started it, or end its host process (`belljar ls --json` has its \
                 host_pid), and start it again with this one",
            ),
            other => Self::of(other.code(), &other),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let failure = Self::of(error.code(), &error);
        match error.code() {
            ErrorCode::StateDirUnusable => {
                failure.hint("`--state-dir DIR` or BELLJAR_STATE_DIR puts the state elsewhere")
            }
            ErrorCode::SessionNameTaken => failure.hint("`belljar ls` shows it; `--name` takes another name"),
            ErrorCode::StoreCorrupt => failure.hint(
                "move the state directory away, or use another with `--state-dir DIR`; sessions that live go on",
            ),
            ErrorCode::StoreTooNew => failure.hint("use the newer belljar, or another --state-dir"),
            _ => failure,
        }
    }
}

impl From<Faults> for CliError {
    fn from(faults: Faults) -> Self {
        Self::Faults(Box::new(faults), ExitCode::INVALID)
    }
}

impl From<PlanError> for CliError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Faults(faults) => faults.into(),
            missing @ PlanError::ServerNotInstalled { .. } => {
                let mut remedies = match &missing {
                    PlanError::ServerNotInstalled { packages, .. } => packages::remedies(packages),
                    PlanError::Faults(_) => Vec::new(),
                };
                if remedies.is_empty() {
                    remedies.push("`belljar doctor` lists the servers that recipes need".to_owned());
                }
                remedies.into_iter().fold(Self::of(missing.code(), &missing), Self::hint)
            }
        }
    }
}

impl From<EditionError> for CliError {
    fn from(error: EditionError) -> Self {
        match error {
            EditionError::Faults(faults) => faults.into(),
            EditionError::Plan(error) => error.into(),
            other => Self::of(other.code(), &other),
        }
    }
}

impl From<LaunchError> for CliError {
    fn from(error: LaunchError) -> Self {
        let failure = Self::of(error.code(), &error);
        let entrance = match &error {
            LaunchError::Sandbox(SandboxError::Os { errno, path: Some(_), .. }) => {
                *errno == rustix::io::Errno::ACCESS.raw_os_error()
            }
            _ => false,
        };
        match error.code() {
            ErrorCode::PortTaken => failure
                .hint("ask for another number, or for any that is free: `publish = [\"http\"]`"),
            ErrorCode::PortRefused => {
                failure.hint("ports below 1024 are for root alone on most machines; a free port is never one of them")
            }
            ErrorCode::SandboxRefused if entrance => failure.hint(
                "a session is one plain user: where root runs it, it enters what root owns, and no directory that \
                 only another user may enter",
            ),
            ErrorCode::SandboxRefused => failure.hint("`belljar doctor` says what this machine can do"),
            _ => failure,
        }
    }
}

impl From<GroundError> for CliError {
    fn from(error: GroundError) -> Self {
        match error {
            GroundError::Plan(error) => error.into(),
            error @ GroundError::Ports(_) => {
                let failure = Self::of(error.code(), &error);
                match error.code() {
                    ErrorCode::PortsExhausted => failure.hint(
                        "`belljar ls` shows the sessions that have some; BELLJAR_PORTS=20000-29999 names other ports",
                    ),
                    _ => failure,
                }
            }
        }
    }
}

impl From<NotReady> for CliError {
    fn from(error: NotReady) -> Self {
        let name = &error.view.name;
        let mut failure = Self::new(ErrorCode::SessionNotReady, format!("session {name}: {}", error.why));
        if let Some((from, lines)) = &error.culprit {
            if lines.is_empty() {
                failure = failure.hint(format!("{from} said nothing"));
            } else {
                failure = failure.hint(format!("the last lines of {from}:\n    {}", lines.join("\n    ")));
            }
        }
        failure
    }
}

impl From<CommandError> for CliError {
    fn from(error: CommandError) -> Self {
        Self::new(error.code(), error.0.to_string())
    }
}

impl From<NameError> for CliError {
    fn from(error: NameError) -> Self {
        Self::new(ErrorCode::Usage, error.to_string())
    }
}

/// Something that fails only where belljar itself is at fault, or the machine is.
pub(crate) fn internal(error: impl Error) -> CliError {
    CliError::of(ErrorCode::Internal, &error)
}
