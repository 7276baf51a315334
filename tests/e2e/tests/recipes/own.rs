//! Recipes of one's own: from files, from the stack file, in place of belljar's; and servers that are not here.

use belljar_e2e::{needs, world};

use super::says;

const WEB: &str = r#"
summary = "the fixture, as a recipe"

[parameters.greeting]
default = "hello"
pattern = "[a-z]+"
doc = "what it says"

[service]
run = ["{fixture}", "http", "--port", "${self.port.http}", "--name", "${with.greeting} ${self.name} of ${self.each.name}"]
ports = { http = 80 }
replicas = 2

[outputs]
url = "http://${self.addr.http}"
"#;

#[test]
fn a_recipe_beside_the_stack_wins_over_belljars() {
    let env = world!();
    env.write("recipes/nats.toml", WEB);
    env.stack("[service.bus]\nuse = \"nats\"\nwith = { greeting = \"bye\" }\n");
    env.up();
    assert_eq!(says(&env, "{fixture} get http://bus-2"), "bye bus-2 of bus-1,bus-2");
    assert_eq!(says(&env, "echo $BUS_URL"), "http://bus:80");
}

#[test]
fn a_recipe_of_the_stack_file_makes_services() {
    let env = world!();
    env.stack(
        "[recipe.web]\nsummary = \"the fixture\"\n[recipe.web.parameters.to]\ntype = \"service\"\ndefault = \"\"\ndoc = \"whom it knows\"\n\
         [recipe.web.service]\nrun = [\"{fixture}\", \"http\", \"--port\", \"80\", \"--name\", \"knows ${with.to.each.addr}\"]\n\
         ports = { http = 80 }\n\
         [service.one]\nuse = \"web\"\nreplicas = 2\n[service.two]\nuse = \"web\"\nwith = { to = \"one\" }\n",
    );
    env.up();
    assert_eq!(says(&env, "{fixture} get http://one-2"), "knows");
    assert_eq!(says(&env, "{fixture} get http://two"), "knows one-1:80,one-2:80");
}

#[test]
fn a_server_that_is_missing_is_told_with_its_package() {
    let env = world!();
    env.stack(
        "[recipe.rare]\nsummary = \"rare\"\n[recipe.rare.programs.rare-server]\n\
         packages = { apt = \"rare-deb\", dnf = \"rare-rpm\", npm = \"rare-js\" }\n\
         [recipe.rare.service]\nrun = [\"${program.rare-server}\"]\n[service.it]\nuse = \"rare\"\n",
    );
    let output = env.run("up").ends_with(4).complains(&[
        "the program `rare-server` is not on this machine",
        "npm has it in the package rare-js: `npm install rare-js`",
    ]);
    if std::path::Path::new("/etc/debian_version").exists() {
        assert!(output.stderr.contains("in the package rare-deb: `apt-get install rare-deb`"), "{output}");
        assert!(!output.stderr.contains("rare-rpm"), "{output}");
    }
    env.run("recipes").ok().prints(&["rare", "belljar.toml", "no: "]);
}

#[test]
fn an_ejected_recipe_runs_as_the_one_it_was() {
    let env = world!();
    needs!("redis-server", "redis-cli");
    env.stack("[service.cache]\nuse = \"redis\"\n");
    env.run("recipes eject redis").ok();
    let path = env.dir().join("recipes/redis.toml");
    let text = fs_err::read_to_string(&path).unwrap();
    let marked = text.replace("save \"\"", "save \"\"\ndatabases 3");
    assert_ne!(marked, text);
    fs_err::write(&path, marked).unwrap();
    env.up();
    assert_eq!(says(&env, "redis-cli -h cache config get databases | tail -n 1"), "3");
}
