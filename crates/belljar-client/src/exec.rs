//! The channel to a command that runs in a session.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::error::ClientError;
use crate::frame::{Frame, FrameReader, write_frame};

/// A command that runs in the session: its frames, both ways. Dropping it ends the command.
#[derive(Debug)]
pub struct ExecChannel {
    sender: ExecSender,
    receiver: ExecReceiver,
}

impl ExecChannel {
    pub(crate) fn new(stream: TokioIo<Upgraded>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { sender: ExecSender { writer }, receiver: ExecReceiver { reader: FrameReader::new(reader) } }
    }

    /// Both halves, for tasks that send and receive at once.
    pub fn split(self) -> (ExecSender, ExecReceiver) {
        (self.sender, self.receiver)
    }

    /// Sends one frame to the command.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), ClientError> {
        self.sender.send(frame).await
    }

    /// The next frame of the command. A call that is dropped loses nothing.
    pub async fn receive(&mut self) -> Result<Option<Frame>, ClientError> {
        self.receiver.receive().await
    }
}

/// The half towards the command.
#[derive(Debug)]
pub struct ExecSender {
    writer: WriteHalf<TokioIo<Upgraded>>,
}

impl ExecSender {
    /// Sends one frame to the command.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), ClientError> {
        write_frame(&mut self.writer, frame).await?;
        self.writer.flush().await?;
        Ok(())
    }
}

/// The half from the command.
#[derive(Debug)]
pub struct ExecReceiver {
    reader: FrameReader<ReadHalf<TokioIo<Upgraded>>>,
}

impl ExecReceiver {
    /// The next frame of the command; `None` once the session has closed the channel. A call that is dropped
    /// loses nothing.
    pub async fn receive(&mut self) -> Result<Option<Frame>, ClientError> {
        Ok(self.reader.next().await?)
    }
}
