//! nginx: a directory, a service behind it, a configuration of one's own.

use belljar_e2e::{needs, world};

use super::{kill_and_start, refused, says, stops_with_zero};

#[test]
fn nginx_serves_a_directory_and_what_is_behind_it() {
    let env = world!();
    needs!("nginx", "curl");
    env.stack(
        "[service.web]\nrun = \"{fixture} http --port 8080 --name ${self.name}\"\nports = { http = 8080 }\nreplicas = 2\n\
         [service.front]\nuse = \"nginx\"\nwith = { upstream = \"web\", root = \"public\" }\nafter = [\"web\"]\n\
         [service.files]\nuse = \"nginx\"\nwith = { root = \"public\" }\n",
    );
    env.write("public/a page.html", "a page\n");
    env.up();
    assert_eq!(says(&env, "curl -fsS \"$FRONT_URL/a%20page.html\""), "a page");
    let everybody = "for n in 1 2 3 4; do curl -fsS http://front-1/; echo; done | sort -u | tr '\\n' ' '";
    assert_eq!(says(&env, everybody), "web-1 web-2");
    assert_eq!(says(&env, "curl -s -o /dev/null -w '%{http_code}' http://files/"), "404");
    // One of two behind it is dead: the other answers every time.
    env.run("kill web-1").ok();
    assert_eq!(says(&env, everybody), "web-2");
    kill_and_start(&env, "front-1");
    assert_eq!(says(&env, "curl -fsS \"http://front/a%20page.html\""), "a page");
    stops_with_zero(&env, "front-1", "GET /a%20page.html");
}

#[test]
fn nginx_runs_a_configuration_that_was_written_for_a_machine() {
    let env = world!();
    needs!("nginx", "curl");
    env.write(
        "conf/nginx.conf",
        "user www-data;\npid /run/nginx.pid;\nevents {}\nhttp {\n  access_log /var/log/nginx/access.log;\n\
         server { listen 80; location / { return 200 \"mine $hostname\\n\"; } }\n}\n",
    );
    env.stack("[service.front]\nuse = \"nginx\"\nwith = { config = \"conf/nginx.conf\" }\nreplicas = 2\n");
    env.up();
    assert_eq!(says(&env, "curl -fsS http://front-1/ http://front-2/"), "mine front-1\nmine front-2");
    env.run("stop front-2").ok();
    assert_eq!(env.replica("front-2")["exit"]["code"], 0);
}

#[test]
fn parameters_of_nginx_are_checked() {
    let env = world!();
    refused(&env, "nginx", "root = \"a;b\"", &["does not fit `root`"]);
    refused(&env, "nginx", "upstream = \"wbe\"", &["there is no service `wbe`"]);
    refused(&env, "nginx", "config = \"$HOME/x\"", &["does not fit `config`"]);
}
