//! Services of the host under names of the session: one port each, and nothing else.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use belljar_e2e::{LONG, TestEnv, eventually, world};
use belljar_model::EventKind;

/// A web server of the host, as long as it is held.
struct Server {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(address: &str, says: &'static str) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                // Whoever only looks whether somebody is there says nothing.
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{says}", says.len());
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Some(Self { address, over, thread: Some(thread) })
    }

    fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(std::net::TcpStream::connect(self.address));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

const API: &str = "[service.api]\nrun = \"{fixture} http --port 80\"\nports = { http = 80 }\n\
                   env = { REGISTRY = \"${registry.addr}\", HOST = \"${registry.host}\", PORT = \"${registry.port}\" }\n";

fn stack(env: &TestEnv, to: &str) {
    env.stack(&format!("host_services = {{ registry = \"{to}\" }}\n{API}"));
}

#[test]
fn services_that_come_later_reach_it_too() {
    let env = world!();
    let server = Server::start("127.0.0.1:0", "registry").unwrap();
    let port = server.port();
    // The first of its network, but for what stands for the host.
    env.stack(&format!(
        "host_services = {{ registry = \"127.0.0.1:{port}\" }}\n[task.once]\nrun = \"true\"\n"
    ));
    env.up();
    stack(&env, &format!("127.0.0.1:{port}"));
    env.up();
    env.run("scale api=2").ok();
    for place in ["", "api-1", "api-2"] {
        let get = |url: &str| env.run(&format!("exec {place} -- {{fixture}} get {url}")).ok();
        get(&format!("http://registry:{port}/")).prints_exactly("registry\n");
        get("http://api-2/");
    }
}

#[test]
fn the_port_that_is_named_is_reached_and_no_other() {
    let env = world!();
    let (server, other) =
        (Server::start("127.0.0.1:0", "registry").unwrap(), Server::start("127.0.0.1:0", "x").unwrap());
    let port = server.port();
    stack(&env, &format!("127.0.0.1:{port}"));
    env.run("plan").ok().prints(&["holes in the seal", &format!("leads to 127.0.0.1:{port}")]);
    env.run("check").ok().prints(&["registry"]);
    env.up();
    let get = |place: &str, url: &str| env.run(&format!("exec {place} -- {{fixture}} get {url}"));
    for place in ["", "api-1"] {
        get(place, &format!("http://registry:{port}/")).ok().prints_exactly("registry\n");
        let connect = |host: &str, port: u16| {
            env.run(&format!("exec {place} -- {{fixture}} connect {host} {port}")).code()
        };
        // Neither other ports of the host, nor other ports at its address, nor the host by another way.
        assert_eq!(connect("registry", other.port()), 1);
        assert_eq!(connect("registry", 53), 1);
        assert_eq!(connect("127.0.0.1", port), 1);
        assert_eq!(connect("10.77.0.1", port), 1);
    }
    let env_of = |name: &str| env.run(&format!("exec api-1 -- {{fixture}} print-env {name}")).ok().stdout;
    assert_eq!(env_of("REGISTRY"), format!("registry:{port}\n"));
    assert_eq!((env_of("HOST"), env_of("PORT")), ("registry\n".to_owned(), format!("{port}\n")));
    let command = env.run("exec -- {fixture} print-env").ok().stdout;
    assert!(command.contains("REGISTRY_HOST=registry\n"), "{command}");
    assert!(command.contains(&format!("REGISTRY_PORT={port}\n")), "{command}");
    env.run("exec -- {fixture} resolve registry").ok().prints(&["10.77.255.1"]);
    let told = env.events().into_iter().find_map(|event| match event.kind {
        EventKind::HostServiceOpened { name, address, target } => Some((name.to_string(), address, target)),
        _ => None,
    });
    let expected = ("registry".to_owned(), format!("10.77.255.1:{port}"), format!("127.0.0.1:{port}"));
    assert_eq!(told, Some(expected));
}

#[test]
fn a_port_inside_can_be_another_one() {
    let env = world!();
    let server = Server::start("127.0.0.1:0", "mail").unwrap();
    env.stack(&format!(
        "[host_services]\nmail = {{ to = \"127.0.0.1:${{env.MAIL}}\", port = 25 }}\n{}",
        API.replace("registry", "mail")
    ));
    let mail = server.port().to_string();
    env.belljar(["run", "--", "{fixture}", "get", "http://mail:25/"])
        .env("MAIL", &mail)
        .run()
        .ok()
        .prints_exactly("mail\n");
    // The variable belongs to the file, so it has to be there.
    env.run("run -- true").ends_with(125).complains(&["`MAIL` is not set"]);
}

#[test]
fn what_is_down_on_the_host_is_refused_inside() {
    let env = world!();
    let server = Server::start("127.0.0.1:0", "registry").unwrap();
    let address = server.address.to_string();
    let port = server.port();
    drop(server);
    stack(&env, &address);
    env.up();
    let connect = || env.run(&format!("exec -- {{fixture}} connect registry {port}"));
    let get = || env.run(&format!("exec -- {{fixture}} get http://registry:{port}/"));
    let refused = connect().ends_with(1);
    assert!(refused.took < Duration::from_secs(5), "{refused}");
    let server = eventually("the port is free", LONG, || Server::start(&address, "back"));
    eventually("it is reached", LONG, || (get().code() == 0).then_some(()));
    get().ok().prints_exactly("back\n");
    drop(server);
    // The first one to come learns that it is gone; from then on nobody listens.
    assert_ne!(get().code(), 0);
    eventually("it is refused", LONG, || (connect().code() == 1).then_some(()));
    let _server = eventually("the port is free", LONG, || Server::start(&address, "again"));
    eventually("it is reached again", LONG, || (get().code() == 0).then_some(()));
}

#[test]
fn ipv6_and_names_of_the_host_are_reached_too() {
    let env = world!();
    if let Some(server) = Server::start("[::1]:0", "six") {
        let port = server.port();
        stack(&env, &format!("[::1]:{port}"));
        env.run(&format!("run -- {{fixture}} get http://registry:{port}/")).ok().prints_exactly("six\n");
    }
    let server = Server::start("127.0.0.1:0", "by name").unwrap();
    let port = server.port();
    stack(&env, &format!("localhost:{port}"));
    env.run(&format!("run -- {{fixture}} get http://registry:{port}/")).ok().prints_exactly("by name\n");
}

#[test]
fn every_scenario_reaches_it_beside_the_others() {
    let env = world!();
    let server = Server::start("127.0.0.1:0", "registry").unwrap();
    env.stack(&format!(
        "host_services = {{ registry = \"127.0.0.1:{}\" }}\n{API}[suite.all]\nscenarios = \"scenarios/*\"\n",
        server.port()
    ));
    for name in ["a", "b", "c", "d"] {
        env.script(
            &format!("scenarios/{name}"),
            "#!/bin/sh\nset -e\ntest \"$({fixture} get http://$REGISTRY_HOST:$REGISTRY_PORT/)\" = registry\n",
        );
    }
    env.run("test -j 2").ok();
}

#[test]
fn a_name_means_one_thing() {
    let env = world!();
    env.stack("host_services = { api = \"127.0.0.1:5000\" }\n[service.api]\nrun = \"x\"\n");
    env.run("check").ends_with(3).complains(&["belljar.toml:1", "both a service of the host and a service"]);
    env.stack("host_services = { api = \"127.0.0.1:5000\" }\n[task.api]\nrun = \"x\"\n");
    env.run("check").ends_with(3).complains(&["both a service of the host and a task"]);
}

#[test]
fn in_shared_isolation_they_are_reached_as_they_are() {
    let env = TestEnv::new();
    let server = Server::start("127.0.0.1:0", "the registry").unwrap();
    let api = API.replace("--port 80", "--port ${self.port.http}");
    env.stack(&format!("host_services = {{ registry = \"127.0.0.1:{}\" }}\n{api}", server.port()));
    env.run("up --isolation shared").ok();
    let told = env.belljar([
        "exec",
        "--",
        "sh",
        "-c",
        "echo $REGISTRY_HOST:$REGISTRY_PORT; curl -fsS $REGISTRY_ADDR",
    ]);
    let told = told.run().ok().stdout;
    assert_eq!(told, format!("127.0.0.1:{}\nthe registry", server.port()));
    let of_replica = env.belljar(["exec", "api-1", "--", "sh", "-c", "echo $REGISTRY"]).run().ok().stdout;
    assert_eq!(of_replica, format!("127.0.0.1:{}\n", server.port()));
}
