//! Real servers in one session: PostgreSQL with its recipe, NATS with its recipe, Redis and three HTTP servers.
//!
//! There is no snapshot to start from yet, so every session makes PostgreSQL's data anew. Beside it stand the same
//! servers, started by nobody but us: with `initdb`, and on data that is there already, which is what sessions
//! from a snapshot will be measured against.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;

use crate::error::{Error, Result};
use crate::floors::{self, Server};
use crate::ground::{Ground, output, program};
use crate::measure::{in_turns, milliseconds, rest};
use crate::row::{Row, Unit};
use crate::worker::Worker;

const RUNS: usize = 10;
/// PostgreSQL refuses root; as root we start the servers as nobody.
const NOBODY: u32 = 65534;
const WHAT: &str = "PostgreSQL (with initdb), NATS, Redis, three HTTP";
const ON_DATA: &str = "floor: the same servers' own start, on data that is there";

/// The servers of this machine.
struct Servers<'a> {
    ground: &'a Ground,
    postgres: PathBuf,
    initdb: PathBuf,
    nats: PathBuf,
    redis: PathBuf,
}

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let servers = match Servers::find(ground) {
        Ok(servers) => servers,
        Err(missing) => {
            let why = format!("{missing} is not installed");
            return Ok(vec![Row::skipped(WHAT, &why), Row::skipped(ON_DATA, &why)]);
        }
    };
    let stack = ground.stack("servers", &servers.stack())?;
    let mut worker = Worker::new(ground, &stack, 2)?;
    servers.init("kept")?;
    let mut number = 0;
    let [with_initdb, on_data, ready, ended] = in_turns(RUNS, || {
        number += 1;
        let data = format!("data-{number}");
        let begun = Instant::now();
        servers.init(&data)?;
        let initialised = milliseconds(begun.elapsed());
        let with_initdb = initialised + servers.start(&data)?;
        let on_data = servers.start("kept")?;
        let session = worker.start(1)?;
        rest(floors::QUIET);
        Ok([with_initdb, on_data, session.all_ready, session.ended[0]])
    })?;
    let ms = Unit::Milliseconds;
    Ok(vec![
        Row::new(WHAT, ms, &ready).floor("the servers' own start, initdb first", &with_initdb),
        Row::new("that session ended", ms, &ended),
        Row::new(ON_DATA, ms, &on_data),
    ])
}

impl<'a> Servers<'a> {
    /// The error is the name of what is missing.
    fn find(ground: &'a Ground) -> std::result::Result<Self, &'static str> {
        let find = |name: &'static str, dirs: &[&str]| program(name, dirs).ok_or(name);
        let sbin = ["/usr/sbin", "/usr/bin"];
        let initdb = find("initdb", &["/usr/lib/postgresql/*/bin"])?;
        Ok(Self {
            ground,
            postgres: initdb.with_file_name("postgres"),
            initdb,
            nats: find("nats-server", &sbin)?,
            redis: find("redis-server", &sbin)?,
        })
    }

    fn stack(&self) -> String {
        let redis = self.redis.display();
        let http = self.ground.service(3, 0);
        format!(
            "[service.db]\nuse = \"postgres\"\n[service.bus]\nuse = \"nats\"\n\
             [service.cache]\nrun = \"{redis} --port 6379 --bind 0.0.0.0 --protected-mode no --save ''\"\n\
             ports = {{ main = 6379 }}\nready = {{ log = \"Ready to accept connections\" }}\n{http}"
        )
    }

    fn init(&self, data: &str) -> Result<()> {
        let dir = self.ground.make_dir(data)?;
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY))
                .map_err(Error::io("give a directory away"))?;
        }
        let mut initdb = Self::command(&self.initdb);
        initdb.arg("--pgdata").arg(&dir).args(["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]);
        initdb.args(["--auth=trust", "--no-sync", "--no-instructions", "--wal-segsize=1"]);
        output(&mut initdb).map(drop)
    }

    /// Starts all of them at once, and ends them. How long until all of them said that they are ready.
    fn start(&self, data: &str) -> Result<f64> {
        let data = self.ground.path(data);
        let begun = Instant::now();
        let mut postgres = Self::command(&self.postgres);
        // On a socket of the file system, so that no port of this machine is taken.
        postgres.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        postgres.args(["-c", "shared_buffers=32MB", "-c", "max_wal_size=1GB"]);
        postgres.arg("-c").arg(format!("unix_socket_directories={}", data.display()));
        let mut postgres = Server::start(&mut postgres)?;
        let mut nats =
            Server::start(Self::command(&self.nats).args(["--addr", "127.0.0.1", "--port", "-1"]))?;
        let mut redis = Self::command(&self.redis);
        redis.args(["--port", "0", "--save", "", "--unixsocket"]).arg(data.join("redis"));
        let mut redis = Server::start(&mut redis)?;
        let mut http = (0..3).map(|_| floors::trivial(&self.ground.server)).collect::<Result<Vec<_>>>()?;
        for one in &mut http {
            one.wait_for("listening at ")?;
        }
        nats.wait_for("Server is ready")?;
        redis.wait_for("eady to accept connections")?;
        postgres.wait_for("database system is ready to accept connections")?;
        let time = milliseconds(begun.elapsed());
        // Not killed, so that the next start on its data has nothing to repair.
        postgres.end(Signal::INT)?;
        Ok(time)
    }

    fn command(program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}
