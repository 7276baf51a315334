//! Recipes: those that are compiled in, and those that a project writes itself.

use std::path::Path;

use belljar_stack::plan::Check;
use belljar_stack::{HostPrograms, Origin, RecipeBook, SourceFile, Stack};
use insta::assert_snapshot;

use crate::{Everything, context, faults, plan};

#[test]
fn every_recipe_of_belljar_describes_itself() {
    let book = RecipeBook::builtin();
    let names: Vec<_> = book.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "anvil",
            "etcd",
            "haproxy",
            "mariadb",
            "mosquitto",
            "nats",
            "nginx",
            "postgres",
            "rabbitmq",
            "redis",
            "redis-sentinel",
            "zookeeper"
        ]
    );
    for recipe in book.iter() {
        assert_eq!(book.get(&recipe.name).unwrap().name, recipe.name);
        assert!(recipe.notes.is_some() && recipe.example.contains(&format!("use = \"{}\"", recipe.name)));
        let source = SourceFile { path: "/src/x/belljar.toml".into(), text: recipe.example.clone() };
        let example = Stack::parse(&source, &book);
        assert!(example.is_ok(), "the example of {}:\n{}", recipe.name, example.unwrap_err());
        assert!(!recipe.summary.is_empty() && recipe.source.text.contains("[service]"), "{}", recipe.name);
        assert!(recipe.outputs.iter().any(|output| output.name == "url"), "{}", recipe.name);
        assert!(recipe.programs.iter().all(|program| !program.packages.is_empty()), "{}", recipe.name);
    }
}

#[test]
fn flags_follow_their_parameter() {
    let argv = |with: &str| {
        let plan = plan(&format!("[service.bus]\nuse = \"nats\"\nwith = {{ {with} }}\n")).unwrap();
        plan.services[0].replicas[0].argv.join(" ")
    };
    assert!(!argv("").contains("jetstream"));
    assert!(!argv("jetstream = false").contains("jetstream"));
    assert!(
        argv("jetstream = true").ends_with("--jetstream --store_dir /state/k3f9-x2ab/volumes/bus-1/data")
    );
}

#[test]
fn a_stack_says_it_better_than_the_recipe() {
    let plan = plan(
        r#"
        [service.bus]
        use = "nats"
        ports = { client = 5222 }
        ready = { within = "5s" }
        stop = { within = "1s" }
        env = { GOGC = "50" }
        [service.other]
        use = "nats"
        ready = { tcp = "client" }
        "#,
    )
    .unwrap();
    let bus = &plan.services[0];
    assert_eq!(bus.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [5222, 8222, 6222]);
    assert_eq!(bus.outputs["url"], "nats://bus:5222");
    let ready = &bus.replicas[0].ready;
    assert!(matches!(&ready.check, Check::Http { port: 8222, path, .. } if path == "/healthz"));
    assert_eq!(ready.within.as_secs(), 5);
    assert_eq!((bus.stop.signal, bus.stop.within.as_secs()), (2, 1));
    assert_eq!(bus.replicas[0].env["GOGC"], "50");
    assert_eq!(plan.services[1].replicas[0].ready.check, Check::Tcp { ports: vec![4222] });
}

fn with_recipe(name: &str, text: &str) -> (tempfile::TempDir, Result<RecipeBook, String>) {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("recipes")).unwrap();
    fs_err::write(dir.path().join("recipes").join(name), text).unwrap();
    let shown = dir.path().display().to_string();
    let book = RecipeBook::with_dir(dir.path()).map_err(|faults| faults.to_string().replace(&shown, "DIR"));
    (dir, book)
}

#[test]
fn a_project_has_recipes_of_its_own_and_they_win() {
    let recipe = r#"
        summary = "our own bus"
        [parameters.topic]
        doc = "where to"
        [service]
        run = "bus --topic ${with.topic}"
        ports = { client = 1234 }
        [outputs]
        url = "bus://${self.addr.client}/${with.topic}"
    "#;
    let (dir, book) = with_recipe("nats.toml", recipe);
    let book = book.unwrap();
    assert_eq!(book.get("nats").unwrap().summary, "our own bus");
    assert!(book.get("postgres").is_some());
    let text = "[service.bus]\nuse = \"nats\"\nwith = { topic = \"x\" }\nreplicas = 2\n\
                [service.a]\nrun = \"a ${bus.url} ${bus-2.url}\"\n";
    let source = SourceFile { path: dir.path().join("belljar.toml"), text: text.to_owned() };
    let plan = Stack::parse(&source, &book).unwrap().plan(&context(), &Everything).unwrap();
    assert_eq!(plan.services[0].replicas[0].argv, ["bus", "--topic", "x"]);
    assert_eq!(plan.services[1].replicas[0].argv, ["a", "bus://bus:1234/x", "bus://bus-2:1234/x"]);

    let missing = SourceFile { path: source.path, text: "[service.bus]\nuse = \"nats\"\n".to_owned() };
    let faults = Stack::parse(&missing, &book).unwrap_err().to_string();
    let shown = faults.replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(shown, @r#"
    error: the recipe `nats` needs `topic`
     --> DIR/belljar.toml:2:7
      |
    2 | use = "nats"
      |       ^^^^^^ this parameter is missing
      |
      = help: write `with = { topic = … }`: where to
    "#);
}

#[test]
fn faults_of_a_recipe_are_shown_in_its_own_file() {
    let recipe = r#"
summary = "broken"
[parameters.port]
type = "number"
doc = "x"
[parameters.name]
default = "UPPER"
pattern = "[a-z]+"
doc = "a lower-case name"
[service]
use = "postgres"
run = "${program.brokn} --user ${with.nmae}"
flags.nam = ["-x"]
[outputs]
url = "x://${self.port.sql}"
"#;
    let (_dir, book) = with_recipe("broken.toml", recipe);
    assert_snapshot!(book.unwrap_err(), @r#"
    error: `type` cannot be `number`
     --> DIR/recipes/broken.toml:4:8
      |
    4 | type = "number"
      |        ^^^^^^^^ expected `string`, `integer`, `boolean` or `service`

    error: `UPPER` does not fit `name`
     --> DIR/recipes/broken.toml:7:11
      |
    7 | default = "UPPER"
      |           ^^^^^^^ expected a text that matches `[a-z]+`
      |
      = help: a lower-case name

    error: the service of a recipe has no key `use`
      --> DIR/recipes/broken.toml:11:1
       |
    11 | use = "postgres"
       | ^^^ this key is unknown
       |
       = help: its keys: `run`, `shell`, `cwd`, `env`, `after`, `ports`, `ready`, `volume`, `volumes`, `files`, `stop`, `replicas`, `boot`, `restart`, `health`, `init`, `flags`

    error: both `use` and `run`
      --> DIR/recipes/broken.toml:12:1
       |
    11 | use = "postgres"
       | --- the other one
    12 | run = "${program.brokn} --user ${with.nmae}"
       | ^^^ expected only one of them

    error: there is no parameter `nam`
      --> DIR/recipes/broken.toml:13:7
       |
    13 | flags.nam = ["-x"]
       |       ^^^ flags are named after a parameter
       |
       = help: did you mean `name`?
    "#);
    let recipe = r#"
summary = "broken"
[parameters.name]
doc = "a name"
[programs.broken]
[service]
run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
[outputs]
url = "x://${self.port.sql}/${self.url}/${self.index}"
"#;
    let (_dir, book) = with_recipe("broken.toml", recipe);
    assert_snapshot!(book.unwrap_err(), @r#"
    error: unknown reference `${program.brokn}`
     --> DIR/recipes/broken.toml:7:8
      |
    7 | run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
      |        ^^^^^^^^^^^^^^^^ the recipe has no such program
      |
      = help: did you mean `broken`?

    error: unknown reference `${with.nmae}`
     --> DIR/recipes/broken.toml:7:32
      |
    7 | run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
      |                                ^^^^^^^^^^^^ the recipe has no such parameter
      |
      = help: did you mean `name`?

    error: unknown reference `${self.data}`
     --> DIR/recipes/broken.toml:7:52
      |
    7 | run = "${program.brokn} --user ${with.nmae} --data ${self.data}"
      |                                                    ^^^^^^^^^^^^ `broken` has no volume `data`
      |
      = help: declare it: `volume = true`

    error: unknown reference `${self.port.sql}`
     --> DIR/recipes/broken.toml:9:12
      |
    9 | url = "x://${self.port.sql}/${self.url}/${self.index}"
      |            ^^^^^^^^^^^^^^^^ `broken` has no port `sql`

    error: unknown reference `${self.url}`
     --> DIR/recipes/broken.toml:9:29
      |
    9 | url = "x://${self.port.sql}/${self.url}/${self.index}"
      |                             ^^^^^^^^^^^ an output cannot be made of other outputs
    "#);
}

#[test]
fn every_replica_can_be_told_of_the_others() {
    let plan = plan(
        r#"
        [service.kv]
        use = "etcd"
        replicas = 3
        [service.zk]
        use = "zookeeper"
        replicas = 2
        [service.web]
        run = "web ${kv.each.url} ${kv.each.host} ${zk.each.member} ${self.each.name} ${kv.port} ${zk-2.addr} ${zk-1.member}"
        ports = { http = 80 }
        "#,
    )
    .unwrap();
    let argv = plan.services[0].replicas[1].argv.join(" ");
    let cluster =
        "--initial-cluster kv-1=http://kv-1:2380,kv-2=http://kv-2:2380,kv-3=http://kv-3:2380 --listen";
    assert!(argv.contains("--name kv-2 ") && argv.contains(cluster), "{argv}");
    assert_eq!(
        plan.services[2].replicas[0].argv[1..],
        [
            "http://kv-1:2379,http://kv-2:2379,http://kv-3:2379",
            "kv-1,kv-2,kv-3",
            "server.1=zk-1:2888:3888,server.2=zk-2:2888:3888",
            "web-1",
            "2379",
            "zk-2:2181",
            "server.1=zk-1:2888:3888",
        ]
    );
    // What only a single replica has is no output of the service.
    assert_eq!(plan.services[1].outputs.keys().collect::<Vec<_>>(), ["url"]);
}

#[test]
fn a_fact_of_each_replica_is_asked_of_services() {
    let told = faults(
        r#"
        [service.zk]
        use = "zookeeper"
        replicas = 2
        [service.web]
        run = "web ${zk.member} ${zk-1.each.host} ${zk.each.each.host} ${zk.each.data} ${web.port}"
        "#,
    );
    assert_snapshot!(told, @r#"
    error: unknown reference `${zk.member}`
     --> /src/pods/belljar.toml:5:12
      |
    5 | run = "web ${zk.member} ${zk-1.each.host} ${zk.each.each.host} ${zk.each.data} ${web.port}"
      |            ^^^^^^^^^^^^ only a single replica has this output
      |
      = help: `${zk-1.member}` is of one replica, `${zk.each.member}` of all of them

    error: unknown reference `${zk-1.each.host}`
     --> /src/pods/belljar.toml:5:25
      |
    5 | run = "web ${zk.member} ${zk-1.each.host} ${zk.each.each.host} ${zk.each.data} ${web.port}"
      |                         ^^^^^^^^^^^^^^^^^ `zk-1` is a single replica
      |
      = help: `${zk.each.…}` asks every replica of the service

    error: unknown reference `${zk.each.each.host}`
     --> /src/pods/belljar.toml:5:43
      |
    5 | run = "web ${zk.member} ${zk-1.each.host} ${zk.each.each.host} ${zk.each.data} ${web.port}"
      |                                           ^^^^^^^^^^^^^^^^^^^^ this refers to nothing
      |
      = help: write `${zk.host}`, `${zk.port.NAME}`, `${zk.addr.NAME}` or `${zk.url}`

    error: unknown reference `${zk.each.data}`
     --> /src/pods/belljar.toml:5:64
      |
    5 | run = "web ${zk.member} ${zk-1.each.host} ${zk.each.each.host} ${zk.each.data} ${web.port}"
      |                                                                ^^^^^^^^^^^^^^^ only a replica itself knows its data: `${self.data}`

    error: unknown reference `${web.port}`
     --> /src/pods/belljar.toml:5:80
      |
    5 | run = "web ${zk.member} ${zk-1.each.host} ${zk.each.each.host} ${zk.each.data} ${web.port}"
      |                                                                                ^^^^^^^^^^^ `web` has no port
      |
      = help: declare one: `ports = { http = 8080 }`
    "#);
}

#[test]
fn a_parameter_can_name_a_service_of_the_stack() {
    let stack = |with: &str| {
        format!(
            "[service.cache]\nuse = \"redis\"\nreplicas = 2\nports = {{ redis = 7000 }}\n[service.bare]\nrun = \"x\"\n\
             [service.watch]\nuse = \"redis-sentinel\"\nwith = {{ {with} }}\n\
             [service.front]\nuse = \"haproxy\"\nwith = {{ upstream = \"cache\" }}\n"
        )
    };
    let plan = plan(&stack("master = \"cache\", quorum = 1")).unwrap();
    let init = plan.services[2].replicas[0].init.as_ref().unwrap()[2].clone();
    assert!(
        init.contains("all=cache-1:7000,cache-2:7000\n") && init.contains(" 1\nsentinel down-after"),
        "{init}"
    );
    assert_eq!(plan.services[2].replicas.len(), 3);
    let init = plan.services[3].replicas[0].init.as_ref().unwrap()[2].clone();
    assert!(init.contains("servers=cache-1:7000,cache-2:7000\n"), "{init}");
    assert_snapshot!(faults(&stack("master = \"cahce\"")), @r#"
    error: there is no service `cahce`
     --> /src/pods/belljar.toml:9:19
      |
    9 | with = { master = "cahce" }
      |                   ^^^^^^^ `master` is the name of a service of this stack
      |
      = help: did you mean `cache`?
    "#);
    // What the service lacks is the matter of whoever named it.
    assert_snapshot!(faults(&stack("master = \"bare\"")), @r#"
    error: unknown reference `${with.master.each.addr}`
     --> /src/pods/belljar.toml:9:19
      |
    9 | with = { master = "bare" }
      |                   ^^^^^^ `bare` has no port
      |
      = help: declare one: `ports = { http = 8080 }`
    "#);
    assert_snapshot!(faults(&stack("quorum = 0")), @r#"
    error: the recipe `redis-sentinel` needs `master`
     --> /src/pods/belljar.toml:8:7
      |
    8 | use = "redis-sentinel"
      |       ^^^^^^^^^^^^^^^^ this parameter is missing
      |
      = help: write `with = { master = … }`: the redis service to watch; its first replica is the master at first

    error: `0` does not fit `quorum`
     --> /src/pods/belljar.toml:9:19
      |
    9 | with = { quorum = 0 }
      |                   ^ expected a text that matches `[1-9][0-9]?`
      |
      = help: how many have to see that it is down
    "#);
}

#[test]
fn a_stack_file_has_recipes_of_its_own_and_they_win() {
    let (dir, book) = with_recipe("bus.toml", "summary = \"a file's\"\n[service]\nrun = \"file\"\n");
    let text = "[recipe.bus]\nsummary = \"the stack's\"\n[recipe.bus.service]\nrun = \"own ${self.name}\"\n\
                [service.bus]\nuse = \"bus\"\n";
    let source = SourceFile { path: dir.path().join("belljar.toml"), text: text.to_owned() };
    let book = book.unwrap();
    assert_eq!(book.get("bus").unwrap().origin, Origin::File);
    assert_eq!(book.get("nats").unwrap().origin, Origin::Builtin);
    assert_eq!(book.with_stack_file(&source).unwrap().get("bus").unwrap().origin, Origin::StackFile);
    let plan = Stack::parse(&source, &book).unwrap().plan(&context(), &Everything).unwrap();
    assert_eq!(plan.services[0].replicas[0].argv, ["own", "bus-1"]);
    // Faults of both are told at once, each at its place.
    let told = faults(
        r#"
        [recipe.bus]
        summary = "broken"
        [recipe.bus.service]
        run = "bus ${with.nothing}"
        [service.bus]
        use = "bsu"
        [service.user]
        user = "www"
        run = "x"
        "#,
    );
    assert_snapshot!(told, @r#"
    error: unknown reference `${with.nothing}`
     --> /src/pods/belljar.toml:4:12
      |
    4 | run = "bus ${with.nothing}"
      |            ^^^^^^^^^^^^^^^ the recipe has no such parameter

    error: there is no recipe `bsu`
     --> /src/pods/belljar.toml:6:7
      |
    6 | use = "bsu"
      |       ^^^^^ this recipe is unknown
      |
      = help: did you mean `bus`?

    error: `user` is not carried out by this version of belljar
     --> /src/pods/belljar.toml:8:1
      |
    8 | user = "www"
      | ^^^^ everything of a session runs as one inner user; what needs a second uid cannot run
    "#);
}

#[test]
fn programs_below_the_stack_are_found_before_those_of_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("node_modules/@foundry-rs/anvil-linux-amd64/bin");
    fs_err::create_dir_all(&bin).unwrap();
    fs_err::write(bin.join("anvil"), "").unwrap();
    fs_err::set_permissions(bin.join("anvil"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text =
        "[service.chain]\nuse = \"anvil\"\n[service.named]\nuse = \"anvil\"\nwith = { bin = \"bin\" }\n";
    let source = SourceFile { path: dir.path().join("belljar.toml"), text: text.to_owned() };
    let stack = Stack::parse(&source, &RecipeBook::builtin()).unwrap();
    let programs = HostPrograms { path: "/nowhere".to_owned() };
    let error = stack.plan(&context(), &programs).unwrap_err().to_string();
    let searched = dir.path().join("bin").display().to_string();
    assert_eq!(error, format!("the program `anvil` is not on this machine; looked in {searched}"));
    fs_err::create_dir_all(dir.path().join("bin")).unwrap();
    fs_err::copy(bin.join("anvil"), dir.path().join("bin/anvil")).unwrap();
    let plan = stack.plan(&context(), &programs).unwrap();
    assert_eq!(plan.services[0].replicas[0].argv[0], bin.join("anvil").display().to_string());
    assert_eq!(plan.services[1].replicas[0].argv[0], format!("{searched}/anvil"));
}

#[test]
fn a_recipe_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(dir.path().join("recipes/folder.toml")).unwrap();
    let faults = RecipeBook::with_dir(dir.path()).unwrap_err().to_string();
    let shown = faults.replace(&dir.path().display().to_string(), "DIR");
    assert_snapshot!(shown, @"
    error: this cannot be read
    --> DIR/recipes/folder.toml
     = note: failed to read from file `DIR/recipes/folder.toml`: Is a directory (os error 21)
    ");
}

#[test]
fn a_directory_without_recipes_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    assert!(RecipeBook::with_dir(dir.path()).is_ok());
    assert!(RecipeBook::with_dir(Path::new("/does/not/exist")).is_ok());
}
