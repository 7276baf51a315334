//! What can go wrong while a session is sealed or used. The same values cross from the zygote and from a
//! session's init to the host process, so they are plain data.

use std::fmt;
use std::path::PathBuf;

use belljar_model::ErrorCode;
use serde::{Deserialize, Serialize};

/// Why something could not be done in or with a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SandboxError {
    /// The kernel refused a step.
    #[error("cannot {step}{}: {}", Where(path.as_ref()), Reason(*errno))]
    Os { step: Step, errno: i32, path: Option<PathBuf> },
    /// The zygote or the session's pid 1 has ended.
    #[error("the process that keeps the session has ended")]
    Gone,
    /// `argv[0]` is not on the PATH of the process that was to be started.
    #[error("`{argv0}` was not found")]
    CommandNotFound { argv0: String },
    #[error("`{argv0}` cannot be executed: {}", Reason(*errno))]
    NotExecutable { argv0: String, errno: i32 },
    #[error("the working directory {} does not exist in the session", path.display())]
    NoSuchDirectory { path: PathBuf },
    /// A path that must stay visible would uncover what must be private.
    #[error(
        "{} has to stay visible in the session, but the session's own {} lies in it; \
         use a directory below instead",
        kept.display(),
        covered.display()
    )]
    KeepsTooMuch { kept: PathBuf, covered: PathBuf },
    #[error("the session has no replica number {0}")]
    NoSuchReplica(u16),
    /// Processes did not come to rest or to an end in time; one of them.
    #[error("process {pid} did not {} within {seconds} s", if *freezing { "come to a standstill" } else { "end" })]
    Stuck { pid: i32, freezing: bool, seconds: u64 },
    /// A helper process said something that makes no sense here.
    #[error("the process that keeps the session gave an answer that makes no sense")]
    Protocol,
}

impl SandboxError {
    /// Whether it comes of something that is short for the moment: memory or descriptors.
    pub(crate) fn is_of_want(&self) -> bool {
        use libc::{EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM};
        matches!(self, Self::Os { errno: EAGAIN | EMFILE | ENFILE | ENOBUFS | ENOMEM, .. })
    }

    /// The stable code that users and programs see.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::CommandNotFound { .. } => ErrorCode::CommandNotFound,
            Self::NotExecutable { .. } => ErrorCode::CommandNotExecutable,
            // Nothing refused anything: whoever would have done it was killed.
            Self::Gone => ErrorCode::SessionEnded,
            _ => ErrorCode::SandboxRefused,
        }
    }
}

struct Where<'a>(Option<&'a PathBuf>);

impl fmt::Display for Where<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |path| write!(f, " ({})", path.display()))
    }
}

struct Reason(i32);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)+) => {
        /// One thing that the kernel was asked for, in words that follow "cannot".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Step { $($(#[$doc])* $variant),+ }

        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),+ })
            }
        }
    };
}

steps! {
    Fork = "start a helper process";
    TieToParent = "tie a helper process to its parent's life";
    Daemonise = "detach a helper process from the terminal";
    NameProcess = "name a helper process";
    CloseDescriptors = "close inherited descriptors";
    BlockSignals = "receive signals as messages";
    NewUserNamespace = "make a user namespace";
    MapIds = "map user and group ids";
    BoundNamespace = "bound what a session may have of its user's";
    BoundProcesses = "bound the number of processes";
    BoundProcess = "bound what a process may have";
    EnterGroup = "enter a control group";
    EnterUserNamespace = "enter the user namespace of tenants";
    NewNetworkNamespace = "make a network namespace";
    EnterNetworkNamespace = "enter a network namespace";
    OpenNamespace = "open a namespace";
    OpenNetlink = "open a netlink socket";
    Netlink = "talk to the kernel's network configuration";
    RaiseLoopback = "bring the loopback interface up";
    MakeBridge = "make the session's bridge";
    MakeLink = "make a replica's link";
    Address = "give an interface its address";
    Settle = "wait for the session's links";
    NetworkSetting = "set a network parameter";
    CloneInit = "make the session's pid, mount, ipc and uts namespaces";
    MakePrivate = "cut mounts off from the host's";
    OpenKept = "take along a path that stays visible";
    RestoreKept = "show a path at its own place again";
    StagePrivate = "mount a private place for generated files";
    WriteGenerated = "write a generated file";
    MountTmp = "mount a private /tmp";
    MountRun = "mount a private /run";
    MountHome = "mount a private home directory";
    MountShm = "mount a private /dev/shm";
    MountDev = "mount a private /dev";
    MountProc = "mount a private /proc";
    MountSys = "mount a private /sys";
    MountTerminals = "mount private terminals";
    OpenTerminal = "open a terminal in the session";
    MountMqueue = "mount private message queues";
    Conceal = "cover what other sessions have";
    ForbidDevices = "forbid devices outside of /dev";
    MaskPath = "cover a path of /proc";
    MakeReadOnly = "make the host's files read-only";
    ReadMounts = "read the table of mounts";
    Overlay = "overlay a directory";
    MirrorDirectory = "mirror a directory";
    PivotRoot = "change the root directory";
    MakeTarget = "make a place for a mount";
    Bind = "bind a path";
    NewMountNamespace = "make a mount namespace for a process";
    SetHostName = "set the host name";
    BecomeTenant = "become the session's user";
    DropCapabilities = "drop capabilities";
    ResetSignals = "reset signals";
    NewTerminalSession = "make a terminal session";
    TakeTerminal = "take the controlling terminal";
    PlaceDescriptors = "place standard input, output and error";
    ChangeDirectory = "enter the working directory";
    Spawn = "start a process in the session";
    Signal = "send a signal";
    ReadProcesses = "read the table of processes";
    MakeSocket = "make a socket in the session";
    BindSocket = "bind a socket in the session";
    AskSockets = "ask which sockets listen";
    CheckPath = "look at a path as a process sees it";
    CloneFile = "clone a file";
    OpenTun = "open the device of virtual interfaces";
    MakeFilter = "make a table of packet filters";
    Send = "send to a helper process";
    Receive = "receive from a helper process";
    Wait = "wait for a helper process";
}

/// Names the step that a system call belongs to.
pub(crate) trait During<T> {
    fn during(self, step: Step) -> Result<T, SandboxError>;
    /// The same where a path is part of what the reader needs to know.
    fn during_at(self, step: Step, path: impl Into<PathBuf>) -> Result<T, SandboxError>;
}

impl<T> During<T> for Result<T, rustix::io::Errno> {
    fn during(self, step: Step) -> Result<T, SandboxError> {
        self.map_err(|errno| SandboxError::Os { step, errno: errno.raw_os_error(), path: None })
    }

    fn during_at(self, step: Step, path: impl Into<PathBuf>) -> Result<T, SandboxError> {
        self.map_err(|errno| SandboxError::Os { step, errno: errno.raw_os_error(), path: Some(path.into()) })
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, step: Step) -> Result<T, SandboxError> {
        self.map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
            .during(step)
    }

    fn during_at(self, step: Step, path: impl Into<PathBuf>) -> Result<T, SandboxError> {
        self.map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
            .during_at(step, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_step_the_path_and_the_reason() {
        let refused = Err::<(), _>(rustix::io::Errno::PERM);
        let error = refused.during_at(Step::MountTmp, "/tmp").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot mount a private /tmp (/tmp): Operation not permitted (os error 1)"
        );
        assert_eq!(error.code(), ErrorCode::SandboxRefused);
        let error = refused.during(Step::NewUserNamespace).unwrap_err();
        assert_eq!(error.to_string(), "cannot make a user namespace: Operation not permitted (os error 1)");
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<SandboxError>(&text).unwrap(), error);
    }

    #[test]
    fn what_cannot_be_run_has_its_own_codes() {
        let argv0 = "psql".to_owned();
        let error = SandboxError::NotExecutable { argv0: argv0.clone(), errno: libc::EACCES };
        assert_eq!(error.code(), ErrorCode::CommandNotExecutable);
        assert_eq!(SandboxError::CommandNotFound { argv0 }.code(), ErrorCode::CommandNotFound);
    }
}
