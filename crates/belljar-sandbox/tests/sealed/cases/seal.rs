//! What a process of a session can and cannot do.

use std::fs::File;
use std::os::fd::AsFd as _;

use belljar_sandbox::spec::{ExitStatus, Place, ProcessSpec, Target};
use belljar_sandbox::{Answer, Ask, SandboxError, Zygote, identity, probe};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};

use super::Case;
use crate::world::{Session, fixture, process, shell, spec};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a command's output and exit code come back", output_and_exit_code),
    ("a signal ends a process and is told", signals),
    ("a process has pids, a host name and an identity of its own", own_view),
    ("a process has no capability and cannot get one", powerless),
    ("the kernel's parameters are out of reach", parameters),
    ("pid 1 is out of reach", init_out_of_reach),
    ("what cannot be started says why", cannot_start),
    ("an environment may be big", big_environment),
    ("a terminal becomes the controlling terminal", terminal),
    ("nothing of the host's descriptors is inherited", descriptors),
    ("processes are listed with their places", processes),
    ("the caller's umask is kept and signals are reset", inherited),
    ("the probe finds what the session has used", probed),
];

fn output_and_exit_code(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    for place in [Place::Session, Place::Replica(0)] {
        let (output, status) = session.run(shell(place, "echo hello; echo there >&2; exit 7"));
        assert_eq!((output.as_str(), status), ("hello\nthere", ExitStatus::Code(7)));
    }
}

fn signals(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let sleeper = session.replica(0, &["sleep".to_owned(), "1000".to_owned()]);
    assert_eq!(session.signal(Target::Unit(sleeper.unit), libc::SIGTERM), 1);
    assert_eq!(session.exit(sleeper.unit), ExitStatus::Signal(libc::SIGTERM));
    assert_eq!(session.signal(Target::Unit(sleeper.unit), libc::SIGTERM), 0);

    // A command and what it started, by their terminal session.
    let mut family = session.spawn(shell(Place::Session, "sleep 1000 & sleep 1000 & echo up; wait")).unwrap();
    assert_eq!(family.line(), "up");
    assert_eq!(session.signal(Target::UnitGroup(family.unit), libc::SIGKILL), 3);
    assert_eq!(session.exit(family.unit), ExitStatus::Signal(libc::SIGKILL));
    session.ask(Ask::KillAll(Target::UnitGroup(family.unit))).unwrap();

    // What a command leaves behind is still found when it has ended itself.
    let left = session.spawn(shell(Place::Session, "sleep 1000 > /dev/null 2>&1 & exit 3")).unwrap();
    assert_eq!(session.exit(left.unit), ExitStatus::Code(3));
    assert_eq!(session.signal(Target::UnitGroup(left.unit), 0), 1);
    session.ask(Ask::KillAll(Target::UnitGroup(left.unit))).unwrap();
    assert_eq!(session.processes(), []);
}

fn own_view(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let identity = identity();
    let ids = format!("{} {}", identity.uid, identity.gid);
    assert_ne!(identity.uid, 0);
    let own = process(Place::Session, &["uname".to_owned(), "-n".to_owned()]);
    let own = session.run(ProcessSpec { hostname: "jar".to_owned(), ..own });
    assert_eq!(own, ("jar".to_owned(), ExitStatus::Code(0)));
    for place in [Place::Session, Place::Replica(0)] {
        assert_eq!(session.sh_in(place, "echo $(id -u) $(id -g)"), ids);
        assert_eq!(session.sh_in(place, "cat /proc/1/comm"), "belljar-init");
        assert_eq!(session.sh_in(place, "uname -n"), "box");
        let others = session.sh_in(place, "cat /proc/[0-9]*/comm");
        assert!(others.lines().all(|name| ["belljar-init", "sh", "cat"].contains(&name)), "{others}");
        // Each command is the leader of a terminal session of its own.
        let (pid, leader) =
            (session.sh_in(place, "echo $$"), session.sh_in(place, "cut -d' ' -f1,6 /proc/self/stat"));
        assert_ne!(pid, leader);
        session.sh_in(place, "set -- $(cat /proc/$$/stat); test $1 = $6");
    }
}

fn powerless(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    for place in [Place::Session, Place::Replica(0)] {
        let status = session.sh_in(place, "cat /proc/self/status");
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        for script in ["mount -t tmpfs none /mnt", "hostname other", "chown 12 /tmp"] {
            let (output, status) = session.run(shell(place, script));
            assert_ne!(status, ExitStatus::Code(0), "{script}: {output}");
        }
    }
}

fn parameters(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    for place in [Place::Session, Place::Replica(0)] {
        for path in [
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv4/ip_unprivileged_port_start",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/vm/drop_caches",
            "/proc/sysrq-trigger",
        ] {
            // Even where it is only opened for writing.
            let (output, status) = session.run(shell(place, &format!(": >> {path}")));
            assert_ne!(status, ExitStatus::Code(0), "{path}: {output}");
        }
        for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
            assert_eq!(
                session.sh_in(place, &format!("test ! -e {path} || wc -c < {path}")).replace('0', ""),
                ""
            );
        }
        let writable = session.sh_in(place, "find /sys -maxdepth 3 -type f -writable 2>/dev/null | while read f; do ( : >> $f ) 2>/dev/null && echo $f; done; true");
        assert_eq!(writable, "");
        assert_eq!(session.sh_in(place, "find /dev -xdev -type b"), "");
        session.sh_in(
            place,
            "echo x > /dev/null && head -c 4 /dev/urandom | wc -c && : > /dev/shm/x && rm /dev/shm/x",
        );
    }
}

fn init_out_of_reach(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    for place in [Place::Session, Place::Replica(0)] {
        // It has no handler for any signal, and the kernel keeps the others from pid 1.
        session.run(shell(place, "kill -TERM 1; kill -KILL 1; kill -STOP 1; kill -CHLD 1"));
        for script in [
            "readlink /proc/1/fd/3",
            "cat < /proc/1/fd/0",
            "ls /proc/1/root/",
            "readlink /proc/1/ns/mnt",
            "cat /proc/1/mem",
            "cat /proc/1/environ",
        ] {
            let (output, status) = session.run(shell(place, script));
            assert_ne!(status, ExitStatus::Code(0), "{script}: {output}");
        }
    }
    assert_eq!(session.sh("echo alive"), "alive");
}

fn cannot_start(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let script = ("/tmp/x/script".into(), "#!/no/such/interpreter\n".into());
    for place in [Place::Session, Place::Replica(0)] {
        let error = |argv0: &str, cwd: &str| {
            let files = vec![script.clone()];
            let spec = ProcessSpec { cwd: cwd.into(), files, ..process(place, &[argv0.to_owned()]) };
            session.spawn(spec).err().unwrap()
        };
        for argv0 in ["no-such-command", "/no/such/command", ""] {
            assert_eq!(error(argv0, "/"), SandboxError::CommandNotFound { argv0: argv0.to_owned() });
        }
        for (argv0, errno) in
            [("/etc/hosts", libc::EACCES), ("/etc", libc::EACCES), ("/tmp/x/script", libc::ENOENT)]
        {
            assert_eq!(error(argv0, "/"), SandboxError::NotExecutable { argv0: argv0.to_owned(), errno });
        }
        for cwd in ["/no/such/directory", "/etc/hosts"] {
            assert_eq!(error("true", cwd), SandboxError::NoSuchDirectory { path: cwd.into() });
        }
    }
    let error = session.spawn(shell(Place::Replica(7), "true")).err();
    assert_eq!(error, Some(SandboxError::NoSuchReplica(7)));
    assert_eq!(session.processes(), []);
}

fn big_environment(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(0));
    let mut spec = shell(Place::Session, "echo ${#BIG1} ${#BIG2} ${#BIG3}");
    for name in ["BIG1", "BIG2", "BIG3"] {
        spec.env.push((name.to_owned(), "x".repeat(100 * 1024)));
    }
    assert_eq!(session.run(spec), ("102400 102400 102400".to_owned(), ExitStatus::Code(0)));
}

fn terminal(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    for place in [Place::Session, Place::Replica(0)] {
        let id = session.send(Ask::Terminal, &[]);
        let Ok((Answer::Terminal, mut fds)) = session.answer(id) else { panic!("no terminal was given") };
        let controller = fds.remove(0);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = ioctl_tiocgptpeer(&controller, flags).unwrap();
        let script = "tty; echo reached > /dev/tty; test -t 0 && test -t 1 && set -m && sleep 0 & wait";
        let unit = session.number();
        let ask = Ask::Spawn(ProcessSpec { unit, terminal: true, ..shell(place, script) });
        let id = session.send(ask, &[user.as_fd(), user.as_fd(), user.as_fd()]);
        drop(user);
        session.answer(id).unwrap();
        assert_eq!(session.exit(unit), ExitStatus::Code(0));
        // Reading a terminal that nobody has open any more ends with an error, after what was written.
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut File::from(controller), &mut text);
        // It has a name in the session, which is none of the host's.
        let lines: Vec<&str> = text.lines().collect();
        assert!(matches!(lines[..], [name, "reached"] if name.starts_with("/dev/pts/")), "{lines:?}");
    }
}

fn descriptors(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    for place in [Place::Session, Place::Replica(0)] {
        // 3 is the directory that is being listed.
        assert_eq!(session.sh_in(place, "ls /proc/self/fd").replace('\n', " "), "0 1 2 3");
    }
}

fn processes(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(2));
    let command = ["sleep".to_owned(), "1000".to_owned()];
    let replica = session.replica(1, &command);
    let here = session.spawn(process(Place::Session, &command)).unwrap();
    let mut listed: Vec<_> = session.processes();
    listed.sort_by_key(|process| process.pid);
    let listed: Vec<_> = listed.iter().map(|one| (one.pid, one.parent, one.place, one.unit)).collect();
    let places = [
        (replica.pid, 1, Some(Place::Replica(1)), Some(replica.unit)),
        (here.pid, 1, Some(Place::Session), Some(here.unit)),
    ];
    assert_eq!(listed, places);
    assert!(session.processes().iter().all(|process| process.command == command));
    let argv = fixture(&["serve", "80"]);
    let mut server = session.replica(0, &argv);
    assert_eq!(server.line(), "listening");
    assert!(session.processes().iter().any(|process| process.command == argv));
}

fn inherited(zygote: &Zygote) {
    let session = Session::new(zygote, &spec(1));
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    for place in [Place::Session, Place::Replica(0)] {
        let umask = format!("{:04o}", umask.as_raw_mode());
        assert_eq!(session.sh_in(place, "umask"), umask);
        // `cat` has no handler of its own.
        let status = session.sh_in(place, "cat /proc/self/status");
        for field in ["SigBlk:", "SigIgn:", "SigCgt:"] {
            let set = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
            assert_eq!(set.trim(), "0000000000000000", "{field}");
        }
    }
    let Ok(Answer::Holds(holds)) =
        session.ask(Ask::Check { unit: 4711, check: belljar_sandbox::spec::PathCheck::Exists("/".into()) })
    else {
        panic!("a check is answered")
    };
    assert!(!holds, "nothing is seen by a process that is not there");
}

fn probed(zygote: &Zygote) {
    drop(Session::new(zygote, &spec(1)));
    let probed = probe();
    for name in ["user namespaces", "network namespaces", "private /proc"] {
        let capability = probed.iter().find(|capability| capability.name == name);
        assert!(capability.is_some_and(|capability| capability.works && capability.why.is_none()), "{name}");
    }
    assert!(probed.iter().all(|capability| capability.works == capability.why.is_none()), "{probed:?}");
}
