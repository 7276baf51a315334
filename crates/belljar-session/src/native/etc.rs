//! The few files of /etc that a session has of its own.

use std::path::{Path, PathBuf};

use belljar_sandbox::Identity;

use super::dns::Names;
use crate::session::User;

const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
     protocols: files\nservices: files\nethers: files\nrpc: files\n";

/// The files with their texts: names are looked up in the session alone, and who we are has a name.
pub(super) fn files(
    names: &Names,
    name_server: std::net::Ipv4Addr,
    identity: Identity,
    user: &User,
) -> std::io::Result<Vec<(PathBuf, String)>> {
    let passwd = fs_err::read_to_string("/etc/passwd")?;
    let group = fs_err::read_to_string("/etc/group")?;
    let home = user.home.display();
    let Identity { uid, gid } = identity;
    Ok(vec![
        (PathBuf::from("/etc/hosts"), names.hosts_file()),
        (PathBuf::from("/etc/host.conf"), "multi on\n".to_owned()),
        (
            PathBuf::from("/etc/resolv.conf"),
            format!("nameserver {name_server}\noptions timeout:2 attempts:2\n"),
        ),
        (PathBuf::from("/etc/nsswitch.conf"), NSSWITCH.to_owned()),
        (
            Path::new("/etc/passwd").to_owned(),
            with_line(&passwd, uid, &format!("{}:x:{uid}:{gid}:belljar:{home}:/bin/sh", user.name)),
        ),
        (Path::new("/etc/group").to_owned(), with_line(&group, gid, &format!("{}:x:{gid}:", user.name))),
    ])
}

/// The text with `line` in the place of whatever has this number, or in front of the rest.
fn with_line(text: &str, number: u32, line: &str) -> String {
    let number = number.to_string();
    let name = line.split(':').next();
    let others = text
        .lines()
        .filter(|one| one.split(':').nth(2) != Some(number.as_str()) && one.split(':').next() != name);
    let mut result = format!("{line}\n");
    for one in others {
        result.push_str(one);
        result.push('\n');
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_user_has_a_name_and_nobody_else_has_its_number() {
        let host = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(
            with_line(host, 1000, "belljar:x:1000:1000::/root:/bin/sh"),
            "belljar:x:1000:1000::/root:/bin/sh\nroot:x:0:0:root:/root:/bin/bash\n"
        );
        assert_eq!(with_line("", 7, "x:x:7:7:::"), "x:x:7:7:::\n");
    }
}
