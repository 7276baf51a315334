//! `recipes`, `recipes show`, `recipes eject`.

use belljar_e2e::world;
use belljar_model::ErrorCode;

#[test]
fn the_list_says_what_each_is_whose_it_is_and_whether_it_is_here() {
    let env = world!();
    env.write("recipes/mine.toml", "summary = \"my own\"\n[service]\nrun = \"x\"\n");
    env.stack("[recipe.here]\nsummary = \"in the stack\"\nservice.run = \"x\"\n");
    env.run("recipes").ok().prints(&[
        "RECIPE",
        "recipes/mine.toml",
        "my own",
        "in the stack",
        "postgres",
        "zookeeper",
    ]);
    let document = env.run("recipes --json").json();
    let recipes = document["recipes"].as_array().unwrap();
    let one = |name: &str| recipes.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(recipes.len(), 14);
    assert_eq!((&one("mine")["from"], &one("mine")["installed"]), (&"file".into(), &true.into()));
    assert_eq!(one("mine")["file"], env.dir().join("recipes/mine.toml").to_string_lossy().as_ref());
    assert_eq!(one("here")["from"], "stack");
    assert_eq!((&one("etcd")["from"], &one("etcd")["file"]), (&"belljar".into(), &serde_json::Value::Null));
    // Nothing of npm is beside this stack.
    assert_eq!((&one("anvil")["installed"], &one("anvil")["missing"][0]), (&false.into(), &"anvil".into()));
}

#[test]
fn one_is_shown_whole() {
    let env = world!();
    env.run("recipes show redis-sentinel").ok().prints(&[
        "redis-sentinel: Redis Sentinel",
        "from belljar",
        "PARAMETER",
        "(needed)",
        "[1-9][0-9]?",
        "sentinel  26379",
        "redis://${self.addr.sentinel}",
        "redis-server",
        "with = { master = \"cache\" }",
    ]);
    let document = env.run("recipes show postgres --json").json();
    assert_eq!(document["ports"], serde_json::json!({ "sql": 5432 }));
    assert_eq!(document["parameters"][0]["name"], "database");
    assert_eq!(document["outputs"]["user"], "${with.user}");
    assert_eq!(document["programs"][0]["packages"]["apt"], "postgresql");
    assert!(document["example"].as_str().unwrap().contains("use = \"postgres\""));
    let message = env.run("recipes show postgers --json").json_error(ErrorCode::RecipeNotFound);
    assert_eq!(message, "there is no recipe `postgers`");
    env.run("recipes show postgers").ends_with(6).complains(&["did you mean `postgres`?"]);
}

#[test]
fn an_ejected_recipe_is_whole_and_nothing_is_overwritten() {
    let env = world!();
    env.stack("[service.db]\nuse = \"postgres\"\n");
    let shown = env.run("recipes show postgres --json").json();
    env.run("recipes eject postgres").ok().prints(&["recipes/postgres.toml"]);
    let path = env.dir().join("recipes/postgres.toml");
    let text = fs_err::read_to_string(&path).unwrap();
    assert_eq!(shown["text"], text, "with its comments, letter by letter");
    assert!(text.contains("# Nothing waits for a disk"));
    env.run("check").ok();
    assert_eq!(env.run("recipes show postgres --json").json()["from"], "file");
    fs_err::write(&path, format!("{text}# mine\n")).unwrap();
    let message = env.run("recipes eject postgres --json").json_error(ErrorCode::RecipeExists);
    assert!(message.starts_with("the recipe `postgres` is your own already: "), "{message}");
    assert!(fs_err::read_to_string(&path).unwrap().ends_with("# mine\n"));
    env.run("recipes eject nothing").ends_with(6);
    // From below, it lands beside the stack file all the same.
    let below = env.dir().join("a/b");
    fs_err::create_dir_all(&below).unwrap();
    let document = env.belljar(["recipes", "eject", "etcd", "--json"]).cwd(&below).run().json();
    assert_eq!(document["file"], env.dir().join("recipes/etcd.toml").to_string_lossy().as_ref());
    assert!(env.dir().join("recipes/etcd.toml").is_file());
}
