//! What a process of a session sees of the host's files.

use std::path::Path;

use belljar_sandbox::spec::{Bind, ExitStatus, Filesystem, PathCheck, Place, ProcessSpec, SessionSpec};
use belljar_sandbox::{Answer, Ask, SandboxError, Zygote};
use tempfile::TempDir;

use super::Case;
use crate::world::{Session, fixture, shell, spec};

pub(super) const CASES: &[(&str, Case)] = &[
    ("temporary places are private", private_places),
    ("a checkout in /tmp stays where it is", checkout_in_tmp),
    ("a link in /tmp stays where it is", link_in_tmp),
    ("a path that would uncover everything is refused", keeps_too_much),
    ("a path that must stay and is not there is an error", kept_is_missing),
    ("a home can be private", private_home),
    ("read-only means read-only, but for what is writable", read_only),
    ("an overlay keeps what is written in the session", overlay),
    ("generated files stand in for the host's", generated),
    ("places are made without a trace on the host", made_places),
    ("paths are looked at as a process sees them", checks),
];

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn private_places(zygote: &Zygote) {
    let host = TempDir::new_in("/tmp").unwrap();
    let (one, other) = (Session::new(zygote, &spec(1)), Session::new(zygote, &spec(0)));
    for place in ["/tmp", "/run", "/dev/shm"] {
        one.sh(&format!("echo one > {place}/belljar-test"));
        assert_eq!(one.sh_in(Place::Replica(0), &format!("cat {place}/belljar-test")), "one");
        other.sh(&format!("test ! -e {place}/belljar-test"));
        assert!(!Path::new(place).join("belljar-test").exists());
    }
    one.sh(&format!("test ! -e {}", shown(host.path())));
    assert_eq!(one.sh("stat -c %a /tmp /run /dev/shm"), "1777\n755\n1777");
}

fn checkout_in_tmp(zygote: &Zygote) {
    let host = TempDir::new_in("/tmp").unwrap();
    let [checkout, sibling] = ["checkout", "sibling"].map(|name| host.path().join(name));
    let inner = checkout.join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::create_dir(&sibling).unwrap();
    std::fs::write(checkout.join("file"), "given").unwrap();
    let absent = host.path().join("absent");
    let spec = SessionSpec {
        keep: vec![checkout.clone(), inner],
        keep_if_present: vec![absent, host.path().join("checkout/file")],
        ..spec(1)
    };
    let session = Session::new(zygote, &spec);
    for place in [Place::Session, Place::Replica(0)] {
        let at = shown(&checkout);
        assert_eq!(session.sh_in(place, &format!("cat {at}/file; echo made > {at}/inner/made")), "given");
        assert_eq!(text(&checkout.join("inner/made")), "made\n");
        assert_eq!(session.sh_in(place, &format!("ls {}", shown(host.path()))), "checkout");
    }
}

fn link_in_tmp(zygote: &Zygote) {
    let host = TempDir::new_in("/tmp").unwrap();
    let (real, link) = (host.path().join("real"), host.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::fs::write(real.join("file"), "given").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let session = Session::new(zygote, &SessionSpec { keep: vec![link.clone()], ..spec(0) });
    assert_eq!(session.sh(&format!("cat {}/file {}/file", shown(&link), shown(&real))), "givengiven");
}

fn keeps_too_much(zygote: &Zygote) {
    for (path, covered) in [("/", "/tmp"), ("/tmp", "/tmp"), ("/dev", "/dev")] {
        let kept = SessionSpec { keep: vec![path.into()], ..spec(0) };
        let error = SandboxError::KeepsTooMuch { kept: path.into(), covered: covered.into() };
        assert_eq!(Session::try_new(zygote, &kept).err(), Some(error));
        // An entry of PATH is nobody's wish.
        Session::new(zygote, &SessionSpec { keep_if_present: vec![path.into()], ..spec(0) });
    }
}

fn kept_is_missing(zygote: &Zygote) {
    let kept = SessionSpec { keep: vec!["/tmp/no/such/path".into()], ..spec(0) };
    let error = Session::try_new(zygote, &kept).err().unwrap();
    assert!(error.to_string().contains("/tmp/no/such/path"), "{error}");
    // The zygote is none the worse for it.
    Session::new(zygote, &spec(1));
}

fn private_home(zygote: &Zygote) {
    let host = TempDir::new_in("/tmp").unwrap();
    let home = host.path().join("home");
    let checkout = home.join("src/checkout");
    std::fs::create_dir_all(&checkout).unwrap();
    std::fs::write(home.join("secret"), "").unwrap();
    std::fs::write(checkout.join("file"), "given").unwrap();
    let spec = SessionSpec { private_home: Some(home.clone()), keep: vec![checkout.clone()], ..spec(1) };
    let session = Session::new(zygote, &spec);
    for place in [Place::Session, Place::Replica(0)] {
        let script =
            format!("cd {}; ls; stat -c %a .; cat src/checkout/file; : > mine; rm mine", shown(&home));
        assert_eq!(session.sh_in(place, &script), "src\n700\ngiven");
    }
    assert!(!home.join("mine").exists());
}

/// A directory that no private one covers, and that the caller may write.
fn outside() -> TempDir {
    TempDir::new_in("/var/tmp").unwrap()
}

fn read_only(zygote: &Zygote) {
    let (host, below) = (outside(), TempDir::new_in("/tmp").unwrap());
    let artifacts = host.path().join("artifacts");
    std::fs::create_dir(&artifacts).unwrap();
    let out = below.path().join("out");
    std::fs::create_dir_all(out.join("x")).unwrap();
    let spec = SessionSpec {
        filesystem: Filesystem::ReadOnly,
        writable: vec![artifacts.clone(), out.clone()],
        // What is asked to be writable stays so in a part that is not.
        keep: vec![below.path().to_owned(), below.path().join("out/x")],
        ..spec(1)
    };
    let session = Session::new(zygote, &spec);
    for place in [Place::Session, Place::Replica(0)] {
        for directory in [host.path(), below.path()] {
            let (output, status) =
                session.run(shell(place, &format!("LC_ALL=C; : > {}/x", shown(directory))));
            assert_ne!(status, ExitStatus::Code(0));
            assert!(output.contains("Read-only file system"), "{output}");
        }
        session.sh_in(place, &format!("echo kept > {}/x; : > /tmp/x; : > /dev/null", shown(&artifacts)));
        assert_eq!(text(&artifacts.join("x")), "kept\n");
        session.sh_in(place, &format!("echo kept > {}/x/y", shown(&out)));
    }
}

fn overlay(zygote: &Zygote) {
    let (host, below) = (outside(), TempDir::new_in("/tmp").unwrap());
    std::fs::write(below.path().join("file"), "given").unwrap();
    let artifacts = host.path().join("artifacts");
    std::fs::create_dir(&artifacts).unwrap();
    std::fs::write(host.path().join("file"), "given").unwrap();
    let spec = SessionSpec {
        filesystem: Filesystem::Overlay,
        writable: vec![artifacts.clone()],
        keep: vec![below.path().to_owned()],
        ..spec(1)
    };
    let session = Session::new(zygote, &spec);
    let at = shown(host.path());
    assert_eq!(
        session.sh(&format!("cd {at}; cat file; echo new > file; echo x > more; echo x > artifacts/x")),
        "given"
    );
    assert_eq!(session.sh_in(Place::Replica(0), &format!("cd {at}; cat file more artifacts/x")), "new\nx\nx");
    assert_eq!(text(&host.path().join("file")), "given");
    assert!(!host.path().join("more").exists());
    assert_eq!(text(&artifacts.join("x")), "x\n");
    let kept = format!("cd {}; cat file; echo new > file; : > more", shown(below.path()));
    assert_eq!(session.sh(&kept), "given");
    assert_eq!(text(&below.path().join("file")), "given");
    assert!(!below.path().join("more").exists());
    // The rest is as it was: programs, /proc, /sys, /dev.
    session
        .sh("test -e /usr/bin/env && test -d /proc/self && test -e /sys/class/net/lo && test -c /dev/null");
    assert_eq!(session.sh("stat -c %a /tmp"), "1777");
}

fn generated(zygote: &Zygote) {
    let before = std::fs::read_dir("/etc").unwrap().count();
    let mut spec = spec(1);
    spec.etc.push(("/etc/belljar-made".into(), "made".into()));
    spec.etc.push(("/etc/resolv.conf".into(), "nameserver 10.9.0.1\n".into()));
    let session = Session::new(zygote, &spec);
    for place in [Place::Session, Place::Replica(0)] {
        assert_eq!(session.sh_in(place, "cat /etc/belljar-made"), "made");
        assert_eq!(session.sh_in(place, "cat /etc/resolv.conf"), "nameserver 10.9.0.1");
        assert_eq!(session.sh_in(place, "grep db /etc/hosts"), "10.9.0.2 db");
        assert_eq!(session.sh_in(place, "grep -c root: /etc/passwd"), "1");
    }
    assert!(!Path::new("/etc/belljar-made").exists());
    assert_eq!(std::fs::read_dir("/etc").unwrap().count(), before);
}

fn made_places(zygote: &Zygote) {
    let source = outside();
    std::fs::write(source.path().join("file"), "given").unwrap();
    let session = Session::new(zygote, &SessionSpec { writable: vec![source.path().to_owned()], ..spec(2) });
    let targets = [
        "/belljar-test/data",
        "/var/lib/belljar-test/deep/data",
        "/tmp/belljar-test/data",
        "/etc/belljar-test",
    ];
    let binds =
        targets.map(|target| Bind { source: source.path().to_owned(), target: target.into() }).to_vec();
    let files = vec![
        ("/etc/belljar/conf.d/one".into(), "one".into()),
        ("/opt/belljar-test/run".into(), "#!/bin/sh\necho ran\n".into()),
        ("/belljar-file".into(), "root".into()),
        ("/belljar-test/data/inner".into(), "inner".into()),
    ];
    for place in [Place::Session, Place::Replica(0)] {
        let script = format!(
            "set -e; for t in {}; do cat $t/file; echo x > $t/x; done; \
             cat /etc/belljar/conf.d/one /belljar-file /belljar-test/data/inner; /opt/belljar-test/run; \
             test -e /usr/bin/env -a -e /proc/self -a -e /sys/class/net/lo -a -c /dev/null -a -e /etc/passwd",
            targets.join(" ")
        );
        let spec = ProcessSpec { binds: binds.clone(), files: files.clone(), ..shell(place, &script) };
        let (output, status) = session.run(spec);
        let expected = "givengivengivengivenonerootinnerran";
        assert_eq!((output.as_str(), status), (expected, ExitStatus::Code(0)));
        assert_eq!(text(&source.path().join("x")), "x\n");
    }
    // Other processes of the session do not see them, nor does the host.
    assert_eq!(session.sh_in(Place::Replica(1), "ls / /etc /var/lib /opt | grep belljar || true"), "");
    for target in
        targets.into_iter().chain(["/belljar-test", "/belljar-file", "/etc/belljar", "/opt/belljar-test"])
    {
        assert!(!Path::new(target).exists(), "{target}");
    }
}

fn checks(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let files = vec![("/belljar-test/link-target".into(), String::new())];
    let mut argv = fixture(&["socket", "/tmp/server.sock"]);
    argv.splice(
        0..0,
        ["sh", "-c", "ln -s /belljar-test/link-target /tmp/link; exec \"$@\"", "sh"].map(str::to_owned),
    );
    let spec = ProcessSpec { files, argv, ..shell(Place::Replica(0), "") };
    let mut server = session.spawn(spec).unwrap();
    assert_eq!(server.line(), "listening");
    let holds = |check: PathCheck| match session.ask(Ask::Check { unit: server.unit, check }) {
        Ok(Answer::Holds(holds)) => holds,
        other => panic!("{other:?}"),
    };
    assert!(holds(PathCheck::Exists("/belljar-test/link-target".into())));
    assert!(holds(PathCheck::Exists("/tmp/link".into())), "an absolute link leads through its own tree");
    assert!(!holds(PathCheck::Exists("/belljar-test/other".into())));
    assert!(holds(PathCheck::Connects("/tmp/server.sock".into())));
    assert!(!holds(PathCheck::Connects("/tmp/link".into())));
    assert!(!holds(PathCheck::Connects("/tmp/no.sock".into())));
}
