//! The frames of `POST /v1/exec`, once the connection has been upgraded: both sides write and read them.
//!
//! One byte that says what it is, four bytes of length (big-endian, at most [`MAX_PAYLOAD`]), and that many bytes.
//! What a side does not know or cannot read is an error, never skipped: input that is lost in silence would
//! show as a command that fails for no reason.

use std::io;

use belljar_model::event::Exit;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::wire::{ErrorView, TerminalSize};

/// The longest payload. It bounds what a peer can make the other side hold; longer output is several frames.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// How many bytes of standard input may be under way. It keeps a command that does not read from blocking what is
/// behind its input: signals, sizes, and the end of the connection.
pub const STDIN_WINDOW: usize = 256 * 1024;

/// The kind and the length.
const HEADER: usize = 5;

/// How much is asked of the reader at once.
const READ_AHEAD: usize = 16 * 1024;

/// One message between the command and whoever runs it.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Bytes for the command's standard input (or its terminal). No more than [`STDIN_WINDOW`] of them may be
    /// under way: sent, and not told taken.
    Stdin(Vec<u8>),
    /// Bytes from its standard output, or from its terminal.
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    /// The standard input has ended.
    StdinEnd,
    /// The terminal has this size now.
    Resize(TerminalSize),
    /// A signal for the command, by its number.
    Signal(i32),
    /// The command has ended. Nothing comes after it.
    Exit(Exit),
    /// It could not be started, or the channel is of no more use. Nothing comes after it.
    Error(ErrorView),
    /// So many bytes of the standard input have been taken (or nobody reads them any more).
    StdinTaken(u32),
}

/// A frame that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the connection ended in the middle of a frame")]
    CutOff,
    #[error("a frame of {length} bytes is longer than {MAX_PAYLOAD}")]
    TooLong { length: usize },
    #[error("there is no kind of frame {kind}")]
    UnknownKind { kind: u8 },
    #[error("a frame of kind {kind} has {length} bytes that it cannot have")]
    BadLength { kind: u8, length: usize },
    #[error("a frame of kind {kind} is not the JSON that it should be")]
    BadJson {
        kind: u8,
        #[source]
        source: serde_json::Error,
    },
}

/// Writes one frame. It is not flushed. Payloads of more than [`MAX_PAYLOAD`] are refused.
pub async fn write_frame(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), FrameError> {
    writer.write_all(&frame.encode()?).await?;
    Ok(())
}

/// Reads one frame; `None` where the connection ended between two frames.
///
/// A call that is dropped before it is done loses what it had read: to wait for a frame *or* something else,
/// use a [`FrameReader`].
pub async fn read_frame(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await.map_err(cut_off)?;
    let (kind, length) = parse_header(header)?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.map_err(cut_off)?;
    Frame::decode(kind, payload).map(Some)
}

/// Reads frames one after the other. A call to [`FrameReader::next`] that is dropped loses nothing.
#[derive(Debug)]
pub struct FrameReader<R> {
    reader: R,
    buffer: Vec<u8>,
    /// How much of the buffer has been given out.
    taken: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), taken: 0 }
    }

    /// The next frame; `None` where the connection ended between two frames.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            self.buffer.reserve(READ_AHEAD);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::CutOff) };
            }
        }
    }

    /// The next frame, where the buffer holds all of it.
    fn take_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((&header, after)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let (kind, length) = parse_header(header)?;
        let Some(payload) = after.get(..length) else {
            return Ok(None);
        };
        let frame = Frame::decode(kind, payload.to_vec())?;
        self.taken += HEADER + length;
        Ok(Some(frame))
    }
}

impl Frame {
    const STDIN: u8 = 0;
    const STDOUT: u8 = 1;
    const STDERR: u8 = 2;
    const STDIN_END: u8 = 3;
    const RESIZE: u8 = 4;
    const SIGNAL: u8 = 5;
    const EXIT: u8 = 6;
    const ERROR: u8 = 7;
    const STDIN_TAKEN: u8 = 8;

    /// The frame as it crosses the connection.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        match self {
            Self::Stdin(bytes) => with_header(Self::STDIN, bytes),
            Self::Stdout(bytes) => with_header(Self::STDOUT, bytes),
            Self::Stderr(bytes) => with_header(Self::STDERR, bytes),
            Self::StdinEnd => with_header(Self::STDIN_END, &[]),
            Self::Resize(TerminalSize { rows, columns }) => {
                let ([r0, r1], [c0, c1]) = (rows.to_be_bytes(), columns.to_be_bytes());
                with_header(Self::RESIZE, &[r0, r1, c0, c1])
            }
            Self::Signal(number) => with_header(Self::SIGNAL, &number.to_be_bytes()),
            Self::Exit(exit) => with_header(Self::EXIT, &to_json(Self::EXIT, exit)?),
            Self::Error(view) => with_header(Self::ERROR, &to_json(Self::ERROR, view)?),
            Self::StdinTaken(count) => with_header(Self::STDIN_TAKEN, &count.to_be_bytes()),
        }
    }

    fn decode(kind: u8, payload: Vec<u8>) -> Result<Self, FrameError> {
        let bad_length = |length| FrameError::BadLength { kind, length };
        match kind {
            Self::STDIN => Ok(Self::Stdin(payload)),
            Self::STDOUT => Ok(Self::Stdout(payload)),
            Self::STDERR => Ok(Self::Stderr(payload)),
            Self::STDIN_END if payload.is_empty() => Ok(Self::StdinEnd),
            Self::STDIN_END => Err(bad_length(payload.len())),
            Self::RESIZE => match payload[..] {
                [r0, r1, c0, c1] => Ok(Self::Resize(TerminalSize {
                    rows: u16::from_be_bytes([r0, r1]),
                    columns: u16::from_be_bytes([c0, c1]),
                })),
                _ => Err(bad_length(payload.len())),
            },
            Self::SIGNAL => match <[u8; 4]>::try_from(&payload[..]) {
                Ok(bytes) => Ok(Self::Signal(i32::from_be_bytes(bytes))),
                Err(_) => Err(bad_length(payload.len())),
            },
            Self::EXIT => from_json(kind, &payload).map(Self::Exit),
            Self::ERROR => from_json(kind, &payload).map(Self::Error),
            Self::STDIN_TAKEN => match <[u8; 4]>::try_from(&payload[..]) {
                Ok(bytes) => Ok(Self::StdinTaken(u32::from_be_bytes(bytes))),
                Err(_) => Err(bad_length(payload.len())),
            },
            _ => Err(FrameError::UnknownKind { kind }),
        }
    }
}

fn with_header(kind: u8, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = payload.len();
    let short = u32::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD);
    let Some(short) = short else {
        return Err(FrameError::TooLong { length });
    };
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.push(kind);
    bytes.extend_from_slice(&short.to_be_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// The kind and the length, both checked before anything is allocated for them.
fn parse_header([kind, length @ ..]: [u8; HEADER]) -> Result<(u8, usize), FrameError> {
    if kind > Frame::STDIN_TAKEN {
        return Err(FrameError::UnknownKind { kind });
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong { length });
    }
    Ok((kind, length))
}

fn to_json(kind: u8, value: &impl serde::Serialize) -> Result<Vec<u8>, FrameError> {
    serde_json::to_vec(value).map_err(|source| FrameError::BadJson { kind, source })
}

fn from_json<T: serde::de::DeserializeOwned>(kind: u8, payload: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(|source| FrameError::BadJson { kind, source })
}

/// The end of the connection inside of a frame, told from other failures.
fn cut_off(error: io::Error) -> FrameError {
    if error.kind() == io::ErrorKind::UnexpectedEof { FrameError::CutOff } else { FrameError::Io(error) }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use tokio::io::ReadBuf;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            bytes().prop_map(Frame::Stdin),
            bytes().prop_map(Frame::Stdout),
            bytes().prop_map(Frame::Stderr),
            Just(Frame::StdinEnd),
            any::<u32>().prop_map(Frame::StdinTaken),
            any::<(u16, u16)>().prop_map(|(rows, columns)| Frame::Resize(TerminalSize { rows, columns })),
            any::<i32>().prop_map(Frame::Signal),
            any::<Option<i32>>().prop_map(|code| Frame::Exit(Exit { code, signal: None })),
            ".*".prop_map(|message| {
                let code = belljar_model::ErrorCode::CommandNotFound;
                Frame::Error(ErrorView { code, message, hints: vec!["install it".to_owned()] })
            }),
        ]
    }

    /// A connection that gives its bytes in pieces of the given lengths, and now and then lets wait.
    struct InPieces {
        rest: Vec<u8>,
        pieces: std::iter::Cycle<std::vec::IntoIter<usize>>,
    }

    impl AsyncRead for InPieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.pieces.next() {
                None | Some(0) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(piece) => {
                    let length = piece.min(self.rest.len()).min(buffer.remaining());
                    let taken: Vec<u8> = self.rest.drain(..length).collect();
                    buffer.put_slice(&taken);
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            all in proptest::collection::vec(frames(), 0..8),
            mut pieces in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            pieces.push(7);
            run(async {
                let mut bytes = Vec::new();
                for frame in &all {
                    write_frame(&mut bytes, frame).await.unwrap();
                }
                let in_pieces = || InPieces { rest: bytes.clone(), pieces: pieces.clone().into_iter().cycle() };

                let mut plain = in_pieces();
                for frame in &all {
                    let read = read_frame(&mut plain).await.unwrap();
                    prop_assert_eq!(read.as_ref(), Some(frame));
                }
                prop_assert_eq!(read_frame(&mut plain).await.unwrap(), None);

                // Dropped at every moment where it has to wait, and still nothing is lost.
                let mut reader = FrameReader::new(in_pieces());
                let mut read = Vec::new();
                loop {
                    let next = tokio::select! {
                        biased;
                        next = reader.next() => next.unwrap(),
                        () = std::future::ready(()) => continue,
                    };
                    match next {
                        Some(frame) => read.push(frame),
                        None => break,
                    }
                }
                prop_assert_eq!(&read, &all);
                Ok(())
            })?;
        }

        #[test]
        fn what_is_cut_off_is_an_error(frame in frames(), at in any::<proptest::sample::Index>()) {
            let bytes = frame.encode().unwrap();
            let cut = &bytes[..=at.index(bytes.len() - 1)];
            run(async {
                prop_assert!(matches!(read_frame(&mut &*cut).await, Err(FrameError::CutOff)));
                prop_assert!(matches!(FrameReader::new(cut).next().await, Err(FrameError::CutOff)));
                Ok(())
            })?;
        }

        #[test]
        fn garbage_is_an_error_or_a_frame_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let plain = run(async { read_frame(&mut &*bytes).await });
            let buffered = run(async { FrameReader::new(&*bytes).next().await });
            prop_assert_eq!(format!("{plain:?}"), format!("{buffered:?}"));
        }
    }

    #[test]
    fn the_form_is_the_agreed_one() {
        let resize = Frame::Resize(TerminalSize { rows: 24, columns: 0x0150 });
        assert_eq!(resize.encode().unwrap(), [4, 0, 0, 0, 4, 0, 24, 1, 0x50]);
        assert_eq!(Frame::Signal(-2).encode().unwrap(), [5, 0, 0, 0, 4, 255, 255, 255, 254]);
        assert_eq!(Frame::StdinEnd.encode().unwrap(), [3, 0, 0, 0, 0]);
        let exit = Frame::Exit(Exit { code: Some(7), signal: None });
        assert_eq!(exit.encode().unwrap(), [&[6, 0, 0, 0, 10][..], br#"{"code":7}"#].concat());
    }

    #[test]
    fn what_is_too_long_or_unknown_is_refused_before_it_is_read() {
        let long = Frame::Stdin(vec![0; MAX_PAYLOAD + 1]);
        assert!(matches!(long.encode(), Err(FrameError::TooLong { .. })));
        Frame::Stdin(vec![0; MAX_PAYLOAD]).encode().unwrap();
        let read = |bytes: &'static [u8]| run(async { FrameReader::new(bytes).next().await });
        assert!(matches!(read(&[1, 255, 255, 255, 255]), Err(FrameError::TooLong { .. })));
        assert!(matches!(read(&[9, 0, 0, 0, 0]), Err(FrameError::UnknownKind { kind: 9 })));
        assert!(matches!(read(&[4, 0, 0, 0, 1, 0]), Err(FrameError::BadLength { kind: 4, length: 1 })));
        assert!(matches!(read(&[6, 0, 0, 0, 1, b'x']), Err(FrameError::BadJson { kind: 6, .. })));
    }
}
