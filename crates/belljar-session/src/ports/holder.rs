//! Who listens on a port of the host, as far as we are allowed to see it.

use std::fmt;
use std::path::Path;

use belljar_stack::plan::Protocol;

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The user, by number.
    pub uid: u32,
    /// The process and its command line, where we may look at it.
    pub process: Option<(i32, String)>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, command)) => write!(f, "process {pid} ({command})"),
            None => write!(f, "a process of user {}", self.uid),
        }
    }
}

/// The state of a TCP socket that listens.
const LISTEN: &str = "0A";

/// Whoever has this port, on whatever address. Nobody, where it has just gone.
pub(crate) fn of(protocol: Protocol, port: u16) -> Option<Holder> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => &["/proc/net/udp", "/proc/net/udp6"],
    };
    let (uid, inode) = tables.iter().find_map(|table| {
        let text = fs_err::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| row(line, protocol, port))
    })?;
    Some(Holder { uid, process: process_with(&format!("socket:[{inode}]")) })
}

/// The user and the inode of a row of the kernel's table, if it is the port's.
fn row(line: &str, protocol: Protocol, port: u16) -> Option<(u32, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (_, number) = words.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(number, 16) == Ok(port);
    let listens = protocol == Protocol::Udp || *words.get(3)? == LISTEN;
    (is_it && listens).then_some(())?;
    Some((words.get(7)?.parse().ok()?, (*words.get(9)?).to_owned()))
}

fn process_with(socket: &str) -> Option<(i32, String)> {
    let processes = fs_err::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find_map(|pid| {
        let mut fds = fs_err::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let has_it =
            |fd: fs_err::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(socket));
        if !fds.any(has_it) {
            return None;
        }
        let command = fs_err::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, short(&String::from_utf8_lossy(&command))))
    })
}

/// A command line for people: the program without its directory, and not too much of the rest.
fn short(command: &str) -> String {
    let (program, rest) = command.split_once('\0').unwrap_or((command, ""));
    let program = program.rsplit('/').next().unwrap_or(program);
    format!("{program} {}", rest.replace('\0', " ")).trim_end().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shortened() {
        assert_eq!(short("/usr/bin/python3\0-m\0http.server\0"), "python3 -m http.server");
        assert_eq!(short("nginx"), "nginx");
    }

    #[test]
    fn a_row_of_the_kernels_table_is_read() {
        let line = "   3: 0100007F:46A0 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 991234 1 0000000000000000 100 0 0 10 0";
        assert_eq!(row(line, Protocol::Tcp, 18080), Some((1000, "991234".to_owned())));
        assert_eq!(row(line, Protocol::Tcp, 18081), None);
        // A connection from there is not somebody who listens.
        assert_eq!(row(&line.replace(" 0A ", " 01 "), Protocol::Tcp, 18080), None);
        assert_eq!(row("", Protocol::Tcp, 18080), None);
    }
}
