//! Asking the kernel whether a file is still being written.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Whether anybody has this file open for writing. Nobody else sees the question. Where the kernel does not
/// answer it (another's file, a file system without leases), nobody is assumed to.
pub fn is_open_for_writing(file: BorrowedFd<'_>) -> bool {
    // A lease for readers is given where there is no writer, and to nobody else.
    // SAFETY: the descriptor is open as long as it is borrowed, and neither call touches memory.
    let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    if leased == -1 {
        return std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
    }
    // SAFETY: as above. A lease that is not given back goes with the descriptor.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    false
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::is_open_for_writing;

    #[test]
    fn a_writer_is_seen_until_it_closes_the_file() {
        let path = std::env::temp_dir().join(format!("belljar-writers-{}", std::process::id()));
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(is_open_for_writing(reader.as_fd()));
        drop(writer);
        assert!(!is_open_for_writing(reader.as_fd()));
        std::fs::remove_file(&path).unwrap();
    }
}
