//! Tenants that run wild: each hurts its own session alone. A neighbour's session and its host process work on
//! while it does and after.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use belljar_e2e::{LONG, Process, TestEnv, eventually, is_root, needs, processes, world};
use belljar_model::ErrorCode;
use serde_json::Value;

const WEB: &str = r#"
    [service.web]
    run = "{fixture} http --port 80 --name ${self.name} --tag ${self.name}"
    ports = { http = 80 }
    replicas = 2
"#;

/// Far beyond what an answer takes beside anything that is allowed to happen.
const USUAL: Duration = Duration::from_secs(5);

/// A session in a world of its own, which has nothing to do with what happens beside it.
struct Neighbour(TestEnv);

impl Neighbour {
    #[track_caller]
    fn new() -> Self {
        let env = TestEnv::new();
        env.stack(WEB);
        env.up();
        Self(env)
    }

    /// It answers, its verbs work, and none of its replicas has been touched.
    #[track_caller]
    fn works(&self) {
        let Self(env) = self;
        let answer = env.run("exec -- {fixture} get http://web-2/").ok().prints_exactly("web-2\n");
        assert!(answer.took < USUAL, "{answer}");
        let list = env.run("ls --json").json();
        assert_eq!(list["sessions"][0]["state"], "ready", "{list:#}");
        assert_eq!(env.replica("web-1")["generation"], 1);
    }

    #[track_caller]
    fn ends(self) {
        let down = self.0.run("down").ok();
        assert!(down.took < USUAL, "{down}");
    }
}

/// Runs wild in a session of its own, looks at the neighbour, and ends the session.
#[track_caller]
fn beside_a_neighbour(env: &TestEnv, until: &str) -> String {
    let neighbour = Neighbour::new();
    env.up();
    eventually("it has taken what it could", LONG, || {
        env.run("logs").ok().stdout.contains(until).then_some(())
    });
    let said = env.run("logs").ok().stdout;
    neighbour.works();
    let down = env.run("down").ok();
    assert!(down.took < 2 * USUAL, "{down}");
    env.nothing_is_left_within(Duration::from_secs(2));
    neighbour.works();
    neighbour.ends();
    said
}

/// The number in `refused after N`.
#[track_caller]
fn count(said: &str) -> u64 {
    let count = said.split("refused after ").nth(1).and_then(|rest| rest.split_whitespace().next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no number in: {said}"))
}

/// Whether this machine lets us limit it, as `doctor` says.
fn can_limit(env: &TestEnv, name: &str) -> bool {
    let doctor = env.run("doctor --json").json();
    let all = doctor["capabilities"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {doctor:#}"));
    one["works"] == true
}

/// The control groups of this machine that bear the id of a session of this world.
fn groups(env: &TestEnv) -> Vec<String> {
    fn walk(dir: &Path, ids: &[String], found: &mut Vec<String>) {
        for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if ids.iter().any(|id| entry.file_name().to_string_lossy() == *id) {
                    found.push(entry.path().display().to_string());
                }
                walk(&entry.path(), ids, found);
            }
        }
    }
    let all = env.run("ls --all --json").json();
    let ids = all["sessions"].as_array().unwrap().iter();
    let ids: Vec<_> = ids.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect();
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &ids, &mut found);
    found
}

#[test]
fn a_fork_bomb_ends_at_the_sessions_own_limit() {
    let env = world!();
    env.stack("limits = { pids = 60 }\n[service.bomb]\nrun = \"{fixture} fork-bomb\"\n");
    let neighbour = Neighbour::new();
    env.up();
    eventually("a bomb is refused", LONG, || env.run("logs").ok().stdout.contains("refused").then_some(()));
    assert!(env.processes("fork-bomb").len() <= 60);
    // A command can still look at what has gone wrong, and the session can be ended.
    env.run("exec -- {fixture} print-env HOME").ok();
    neighbour.works();
    env.run("kill bomb-1").ok();
    assert_eq!(env.processes("fork-bomb").len(), 0);
    env.run("down").ok();
    assert_eq!(groups(&env), [""; 0]);
    neighbour.ends();
}

#[test]
fn nobody_has_more_processes_than_the_default_who_does_not_say_so() {
    let env = world!();
    env.stack("[service.hog]\nrun = \"{fixture} hog-threads\"\n");
    let count = count(&beside_a_neighbour(&env, "refused after"));
    // Threads are counted too; those of the others are in the number.
    assert!((1000..5000).contains(&count), "{count}");
}

#[test]
fn a_limit_that_is_larger_than_the_default_holds() {
    let env = world!();
    env.stack("limits = { pids = 6000 }\n[service.hog]\nrun = \"{fixture} hog-threads\"\n");
    let count = count(&beside_a_neighbour(&env, "refused after"));
    assert!((5000..=6000).contains(&count), "{count}");
}

#[test]
fn limits_of_replicas_and_tasks_are_their_own() {
    let env = world!();
    env.stack(
        r#"
        [service.hog]
        run = "{fixture} hog-threads"
        replicas = 2
        limits = { pids = 50 }
        [task.count]
        run = "{fixture} exit 0"
        limits = { pids = 10, cpu = 0.5 }
        "#,
    );
    if !can_limit(&env, "limits on processes") {
        let message = env.run("up --json").json_error(ErrorCode::Unsupported);
        assert!(message.contains("`count` cannot be limited in its `pids`"), "{message}");
        return;
    }
    env.up();
    eventually("both are refused", LONG, || {
        (env.run("logs").ok().stdout.matches("refused after 4").count() == 2).then_some(())
    });
    assert!(!groups(&env).is_empty());
    env.run("down").ok();
    assert_eq!(groups(&env), [""; 0]);
}

#[test]
fn a_memory_hog_is_killed_and_its_neighbours_are_not() {
    let env = world!();
    env.stack(
        r#"
        [service.hog]
        run = "{fixture} hog-memory --mib 2000"
        limits = { memory = "64MiB" }
        [service.quiet]
        run = "{fixture} http --port 80 --name quiet"
        ports = { http = 80 }
        "#,
    );
    if !can_limit(&env, "limits on memory") {
        let message = env.run("up --json").json_error(ErrorCode::Unsupported);
        assert!(message.contains("`memory`") && message.contains("`hog-1`"), "{message}");
        return;
    }
    let neighbour = Neighbour::new();
    env.up();
    let hog = env.until_replica("hog-1", "failed");
    assert_eq!(hog["exit"]["signal"], "SIGKILL", "{hog:#}");
    env.run("exec -- {fixture} get http://quiet/").ok().prints_exactly("quiet\n");
    neighbour.works();
    env.run("down").ok();
    assert_eq!(groups(&env), [""; 0]);
    neighbour.ends();
}

#[test]
fn what_lies_in_tmp_counts_as_memory_of_the_session() {
    let env = world!();
    env.stack("limits = { memory = \"64MiB\" }\n");
    if !can_limit(&env, "limits on memory") {
        env.run("run -- true").ends_with(125).complains(&["`memory`", "the session"]);
        return;
    }
    env.run("run -- {fixture} fill /tmp/file --mib 300").ends_with(137);
    assert_eq!(groups(&env), [""; 0]);
}

#[test]
fn processors_are_shared_out() {
    let env = world!();
    env.stack("limits = { cpu = 0.1 }\n[service.busy]\nrun = \"{fixture} spin\"\n");
    if !can_limit(&env, "limits on processors") {
        env.run("up --json").json_error(ErrorCode::Unsupported);
        return;
    }
    let neighbour = Neighbour::new();
    env.up();
    assert_eq!(env.processes("spin").len(), 1);
    let [file] = &groups(&env)[..] else { panic!("one group: {:?}", groups(&env)) };
    let stat = eventually("it is made to wait", LONG, || {
        let stat = fs_err::read_to_string(Path::new(file).join("cpu.stat")).ok()?;
        let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "))?;
        (throttled != "0").then_some(stat)
    });
    neighbour.works();
    env.run("down").ok();
    assert_eq!(groups(&env), [""; 0], "{stat}");
    neighbour.ends();
}

#[test]
fn clean_removes_the_groups_of_a_session_that_was_killed() {
    let env = world!();
    env.stack("limits = { pids = 100 }\n[service.web]\nrun = \"{fixture} stay\"\n");
    env.up();
    if !can_limit(&env, "limits on processes") {
        return;
    }
    assert!(!groups(&env).is_empty());
    let host = env.ancestors(&env.process("stay")).pop().unwrap();
    host.kill();
    env.nothing_is_left_within(Duration::from_secs(1));
    assert!(!groups(&env).is_empty(), "nobody was left to remove them");
    let before = groups(&env);
    env.belljar(["clean"]).env("__BELLJAR_TEST_CLOCK_OFFSET", "120").run().ok();
    assert!(before.iter().all(|one| !Path::new(one).exists()), "{before:?}");
}

#[test]
fn processes_of_a_session_are_what_the_kernel_ends_first_when_memory_runs_out() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let score = |one: &Process| {
        let text = fs_err::read_to_string(format!("/proc/{}/oom_score_adj", one.pid)).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    let replica = env.process("--tag web-1");
    assert_eq!(score(&replica), 500);
    assert!(env.ancestors(&replica).iter().all(|one| score(one) < 500), "those who keep it are not");
    env.run("exec -- cat /proc/self/oom_score_adj").ok().prints_exactly("500\n");
    env.belljar(["exec", "--", "sh", "-c", "ulimit -c; ulimit -Hc"]).run().ok().prints_exactly("0\n0\n");
}

#[test]
fn directories_in_memory_hold_a_part_of_it() {
    let env = world!();
    env.stack("filesystem = \"overlay\"\nhome = \"private\"\n");
    let memory = fs_err::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    let script = "df -k --output=size /tmp /run /dev/shm \"$HOME\" | tail -n +2";
    let sizes = env.belljar(["run", "--", "sh", "-c", script]).run().ok().stdout;
    for size in sizes.split_whitespace() {
        assert!(size.parse::<u64>().unwrap() <= total / 4 + 4, "{sizes} of {total}");
    }
}

#[test]
fn signals_to_everybody_reach_the_own_session_alone() {
    let env = world!();
    env.stack(WEB);
    let neighbour = Neighbour::new();
    env.up();
    let script =
        "kill -KILL -1; for s in 1 2 3 6 9 11 15 17 19 20 34 64; do kill -$s 1 2>/dev/null; done; echo here";
    env.belljar(["exec", "--", "sh", "-c", script]).run().ok().prints_exactly("here\n");
    env.until_replica("web-1", "failed");
    env.run("start web-1").ok();
    env.run("exec -- {fixture} get http://web-1/").ok();
    neighbour.works();
    env.run("down").ok();
    neighbour.ends();
}

#[test]
fn a_scenario_that_kills_all_it_can_see_ends_nobody_elses() {
    let env = world!();
    env.stack(&format!("{WEB}\n[suite.all]\nscenarios = \"scenarios/*\"\n"));
    let wild = "#!/bin/sh\nkill -9 $PPID; kill -9 -1; for p in /proc/[0-9]*; do kill -9 ${p#/proc/}; done 2>/dev/null\nexit 7\n";
    env.script("scenarios/wild", wild);
    for number in 1..4 {
        env.script(&format!("scenarios/calm-{number}"), "#!/bin/sh\n{fixture} get http://web-1/\n");
    }
    let run = env.run("test -j 4").complains(&[]);
    assert!(run.stdout.contains("3 passed, 1 failed") || run.stderr.contains("3 passed, 1 failed"), "{run}");
    env.nothing_is_left_within(Duration::from_secs(2));
}

#[test]
fn every_port_and_every_descriptor_is_the_processs_own() {
    let env = world!();
    env.stack("[service.hog]\nrun = \"{fixture} hog-descriptors\"\n");
    let count = count(&beside_a_neighbour(&env, "refused after"));
    assert!(count > 100, "{count}");
}

#[test]
fn descriptors_on_their_way_do_not_keep_others_from_passing_theirs() {
    let env = world!();
    env.stack("[service.hog]\nrun = \"{fixture} hog-passing\"\n");
    let neighbour = Neighbour::new();
    env.up();
    eventually("it is refused", LONG, || env.run("logs").ok().stdout.contains("refused").then_some(()));
    assert!(count(&env.run("logs").ok().stdout) > 500);
    // Starting anything passes descriptors, in the same session too.
    env.run("exec -- {fixture} print-env HOME").ok();
    neighbour.works();
    Neighbour::new().ends();
    env.run("down").ok();
    neighbour.ends();
}

#[test]
fn watches_of_files_are_left_for_their_user() {
    let env = world!();
    env.stack("[service.hog]\nrun = \"{fixture} hog-watches\"\n");
    let before: u64 =
        fs_err::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap().trim().parse().unwrap();
    env.up();
    eventually("it is refused", LONG, || env.run("logs").ok().stdout.contains("refused").then_some(()));
    assert!(count(&env.run("logs").ok().stdout) <= before / 2);
    env.command(&env.fixture().to_string_lossy(), ["hog-watches", "--most", "2"])
        .run()
        .ok()
        .prints_exactly("got 2\n");
}

#[test]
fn a_flood_of_queries_for_names_and_of_lines_harms_nobody_else() {
    let env = world!();
    env.stack(&format!(
        "{WEB}\n[service.flood]\nrun = \"{{fixture}} flood-names\"\n\
         [service.talker]\nrun = \"{{fixture}} flood --lines 300000 --after-that stay\"\n"
    ));
    let neighbour = Neighbour::new();
    env.up();
    neighbour.works();
    env.run("exec -- {fixture} get http://web-1/").ok().prints_exactly("web-1\n");
    eventually("the flood is over", LONG, || {
        env.run("logs flood").ok().stdout.contains("refused").then_some(())
    });
    env.run("exec -- {fixture} resolve web-2").ok().prints_exactly("10.77.1.2\n");
    env.run("down").ok();
    neighbour.ends();
}

#[test]
fn processes_of_others_are_not_there() {
    let env = world!();
    env.stack(WEB);
    let neighbour = Neighbour::new();
    env.up();
    let script = r"for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline; echo; done";
    let seen = env.belljar(["exec", "web-1", "--", "sh", "-c", script]).run().ok().stdout;
    assert!(seen.contains("--tag web-1"), "{seen}");
    assert!(!seen.contains(&*neighbour.0.root().to_string_lossy()), "{seen}");
    // Numbers of the host mean nothing here: what has one of them is somebody else or nobody.
    let host = processes();
    let host = host.iter().filter(|one| one.pid > 5000).map(|one| one.pid.to_string());
    let script =
        "for p in \"$@\"; do test -e /proc/$p && echo $p; kill -0 $p 2>/dev/null && echo $p; done; true";
    let words: Vec<String> =
        ["exec", "--", "sh", "-c", script, "sh"].map(str::to_owned).into_iter().chain(host).collect();
    env.belljar(words.iter().map(String::as_str)).run().ok().prints_exactly("");
    // Pid 1 is belljar's, and lets nobody look at it.
    let script = "cd /proc/1; for f in environ mem maps auxv fd/0 root/etc/passwd cwd/etc; do \
                  head -c 1 $f >/dev/null 2>&1 && echo $f; done; readlink exe cwd root fd/0 ns/net; \
                  echo x 2>/dev/null >mem; nsenter -t 1 -m -n true 2>/dev/null && echo entered; true";
    env.belljar(["exec", "--", "sh", "-c", script]).run().ok().prints_exactly("");
    neighbour.works();
}

#[test]
fn state_and_control_sockets_of_other_sessions_are_not_there() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let other = env.run("ls --json").json()["sessions"][0]["id"].as_str().unwrap().to_owned();
    let script = format!(
        "find {{root}}/state {{root}}/run | grep -c {other}; find {{root}}/state {{root}}/run -name '*.sock' | wc -l; \
         ls {{root}}/state; belljar ps --json | grep -c web-1; echo x > {{root}}/state/registry.db; \
         rm -rf {{root}}/state/* {{root}}/run/* 2>/dev/null; true"
    );
    let said = env.belljar(["run", "--", "sh", "-c", &script]).run().ok().stdout;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..3], ["0", "1", "sessions"], "{said}");
    assert_ne!(lines[3], "0", "its own can be spoken to: {said}");
    // What it wrote and removed there was nobody's.
    env.run("exec -- {fixture} get http://web-1/").ok();
    assert_eq!(env.run("ls --json").json()["sessions"][0]["id"], Value::from(other));
}

#[test]
fn a_user_namespace_of_ones_own_gives_no_power_over_the_session() {
    let env = world!();
    needs!("unshare", "nsenter");
    env.stack(WEB);
    env.up();
    // Every line that is printed is something that worked and must not have.
    let script = r#"
        try() { "$@" >/dev/null 2>&1 && echo "worked: $*"; }
        try mount -t tmpfs none /mnt
        try umount /tmp
        try unshare -C true
        try unshare -UrC true
        try mknod /tmp/device b 7 0
        try unshare -Ur mknod /tmp/device c 1 3
        inside() { unshare -Urmn --propagation private sh -c "$1" >/dev/null 2>&1 && echo "worked inside: $1"; }
        inside 'umount /tmp'
        inside 'umount /proc/sys'
        inside 'umount /sys'
        inside 'mount -o remount,rw,bind /proc/sys'
        inside 'mount -o remount,size=100% /tmp'
        inside 'mount -o remount,dev,bind /'
        inside 'mount -t proc none /mnt'
        inside 'mount -t cgroup -o pids none /mnt'
        inside 'mount -t cgroup2 none /mnt'
        inside 'mount -t debugfs none /mnt'
        inside 'mount -t devtmpfs none /mnt'
        inside 'echo 1 > /proc/sys/kernel/sysrq'
        inside 'echo b > /proc/sysrq-trigger'
        inside 'echo 9 > /proc/sys/kernel/pid_max'
        inside 'ip link show belljar'
        inside 'ip link show eth0'
        inside 'nsenter --net=/proc/1/ns/net true'
        for file in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sysrq-trigger /proc/kcore \
            /sys/kernel/uevent_helper /sys/power/state /proc/sys/user/max_cgroup_namespaces; do
            (echo x > $file) 2>/dev/null && echo "wrote $file"
        done
        ls /sys/fs/cgroup 2>/dev/null
        true
    "#;
    env.belljar(["exec", "--", "sh", "-c", script]).run().ok().prints_exactly("");
    // What it mounts in its own namespaces nobody else sees, and its network is its own.
    let script = "unshare -Urmn --propagation private sh -c 'mount -t tmpfs none /tmp && ip link set lo up && touch /tmp/own'; ls /tmp";
    env.belljar(["exec", "web-1", "--", "sh", "-c", script]).run().ok().prints_exactly("");
    env.run("exec -- {fixture} get http://web-1/").ok();
}

#[test]
fn device_files_outside_of_dev_open_nothing() {
    let env = world!();
    if !is_root() {
        return;
    }
    let node = env.root().join("zero");
    env.command("mknod", [&*node.to_string_lossy(), "c", "1", "5"]).run().ok();
    assert_eq!(fs_err::metadata(&node).unwrap().rdev(), rustix::fs::makedev(1, 5));
    for filesystem in ["host", "ro", "overlay"] {
        env.stack(&format!("filesystem = \"{filesystem}\"\n"));
        env.belljar(["run", "--", "sh", "-c", "head -c 1 {root}/zero; head -c 1 /dev/zero | wc -c"])
            .run()
            .ok()
            .prints_exactly("1\n");
    }
}

#[test]
fn terminals_of_others_cannot_be_opened() {
    let env = world!();
    env.stack("name = \"empty\"\n");
    // A person's terminal beside the one that the command gets.
    let other = env.on_terminal(env.command("cat", []), 24, 80);
    let script = "tty; ls -1 /dev/pts; echo \"$(ls /proc/self/fd | wc -l) held\"; echo typed > /dev/tty";
    let (status, text) = env.on_terminal(env.belljar(["run", "--", "sh", "-c", script]), 24, 80).finish();
    assert!(status.success(), "{text}");
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    assert_eq!(lines[..3], ["/dev/pts/0", "0", "ptmx"], "{text}");
    assert!(text.contains("typed"), "{text}");
    assert_eq!(other.text(), "");
}
