//! How a request to a session can fail.

use std::io;
use std::path::PathBuf;

use belljar_model::ErrorCode;

use crate::frame::FrameError;
use crate::wire::{ErrorView, ProtocolVersion};

/// A request that was not served.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there: the session has ended, or its host process was killed.
    #[error("nobody answers at `{}`", socket.display())]
    NotThere {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Somebody listens there and does not answer.
    #[error("the host process behind `{}` does not answer: is it stopped?", socket.display())]
    Silent { socket: PathBuf },
    /// The answer broke off: the session ended under the request.
    #[error("the session went away before it had answered")]
    Lost {
        #[source]
        source: hyper::Error,
    },
    /// The session said no, and why.
    #[error(transparent)]
    Refused(ErrorView),
    /// The session was started by another version of belljar, which does not understand this one.
    #[error(
        "the session was started by another version of belljar: it speaks control protocol {theirs}, this one {}",
        ProtocolVersion::CURRENT
    )]
    OtherVersion { theirs: ProtocolVersion },
    /// What came back is not of this protocol.
    #[error("the answer is not of the control protocol: {what}")]
    Protocol {
        /// What does not hold.
        what: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A frame of an exec channel could not be sent or read.
    #[error("the channel to the command broke")]
    Frame(#[from] FrameError),
    /// The socket could not be used.
    #[error("the control socket cannot be used")]
    Io(#[from] io::Error),
}

impl ClientError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotThere { .. } => ErrorCode::SessionEnded,
            Self::Silent { .. } => ErrorCode::WaitTimedOut,
            Self::Lost { .. } => ErrorCode::SessionDead,
            Self::Refused(view) => view.code,
            Self::OtherVersion { .. } => ErrorCode::SessionOtherVersion,
            Self::Protocol { .. } | Self::Frame(_) | Self::Io(_) => ErrorCode::Internal,
        }
    }

    /// What went wrong with a session that speaks `theirs`: between two versions, that is the reason for whatever
    /// one of them does not know.
    pub(crate) fn met(self, theirs: ProtocolVersion) -> Self {
        let is_unknown = match &self {
            Self::Refused(view) => view.code == ErrorCode::InvalidRequest,
            Self::Protocol { .. } => true,
            _ => false,
        };
        if is_unknown && theirs != ProtocolVersion::CURRENT { Self::OtherVersion { theirs } } else { self }
    }

    /// Something that this program cannot read.
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into(), source: None }
    }

    /// Something that this program cannot read, and the reader's own words.
    pub(crate) fn unreadable(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Protocol { what: what.into(), source: Some(Box::new(source)) }
    }

    /// A failure below HTTP, once the connection stood.
    pub(crate) fn transport(source: hyper::Error) -> Self {
        if source.is_parse() || source.is_user() {
            Self::unreadable("it is not HTTP/1.1", source)
        } else {
            Self::Lost { source }
        }
    }
}
