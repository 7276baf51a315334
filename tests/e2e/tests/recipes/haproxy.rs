//! HAProxy: balancing, metrics, a configuration of one's own.

use belljar_e2e::{needs, world};

use super::{kill_and_start, refused, says, until};

#[test]
fn haproxy_balances_leaves_out_the_dead_and_tells_its_metrics() {
    let env = world!();
    needs!("haproxy", "curl");
    env.stack(
        "[service.web]\nrun = \"{fixture} http --port 8080 --name ${self.name}\"\nports = { http = 8080 }\nreplicas = 3\n\
         [service.front]\nuse = \"haproxy\"\nwith = { upstream = \"web\", check = \"/health\" }\nafter = [\"web\"]\n",
    );
    env.up();
    let everybody = "for n in 1 2 3 4 5 6; do curl -fsS \"$FRONT_URL\"; echo; done | sort -u | tr '\\n' ' '";
    assert_eq!(says(&env, everybody), "web-1 web-2 web-3");
    env.run("kill web-2").ok();
    until(&env, &format!("[ \"$({everybody})\" = 'web-1 web-3 ' ]"));
    let metrics = "curl -fsS http://front:8404/metrics";
    let down = "haproxy_server_status{proxy=\"upstream\",server=\"web-2\",state=\"DOWN\"} 1";
    until(&env, &format!("{metrics} | grep -Fx '{down}'"));
    kill_and_start(&env, "front-1");
    until(&env, &format!("[ \"$({everybody})\" = 'web-1 web-3 ' ]"));
    // It ends by the signal that it was sent, at once.
    env.run("stop front-1").ok();
    assert_eq!(env.replica("front-1")["exit"]["signal"], "SIGTERM");
}

#[test]
fn haproxy_takes_more_configuration() {
    let env = world!();
    needs!("haproxy", "curl");
    env.write(
        "lb.cfg",
        "frontend mine\n  bind :80\n  http-request return status 200 content-type text/plain string mine\n",
    );
    env.stack("[service.front]\nuse = \"haproxy\"\nwith = { config = \"lb.cfg\" }\n");
    env.up();
    assert_eq!(says(&env, "curl -fsS http://front/"), "mine");
    assert!(says(&env, "curl -fsS http://front:8404/metrics").contains("proxy=\"mine\""));
}

#[test]
fn parameters_of_haproxy_are_checked() {
    let env = world!();
    refused(&env, "haproxy", "check = \"health\"", &["does not fit `check`"]);
    refused(&env, "haproxy", "upstream = \"ti\"", &["there is no service `ti`", "did you mean `it`?"]);
}
