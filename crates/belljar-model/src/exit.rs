//! Exit codes of the program: public, stable, and each with one line that says what it means.

/// What the program ends with. `run` and `exec` end with the command's own code instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// Done; for `test`, everything is green.
    pub const OK: Self = Self(0);
    /// belljar itself failed: a bug, please report it.
    pub const INTERNAL: Self = Self(1);
    /// The command line is wrong.
    pub const USAGE: Self = Self(2);
    /// The stack or a configuration is invalid.
    pub const INVALID: Self = Self(3);
    /// This machine or backend cannot do what was asked.
    pub const UNSUPPORTED: Self = Self(4);
    /// A session did not become ready.
    pub const NOT_READY: Self = Self(5);
    /// There is no such session, replica, run or branch.
    pub const NOT_FOUND: Self = Self(6);
    /// A conflict: the name is taken, or another owner holds it.
    pub const CONFLICT: Self = Self(7);
    /// A wait ran out.
    pub const TIMED_OUT: Self = Self(8);
    /// Some scenarios failed, timed out or leaked.
    pub const FAILED: Self = Self(10);
    /// Nothing failed, but something was flaky.
    pub const FLAKY: Self = Self(11);
    /// Nothing failed, but a session never came up.
    pub const SETUP_FAILED: Self = Self(12);
    /// Nothing ran: no scenario was selected.
    pub const NOTHING_RAN: Self = Self(13);
    /// `run` and `exec`: belljar itself failed.
    pub const RUN_FAILED: Self = Self(125);
    /// `run` and `exec`: the command cannot be executed.
    pub const NOT_EXECUTABLE: Self = Self(126);
    /// `run` and `exec`: the command was not found.
    pub const COMMAND_NOT_FOUND: Self = Self(127);
    /// Interrupted by Ctrl-C.
    pub const INTERRUPTED: Self = Self(130);
    /// Terminated by SIGTERM.
    pub const TERMINATED: Self = Self(143);

    /// Every code with its meaning: the reference page is made from this.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::OK, "Done; for `test`, everything is green"),
        (Self::INTERNAL, "belljar itself failed: a bug, please report it"),
        (Self::USAGE, "The command line is wrong"),
        (Self::INVALID, "The stack or a configuration is invalid"),
        (Self::UNSUPPORTED, "This machine or backend cannot do what was asked"),
        (Self::NOT_READY, "A session did not become ready"),
        (Self::NOT_FOUND, "There is no such session, replica or run"),
        (Self::CONFLICT, "A conflict: the name is taken, or another owner holds it"),
        (Self::TIMED_OUT, "A wait ran out, or `always` was violated"),
        (Self::FAILED, "Some scenarios failed, timed out or leaked"),
        (Self::FLAKY, "Nothing failed, but something was flaky"),
        (Self::SETUP_FAILED, "Nothing failed, but a session never came up"),
        (Self::NOTHING_RAN, "Nothing ran: no scenario was selected"),
        (Self::RUN_FAILED, "`run` and `exec`: belljar itself failed"),
        (Self::NOT_EXECUTABLE, "`run` and `exec`: the command cannot be executed"),
        (Self::COMMAND_NOT_FOUND, "`run` and `exec`: the command was not found"),
        (Self::INTERRUPTED, "Interrupted by Ctrl-C"),
        (Self::TERMINATED, "Terminated by SIGTERM"),
    ];
}
