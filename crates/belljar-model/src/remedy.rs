//! What to do about each error, for the catalogue. Errors say themselves what they are about this time; this is
//! what holds every time.

use crate::error_code::ErrorCode;

impl ErrorCode {
    /// What to do about it, in a sentence or two.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Internal => {
                "Report it with the message, the version (`belljar --version`) and, where a session was involved, its \
                 `belljar bundle`."
            }
            Self::Usage => "`belljar VERB --help` shows what the verb takes, with an example.",
            Self::StackNotFound => {
                "Go to the project's directory, name the file with `-f FILE`, or let `belljar init` write a first one."
            }
            Self::StackInvalid => {
                "Each fault is shown at its place, with what was expected there. `belljar check` shows them all without \
                 starting anything."
            }
            Self::RecipeNotFound => {
                "`belljar recipes` lists those there are; a stack's own lie in `recipes/` beside it."
            }
            Self::RecipeExists => {
                "It stays as it is: change it, or move it away and eject belljar's once more."
            }
            Self::ServerNotInstalled => {
                "Install the package that the message names, or say where the programs are with the recipe's `bin`. \
                 `belljar doctor` lists what is here."
            }
            Self::Unsupported => {
                "`belljar doctor` says what this machine can do, what it lacks and what helps. Else leave out what was \
                 asked for."
            }
            Self::SandboxRefused => {
                "`belljar doctor` tries each step and says what is refused; the guide to CI has what helps on which \
                 system."
            }
            Self::StateDirUnusable => {
                "Look at the directory that the message names: whether it is yours, writable, and its disk not full. \
                 `--state-dir` and `BELLJAR_STATE_DIR` name another."
            }
            Self::StoreCorrupt => {
                "Something else wrote there, or the disk is damaged. Move the state directory away; sessions that live \
                 go on and end with their host processes."
            }
            Self::StoreTooNew => {
                "Use the newer belljar that wrote it, or another directory with `--state-dir`."
            }
            Self::SessionNotFound => {
                "`belljar ls --all` lists the sessions of every directory, ended ones too."
            }
            Self::SessionAmbiguous => "Name one of those that the message lists: `-s NAME`.",
            Self::SessionNameTaken => {
                "Take another name, or end the session that has it: `belljar down NAME`."
            }
            Self::SessionEnded => {
                "It can be read (`ps`, `logs`, `events`, `bundle`), and nothing can be done to it. `belljar up` starts \
                 another."
            }
            Self::SessionDead => {
                "Nothing of it runs any more. `belljar logs` and `belljar events` show what it did; `belljar clean` \
                 removes it."
            }
            Self::SessionNotOwned => "Ask its owner, or use a state directory of your own.",
            Self::SessionOtherVersion => {
                "End it with the belljar that started it, or end its host process (`belljar ls --json` has its \
                 `host_pid`), and start it again with this one."
            }
            Self::SessionNotReady => {
                "The last lines of what it failed on are in the message; `belljar logs -s ID` shows all of them, and \
                 `belljar probe` why a check does not hold while it starts."
            }
            Self::ReplicaNotFound => {
                "The message lists those there are; `belljar ps` shows them with their states."
            }
            Self::ReplicaNotRunning => {
                "`belljar start` starts it; `belljar logs` shows what it said at its end."
            }
            Self::PortNotFound => "Declare it under the service's `ports`; `belljar ps` shows those it has.",
            Self::ReplicaNotListening => {
                "`belljar probe` says what it does listen on. A server has to listen on 0.0.0.0 (or `::`), not on \
                 127.0.0.1 alone, and on the port that the stack file says."
            }
            Self::PortNotPublished => {
                "Add it to the service's `publish` and start the session again, or reach it from inside: `belljar exec`."
            }
            Self::ChangeNeedsDown => {
                "End the session with `belljar down`, then `belljar up`. The message names what cannot change while it runs."
            }
            Self::ChangeOvertaken => {
                "Nothing is lost: the later change holds. `belljar ps` shows what the session is by now."
            }
            Self::PortsExhausted => {
                "End sessions that are not needed (`belljar ls`), or allow more ports with `BELLJAR_PORTS=LOW-HIGH`."
            }
            Self::PortTaken => {
                "The message says who has it, where that can be seen. End that, or let belljar take a free port: \
                 `publish = [\"NAME\"]`."
            }
            Self::PortRefused => {
                "Ports below 1024 need a privilege on most machines: publish on a higher one, or on any free one."
            }
            Self::CommandNotFound => {
                "Give its path, or put its directory on the `PATH`. Inside a session `/tmp` is another."
            }
            Self::CommandNotExecutable => {
                "`chmod +x` it, give it a first line such as `#!/bin/sh`, or name its program."
            }
            Self::WaitTimedOut => {
                "The message says what it saw last. Wait longer with `--within`, or look why it does not become true: \
                 `belljar probe`, `belljar logs`."
            }
            Self::AlwaysViolated => "What the command said when it failed is shown above the message.",
            Self::NotDrained => "The message names what is still under way; wait longer, or end it first.",
            Self::NeverStarted => "The message names what has not become ready; `belljar probe` says why.",
            Self::NothingSelected => {
                "`belljar test --list` shows what there is. Scenarios are executable files that a suite's glob matches."
            }
            Self::SuiteNotFound => "`belljar test --list` shows suites and scenarios.",
            Self::InvalidRequest => {
                "The description of the control protocol, openapi.json, has every route with its parameters."
            }
            Self::FileExists => "Move it away, or name another file.",
            Self::OutputFailed => {
                "Look whether the disk is full, and whether the directory is there and writable."
            }
            Self::Interrupted => "Nothing: it was asked to end, and what it had started is gone.",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::error_code::ErrorCode;

    #[test]
    fn every_remedy_is_a_sentence() {
        for code in ErrorCode::ALL {
            assert!(code.remedy().len() > 20 && code.remedy().ends_with('.'), "{code}");
            assert!(!code.remedy().contains("  "), "{code}");
        }
    }
}
