//! Published ports, from the host: real listeners, real clients.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use belljar_e2e::{LONG, TestEnv, eventually, is_root, needs, soon, world};
use belljar_model::{ErrorCode, EventKind};
use serde_json::{Value, json};

const WEB: &str = "[service.web]\nrun = \"{fixture} http --port 80 --name ${self.name}\"\nports = { http = 80 }\n\
                   publish = [\"http\"]\nreplicas = 3\n";
const ECHO: &str =
    "[service.echo]\nrun = \"{fixture} tcp-echo --port 7\"\nports = { echo = 7 }\npublish = [\"echo\"]\n";
const UDP: &str = "[service.echo]\nrun = \"{fixture} udp-echo --port 7\"\n\
                   ports = { echo = { port = 7, protocol = \"udp\" } }\npublish = [\"echo\"]\n";
/// Nothing on this machine takes longer than this to be said.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The number on the host of a service's or replica's port.
#[track_caller]
fn number(env: &TestEnv, name: &str, port: &str) -> u16 {
    let session = env.ps();
    let services = session["services"].as_object().unwrap();
    let replicas = services.values().flat_map(|service| service["replicas"].as_array().unwrap());
    let own = replicas.filter(|replica| replica["name"] == name).map(|replica| &replica["published"]);
    let published = own.chain(services.get(name).map(|service| &service["published"])).next();
    let number = published.and_then(|published| published[port].as_u64());
    number
        .and_then(|number| u16::try_from(number).ok())
        .unwrap_or_else(|| panic!("{name}:{port} in {session:#}"))
}

fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Where IPv6 is off there is nothing to be looked at.
fn here_too(port: u16) -> Option<SocketAddr> {
    UdpSocket::bind("[::1]:0").is_ok().then(|| (Ipv6Addr::LOCALHOST, port).into())
}

/// The status and the body.
fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, LONG)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status =
        head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, body.to_owned()))
}

fn name_at(address: SocketAddr) -> String {
    let (status, body) = get(address, "/").unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

/// Who listens on this port of the host, read from the kernel's own table.
fn listening(port: u16, protocol: &str) -> Vec<String> {
    let mut found = Vec::new();
    for table in [protocol.to_owned(), format!("{protocol}6")] {
        let text = fs_err::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (address, number) = words[1].rsplit_once(':').unwrap();
            let listens = protocol == "udp" || words[3] == "0A";
            if listens && u16::from_str_radix(number, 16) == Ok(port) {
                found.push(address.to_owned());
            }
        }
    }
    found
}

const LOOPBACK: &str = "0100007F";
const LOOPBACK_6: &str = "00000000000000000000000001000000";

fn loopback_alone() -> Vec<&'static str> {
    if here_too(0).is_some() { vec![LOOPBACK, LOOPBACK_6] } else { vec![LOOPBACK] }
}

/// A port that no kernel gives out by itself, and that no other test takes.
fn a_port_of_our_own() -> u16 {
    12000 + u16::try_from(std::process::id() % 20000).unwrap()
}

fn echoed(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text)?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, text);
    Ok(())
}

#[test]
fn a_published_port_leads_in_on_both_families_and_from_here_alone() {
    let env = world!();
    env.stack(WEB);
    let shown: Value = env.run("up --json").json();
    let port = number(&env, "web", "http");
    assert_eq!(shown["services"]["web"]["published"], json!({"http": port}));
    assert!(name_at(here(port)).starts_with("web-"));
    if let Some(address) = here_too(port) {
        assert!(name_at(address).starts_with("web-"));
    }
    for replica in ["web-1", "web-2", "web-3"] {
        let own = number(&env, replica, "http");
        assert_ne!(own, port);
        assert_eq!(name_at(here(own)), replica);
        assert_eq!(env.run(&format!("url {replica}")).ok().stdout, format!("http://127.0.0.1:{own}\n"));
        assert_eq!(listening(own, "tcp"), loopback_alone());
    }
    assert_eq!(env.run("url web").ok().stdout, format!("http://127.0.0.1:{port}\n"));
    assert_eq!(listening(port, "tcp"), loopback_alone());
    // Everybody has his turn.
    let mut names: Vec<_> = (0..6).map(|_| name_at(here(port))).collect();
    names.sort();
    assert_eq!(names, ["web-1", "web-1", "web-2", "web-2", "web-3", "web-3"]);
    env.run("ps").ok().prints(&["ON THE HOST", &format!("http://127.0.0.1:{port}")]);
    let told = env.events().into_iter().filter_map(|event| match event.kind {
        EventKind::PortPublished { service, replica, addresses, .. } => {
            assert_eq!(service.as_str(), "web");
            assert!(addresses[0].starts_with("127.0.0.1:"), "{addresses:?}");
            Some(replica.map(|replica| replica.to_string()))
        }
        _ => None,
    });
    let each = ["web-1", "web-2", "web-3"].map(|one| Some(one.to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), [vec![None], each.to_vec()].concat());
}

#[test]
fn one_replica_has_the_ports_of_its_service() {
    let env = world!();
    env.stack(&WEB.replace("replicas = 3", ""));
    env.up();
    assert_eq!(number(&env, "web", "http"), number(&env, "web-1", "http"));
    env.run("kill web").ok();
    let (status, body) = get(here(number(&env, "web", "http")), "/").unwrap();
    assert_eq!(status, 503, "{body}");
}

#[test]
fn who_is_not_there_is_told_of_at_once_and_is_back_when_it_is() {
    let env = world!();
    env.stack(WEB);
    env.up();
    let (all, second) = (number(&env, "web", "http"), number(&env, "web-2", "http"));
    env.run("kill web-2").ok();
    let asked = Instant::now();
    let (status, body) = get(here(second), "/").unwrap();
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert_eq!(status, 503);
    let error = serde_json::from_str::<Value>(&body).unwrap()["error"].take();
    assert_eq!(error["code"], "replica-not-running");
    assert_eq!((&error["replica"], &error["state"]), (&json!("web-2"), &json!("exited")));
    assert_eq!(error["restarting"], false);
    // Those that are there go on taking turns.
    let mut names: Vec<_> = (0..4).map(|_| name_at(here(all))).collect();
    names.sort();
    assert_eq!(names, ["web-1", "web-1", "web-3", "web-3"]);
    env.run("start web-2").ok();
    assert_eq!(name_at(here(second)), "web-2");
    env.run("kill web").ok();
    let (status, body) = get(here(all), "/").unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("replica-not-running"), "{body}");
}

#[test]
fn a_replica_on_its_way_up_is_said_to_be() {
    let env = world!();
    env.stack(&WEB.replace("replicas = 3", "ready = { http = \"/health\" }\nrestart = \"always\"\n"));
    env.up();
    let port = number(&env, "web", "http");
    // It dies again and again, each time a little later, and what is told in between is true.
    let told = eventually("a death is seen", LONG, || {
        // The answer is cut off by the death, now and then.
        let _ = get(here(port), "/exit/1");
        let (status, body) = get(here(port), "/").ok()?;
        (status == 503).then_some(body)
    });
    let error = serde_json::from_str::<Value>(&told).unwrap()["error"].take();
    assert!(
        ["replica-not-running", "replica-not-listening"].iter().any(|code| error["code"] == *code),
        "{error}"
    );
    eventually("it is told that it is coming back", LONG, || {
        let _ = get(here(port), "/exit/1");
        let (_, body) = get(here(port), "/").ok()?;
        body.contains("\"restarting\":true").then_some(())
    });
    eventually("it is back", LONG, || get(here(port), "/").ok().filter(|(status, _)| *status == 200));
}

#[test]
fn a_replica_that_runs_and_does_not_listen_is_told_from_one_that_is_down() {
    let env = world!();
    env.stack(
        "[service.late]\nrun = \"{fixture} stay\"\nports = { http = 80, raw = 81 }\nready = { exec = \"true\" }\n\
         publish = [\"http\", \"raw\"]\n",
    );
    env.up();
    let (status, body) = get(here(number(&env, "late", "http")), "/").unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("replica-not-listening") && body.contains("late-1"), "{body}");
    let mut stream = TcpStream::connect(here(number(&env, "late", "raw"))).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_to_nobody_is_broken_at_once() {
    let env = world!();
    env.stack(ECHO);
    env.up();
    let port = number(&env, "echo", "echo");
    let mut open = TcpStream::connect(here(port)).unwrap();
    open.set_read_timeout(Some(LONG)).unwrap();
    echoed(&mut open, b"before").unwrap();
    env.run("kill echo").ok();
    // The one that was open ends with its replica.
    assert!(matches!(open.read(&mut [0]), Ok(0) | Err(_)));
    let asked = Instant::now();
    let mut stream = TcpStream::connect(here(port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    env.run("start echo").ok();
    echoed(&mut TcpStream::connect(here(port)).unwrap(), b"after").unwrap();
}

#[test]
fn the_end_of_one_direction_is_passed_on_alone() {
    let env = world!();
    env.stack(ECHO);
    env.up();
    let mut stream = TcpStream::connect(here(number(&env, "echo", "echo"))).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let text = vec![b'x'; 3 << 20];
    let mut writer = stream.try_clone().unwrap();
    let sent = text.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert_eq!(back.len(), text.len());
}

#[test]
fn datagrams_go_in_and_answers_find_back() {
    let env = world!();
    env.stack(UDP);
    env.up();
    let port = number(&env, "echo", "echo");
    assert_eq!(listening(port, "udp"), loopback_alone());
    let ask = |from: &str, to: SocketAddr, text: &str| {
        let socket = UdpSocket::bind(from).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket.send(text.as_bytes()).unwrap();
        let mut buffer = [0; 2048];
        socket.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    // That it has been started is all that is known of a server of datagrams.
    let first = eventually("an answer", LONG, || ask("127.0.0.1:0", here(port), "one").ok());
    assert_eq!(first, "one");
    if let Some(address) = here_too(port) {
        assert_eq!(ask("[::1]:0", address, "six").unwrap(), "six");
    }
    // Many senders are told apart.
    let sockets: Vec<_> = (0..100).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (number, socket) in sockets.iter().enumerate() {
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.send_to(format!("from {number}").as_bytes(), here(port)).unwrap();
    }
    for (number, socket) in sockets.iter().enumerate() {
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (format!("from {number}").as_bytes(), here(port)));
    }
    env.run("kill echo").ok();
    ask("127.0.0.1:0", here(port), "nobody").unwrap_err();
    env.run("start echo").ok();
    // One that was known before is carried to the new process as well.
    eventually("an answer", LONG, || ask("127.0.0.1:0", here(port), "again").ok());
    sockets[0].send_to(b"still", here(port)).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(sockets[0].recv(&mut buffer).unwrap(), 5);
}

#[test]
fn a_port_that_was_asked_for_is_the_one() {
    let env = world!();
    let port = a_port_of_our_own();
    env.stack(&WEB.replace("[\"http\"]", &format!("{{ http = {port} }}")));
    env.up();
    assert_eq!(number(&env, "web", "http"), port);
    assert!(name_at(here(port)).starts_with("web-"));
    assert_eq!(listening(port, "tcp"), loopback_alone());
    env.run("down").ok();
    // It is free as soon as the session has ended.
    assert_eq!(listening(port, "tcp"), [""; 0]);
    env.up();
    assert!(name_at(here(port)).starts_with("web-"));
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_starts() {
    let env = world!();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    env.stack(&WEB.replace("[\"http\"]", &format!("{{ http = {port} }}")));
    let message = env.run("up --json").json_error(ErrorCode::PortTaken);
    assert!(message.contains(&format!("port {port} ")) && message.contains("web:http"), "{message}");
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert_eq!(env.run("ls --all --json").json(), json!({"sessions": []}));
    env.run("up").ends_with(7).complains(&["publish = [\"http\"]", "(port-taken)"]);
    env.run("run -- true").ends_with(125).complains(&["(port-taken)"]);
    drop(taken);
    env.up();
    // Now it is a session that has it, and it is named.
    env.run("up --new --name other").ends_with(7).complains(&["session project", "belljar down "]);
}

#[test]
fn a_port_that_is_not_ours_to_take_is_said() {
    let env = world!();
    let first = fs_err::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if is_root() || first.trim().parse::<u16>().is_ok_and(|first| first <= 80) {
        // Every port is ours.
        return;
    }
    env.stack(&WEB.replace("[\"http\"]", "{ http = 80 }"));
    let message = env.run("up --json").json_error(ErrorCode::PortRefused);
    assert!(message.contains("port 80") && message.contains("web:http"), "{message}");
    env.run("up").ends_with(4).complains(&["below 1024", "(port-refused)"]);
}

#[test]
fn on_all_interfaces_only_when_it_is_said() {
    let env = world!();
    env.stack(&format!("{}{UDP}", WEB.replace("[\"http\"]", "{ http = { on = \"all\" } }")));
    env.run("plan")
        .ok()
        .prints(&["web:http on a free port of ALL interfaces", "echo:echo on a free port of 127.0.0.1"]);
    env.up();
    let everywhere = if here_too(0).is_some() {
        vec!["00000000", "00000000000000000000000000000000"]
    } else {
        vec!["00000000"]
    };
    for name in ["web", "web-1"] {
        assert_eq!(listening(number(&env, name, "http"), "tcp"), everywhere, "{name}");
    }
    assert_eq!(listening(number(&env, "echo", "echo"), "udp"), loopback_alone());
    assert_eq!(name_at(here(number(&env, "web-2", "http"))), "web-2");
}

#[test]
fn two_sessions_of_one_stack_have_ports_of_their_own() {
    let env = world!();
    env.stack(&WEB.replace("--name ${self.name}", "--name ${session.name}"));
    env.run("up --name one").ok();
    env.run("up --name two").ok();
    for name in ["one", "two"] {
        let url = env.run(&format!("url -s {name} web")).ok().stdout;
        let address = url.trim().strip_prefix("http://").unwrap().parse().unwrap();
        assert_eq!(name_at(address), name);
    }
}

#[test]
fn tests_side_by_side_never_ask_for_one_number() {
    let env = world!();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    env.stack(&format!(
        "{}[suite.all]\nscenarios = \"scenarios/*\"\n",
        WEB.replace("[\"http\"]", &format!("{{ http = {port} }}"))
    ));
    for name in ["a", "b", "c"] {
        env.script(&format!("scenarios/{name}"), "#!/bin/sh\nset -e\n{fixture} get $(belljar url web)\n");
    }
    env.run("test -j 3").ok();
}

#[test]
fn a_port_goes_with_its_host_process() {
    let env = world!();
    let port = a_port_of_our_own();
    env.stack(&format!(
        "{}[service.mark]\nrun = \"{{fixture}} stay --tag mark\"\n",
        WEB.replace("[\"http\"]", &format!("{{ http = {port} }}"))
    ));
    env.up();
    assert!(name_at(here(port)).starts_with("web-"));
    let mark = env.process("--tag mark");
    env.ancestors(&mark).pop().unwrap().kill();
    assert!(
        soon(Duration::from_secs(1), || listening(port, "tcp").is_empty()),
        "{:?}",
        listening(port, "tcp")
    );
    env.nothing_is_left_within(Duration::from_secs(1));
}

#[test]
fn hundreds_of_connections_at_once() {
    let env = world!();
    env.stack(ECHO);
    env.up();
    let port = number(&env, "echo", "echo");
    let mut open: Vec<_> = (0..400).map(|_| TcpStream::connect(here(port)).unwrap()).collect();
    for round in 0..3 {
        for (number, stream) in open.iter_mut().enumerate() {
            stream.set_read_timeout(Some(LONG)).unwrap();
            echoed(stream, format!("{round} {number}").as_bytes()).unwrap();
        }
    }
    env.run("exec -- true").ok();
}

#[test]
fn more_connections_than_descriptors_leave_the_session_alone() {
    let env = world!();
    env.stack(ECHO);
    env.command("/bin/sh", ["-c", "ulimit -n 200; exec {root}/bin/belljar up"]).run().ok();
    let port = number(&env, "echo", "echo");
    let mut open: Vec<_> = (0..200).map(|_| TcpStream::connect(here(port)).unwrap()).collect();
    for stream in &mut open[..30] {
        stream.set_read_timeout(Some(LONG)).unwrap();
        echoed(stream, b"inside").unwrap();
    }
    // The session is served as if nothing were.
    env.run("exec -- true").ok();
    env.run("restart echo").ok();
    env.run("logs").ok();
    eventually("it is told", LONG, || {
        env.events().iter().any(|event| matches!(event.kind, EventKind::PortOverloaded { .. })).then_some(())
    });
    drop(open);
    eventually("there is room again", LONG, || {
        let mut stream = TcpStream::connect(here(port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        echoed(&mut stream, b"again").ok()
    });
}

#[test]
fn a_client_of_the_host_uses_postgres() {
    let env = world!();
    needs!("postgres", "psql");
    env.stack("[service.db]\nuse = \"postgres\"\nwith = { database = \"shop\" }\npublish = [\"sql\"]\n");
    env.up();
    let url = env.run("url db").ok().stdout.trim().to_owned();
    assert!(url.starts_with("postgres://postgres@127.0.0.1:") && url.ends_with("/shop"), "{url}");
    let sql = |statement: &str| {
        env.command("psql", [url.as_str(), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]).run()
    };
    sql("create table t (n int); insert into t select generate_series(1, 100000)").ok();
    sql("select count(*), sum(n) from t").ok().prints_exactly("100000|5000050000\n");
    // A megabyte of rows, each by itself.
    assert_eq!(sql("select n from t").ok().stdout.lines().count(), 100_000);
    env.run("kill db").ok();
    sql("select 1").ends_with(2);
    env.run("start db").ok();
    sql("select count(*) from t").ok().prints_exactly("100000\n");
}

#[test]
fn a_client_of_the_host_uses_a_web_server() {
    let env = world!();
    needs!("python3", "curl");
    env.write("www/large", &"0123456789abcdef".repeat(1 << 18));
    env.stack(
        "[service.web]\nrun = \"python3 -m http.server 8000 --directory {dir}/www\"\nports = { web = 8000 }\n\
         ready = { http = \"/\", port = \"web\" }\npublish = [\"web\"]\n",
    );
    env.up();
    // Its readiness check says what is spoken there.
    let url = env.run("url web").ok().stdout.trim().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let curl = |more: &[&str]| env.command("curl", [&["-sS", "-o", "/dev/null"], more].concat()).run();
    let large = format!("{url}/large");
    curl(&["-w", "%{http_code} %{size_download}\n", &large]).ok().prints_exactly("200 4194304\n");
    env.run("stop web").ok();
    curl(&["-w", "%{http_code}\n", &large]).ok().prints_exactly("503\n");
    curl(&["-I", "-w", "%{http_code}\n", &large]).ok().prints_exactly("503\n");
    curl(&["-T", &env.dir().join("www/large").to_string_lossy(), "-w", "%{http_code}\n", &large])
        .ok()
        .prints_exactly("503\n");
}

#[test]
fn requests_on_one_connection_reach_nginx_and_what_is_behind_it() {
    let env = world!();
    needs!("nginx", "curl");
    env.write("public/page", "a page\n");
    env.stack(&format!(
        "{}[service.front]\nuse = \"nginx\"\nwith = {{ upstream = \"web\", root = \"public\" }}\nafter = [\"web\"]\n\
         publish = [\"http\"]\n",
        WEB.replace("publish = [\"http\"]\n", "").replace("replicas = 3", "replicas = 1")
    ));
    env.up();
    let url = env.run("url front").ok().stdout.trim().to_owned();
    let curl = |paths: &[&str]| {
        let urls = paths.iter().map(|path| format!("{url}/{path}")).collect::<Vec<_>>();
        let urls = urls.iter().map(String::as_str);
        env.command("curl", ["-sS", "-w", " %{num_connects} "].into_iter().chain(urls)).run()
    };
    // The second and the third request need no connection of their own.
    curl(&["page", "health", "page"]).ok().prints_exactly("a page\n 1 ready 0 a page\n 0 ");
    env.run("pause front").ok();
    // Silence is silence, from here too.
    let mut silent = TcpStream::connect(here(number(&env, "front", "http"))).unwrap();
    silent.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    env.run("resume front").ok();
    silent.set_read_timeout(Some(LONG)).unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("a page\n"), "{answer}");
}

#[test]
fn url_tells_what_to_open_from_where_it_is_asked() {
    let env = world!();
    env.stack(&format!(
        "{WEB}[service.db]\nrun = \"{{fixture}} tcp --port 5432\"\nports = {{ sql = 5432, admin = 81 }}\n\
         ready = {{ tcp = \"sql\" }}\n"
    ));
    env.up();
    let port = number(&env, "web", "http");
    assert_eq!(env.run("url web:http --json").json()["url"], format!("http://127.0.0.1:{port}"));
    env.run("exec -- belljar url web").ok().prints_exactly("http://web:80\n");
    env.run("exec -- belljar url web-2:http").ok().prints_exactly("http://web-2:80\n");
    env.run("url --inside db:sql").ok().prints_exactly("db:5432\n");
    let message = env.run("url db:sql --json").json_error(ErrorCode::PortNotPublished);
    assert!(message.contains("`sql`"), "{message}");
    env.run("url db:sql").ends_with(6).complains(&["publish = [\"sql\"]", "[service.db]", "--inside"]);
    env.run("url db").ends_with(6).complains(&["no port of db is published", "(port-not-published)"]);
    env.run("url db:slq --json").json_error(ErrorCode::PortNotFound);
    env.run("url nobody --json").json_error(ErrorCode::ReplicaNotFound);
}

#[test]
fn in_shared_isolation_a_published_port_leads_to_leased_ones() {
    let env = TestEnv::new();
    let web = WEB.replace("--port 80", "--port ${self.port.http}");
    env.stack(&web);
    env.run("up --isolation shared").ok();
    let all = here(number(&env, "web", "http"));
    eventually("all three take their turns", LONG, || {
        let names: std::collections::BTreeSet<String> = (0..6).map(|_| name_at(all)).collect();
        (names.len() == 3).then_some(())
    });
    let second = here(number(&env, "web-2", "http"));
    assert_eq!(name_at(second), "web-2");
    env.run("kill web-2").ok();
    let (status, body) = get(second, "/").unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("replica-not-running"), "{body}");
    env.run("start web-2").ok();
    env.run("wait web-2 --for ready --within 30s").ok();
    assert_eq!(name_at(second), "web-2");
}
