//! The trivial service that is measured: listens, says when it did, and answers HTTP.
//!
//! `serve PORT [AFTER_MS]` says `listening at NANOSECONDS`, on the clock that the whole machine shares, and answers
//! every request with a word. `check PORT` ends with 0 where somebody takes connections on this port.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Whoever connects only to see whether that works says nothing, and is not to keep others waiting.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["serve", port] => serve(port, "0"),
        ["serve", port, after] => serve(port, after),
        ["check", port] => check(port),
        _ => Err(io::Error::other("serve PORT [AFTER_MS] | check PORT")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody can be told that nobody can be told.
            let _ = writeln!(io::stderr(), "bench-server: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it plays a server that takes its time to start")]
fn serve(port: &str, after: &str) -> io::Result<()> {
    let after = Duration::from_millis(after.parse().map_err(io::Error::other)?);
    if !after.is_zero() {
        std::thread::sleep(after);
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, parsed(port)?))?;
    let now = clock_gettime(ClockId::Monotonic);
    let mut out = io::stdout();
    out.write_all(format!("listening at {}\n", now.tv_sec * 1_000_000_000 + now.tv_nsec).as_bytes())?;
    out.flush()?;
    for stream in listener.incoming() {
        // A client that goes away in the middle is its own affair.
        let _ = stream.and_then(answer);
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    if stream.read(&mut [0; 4096])? == 0 {
        return Ok(());
    }
    stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
}

fn check(port: &str) -> io::Result<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, parsed(port)?)).map(drop)
}

fn parsed(port: &str) -> io::Result<u16> {
    port.parse().map_err(io::Error::other)
}
