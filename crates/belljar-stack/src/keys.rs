//! Which keys there are at which level, and which of them this version does not carry out yet. A key of the
//! contract that is not carried out is a fault at its place: nothing is ever dropped in silence.

/// A kind of table in a stack file or a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Top,
    Service,
    /// The `[service]` of a recipe: a service with two keys more.
    RecipeService,
    Task,
    Suite,
    Port,
    Publish,
    HostService,
    Ready,
    Health,
    Stop,
    Limits,
    Requires,
    Recipe,
    Parameter,
    Program,
    Packages,
}

impl Level {
    /// With its article, as messages say it.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Top => "a stack",
            Self::Service => "a service",
            Self::RecipeService => "the service of a recipe",
            Self::Task => "a task",
            Self::Suite => "a suite",
            Self::Port => "a port",
            Self::Publish => "a published port",
            Self::HostService => "a service of the host",
            Self::Ready => "`ready`",
            Self::Health => "`health`",
            Self::Stop => "`stop`",
            Self::Limits => "`limits`",
            Self::Requires => "`requires`",
            Self::Recipe => "a recipe",
            Self::Parameter => "a parameter",
            Self::Program => "a program",
            Self::Packages => "`packages`",
        }
    }

    /// The keys that are carried out.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Top => &[
                "name",
                "backend",
                "isolation",
                "filesystem",
                "home",
                "env",
                "inherit_env",
                "limits",
                "host_services",
                "service",
                "task",
                "suite",
                "recipe",
            ],
            Self::Service => &[
                "use", "with", "run", "shell", "cwd", "env", "env_file", "after", "ports", "publish",
                "ready", "volume", "volumes", "files", "stop", "replicas", "boot", "restart", "limits",
                "health", "profiles", "watch",
            ],
            Self::RecipeService => &[
                "run", "shell", "cwd", "env", "after", "ports", "ready", "volume", "volumes", "files",
                "stop", "replicas", "boot", "restart", "health", "init", "flags",
            ],
            Self::Task => &[
                "run", "shell", "cwd", "env", "env_file", "after", "prepare", "inputs", "timeout", "limits",
                "profiles",
            ],
            Self::Suite => &[
                "scenarios",
                "kind",
                "tags",
                "timeout",
                "session",
                "retries",
                "env",
                "exclusive",
                "weight",
                "requires",
                "setup",
                "home",
            ],
            Self::Port => &["port", "protocol", "listen"],
            Self::Publish => &["port", "on"],
            Self::HostService => &["to", "port"],
            Self::Ready => &[
                "tcp", "http", "exec", "log", "notify", "file", "socket", "port", "status", "body", "within",
                "stable",
            ],
            Self::Health => &[
                "tcp", "http", "exec", "file", "socket", "port", "status", "body", "within", "every",
                "restart",
            ],
            Self::Stop => &["signal", "within"],
            Self::Limits => &["pids", "memory", "cpu"],
            Self::Requires => &["env", "commands", "capabilities"],
            Self::Recipe => &["summary", "notes", "example", "parameters", "programs", "service", "outputs"],
            Self::Parameter => &["type", "default", "pattern", "doc"],
            Self::Program => &["dirs", "only", "package", "packages"],
            Self::Packages => &["apt", "dnf", "apk", "pacman", "zypper", "npm", "pip"],
        }
    }

    /// Why `key` is not carried out, if it is a key of the contract that is not.
    pub(crate) fn not_carried_out(self, key: &str) -> Option<&'static str> {
        NOT_CARRIED_OUT
            .iter()
            .find(|row| row.level == self && row.key == key && row.value.is_none())
            .map(|row| row.why)
    }

    /// Why `key = "value"` is not carried out, if it is a value of the contract that is not.
    pub(crate) fn value_not_carried_out(self, key: &str, value: &str) -> Option<&'static str> {
        NOT_CARRIED_OUT
            .iter()
            .find(|row| row.level == self && row.key == key && row.value == Some(value))
            .map(|row| row.why)
    }
}

struct NotCarriedOut {
    level: Level,
    key: &'static str,
    /// The one value that is meant; else the key as a whole.
    value: Option<&'static str>,
    /// What holds instead, or what to write instead.
    why: &'static str,
}

const fn key(level: Level, key: &'static str, why: &'static str) -> NotCarriedOut {
    NotCarriedOut { level, key, value: None, why }
}

const fn value(level: Level, key: &'static str, value: &'static str, why: &'static str) -> NotCarriedOut {
    NotCarriedOut { level, key, value: Some(value), why }
}

const NATIVE_ONLY: &str = "replicas run on the native backend, as processes in namespaces of their own";
const NO_IMAGES: &str = "the native backend runs programs of this machine: write `run`, or `use` a recipe";
const ONE_USER: &str = "everything of a session runs as one inner user; what needs a second uid cannot run";
const NO_SECRETS: &str =
    "pass the value with `env = { NAME = \"${env.NAME}\" }`; it is then not hidden in logs";
const SERVICES_ONLY: &str = "only services have it; a task gets what it needs through `env`";
const EXECUTABLES_ONLY: &str = "a suite is a directory of executable files: give their glob as `scenarios`";

/// The one list of what the contract has and this version has not, each with its reason.
const NOT_CARRIED_OUT: &[NotCarriedOut] = &[
    value(Level::Top, "backend", "docker", NATIVE_ONLY),
    value(Level::Top, "backend", "kubernetes", NATIVE_ONLY),
    key(Level::Top, "egress", "a session has no way out to the internet"),
    key(Level::Top, "secrets", NO_SECRETS),
    key(Level::Top, "experiment", "one stack is tried in one way at a time"),
    key(Level::Top, "branch", "data lives as long as its session"),
    key(Level::Top, "hunt", "`belljar test --count N` repeats scenarios as they are"),
    key(Level::Service, "image", NO_IMAGES),
    key(Level::Service, "user", ONE_USER),
    key(Level::RecipeService, "user", ONE_USER),
    key(
        Level::Health,
        "log",
        "a line that was said once tells nothing of now: write `exec`, `http` or `tcp`",
    ),
    key(
        Level::Health,
        "notify",
        "a word that was said once tells nothing of now: write `exec`, `http` or `tcp`",
    ),
    key(Level::Health, "stable", "a check that holds makes it healthy again at once"),
    key(Level::Task, "use", "recipes make services"),
    key(Level::Task, "with", "recipes make services"),
    key(Level::Task, "image", NO_IMAGES),
    key(Level::Task, "user", ONE_USER),
    key(Level::Task, "ports", SERVICES_ONLY),
    key(Level::Task, "ready", "a task is done when it has ended with code 0"),
    key(Level::Task, "volume", SERVICES_ONLY),
    key(Level::Task, "volumes", SERVICES_ONLY),
    key(Level::Task, "files", SERVICES_ONLY),
    key(Level::Task, "stop", "a task that has to end early is killed"),
    key(Level::Limits, "sessions", "`belljar test -j` says how many scenarios run at once"),
    value(Level::Suite, "kind", "pytest", EXECUTABLES_ONLY),
    value(Level::Suite, "kind", "go", EXECUTABLES_ONLY),
    value(Level::Suite, "kind", "cargo", EXECUTABLES_ONLY),
    value(Level::Suite, "kind", "node", EXECUTABLES_ONLY),
    value(Level::Suite, "kind", "vitest", EXECUTABLES_ONLY),
    value(Level::Suite, "kind", "bun", EXECUTABLES_ONLY),
    value(Level::Suite, "kind", "junit", EXECUTABLES_ONLY),
    key(Level::Suite, "path", EXECUTABLES_ONLY),
    key(Level::Suite, "run", EXECUTABLES_ONLY),
    key(Level::Suite, "list", EXECUTABLES_ONLY),
    value(Level::Suite, "session", "suite", "every scenario gets a session of its own"),
    key(Level::Suite, "stack", "every suite of a file runs on the file's own stack"),
    key(Level::Suite, "secrets", NO_SECRETS),
    key(
        Level::Suite,
        "leaks",
        "what a scenario leaves behind ends with its session and is not looked for yet",
    ),
];

#[cfg(test)]
mod tests {
    use super::{Level, NOT_CARRIED_OUT};

    #[test]
    fn the_reference_page_has_every_key() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/stack-file.md");
        let page = fs_err::read_to_string(page).unwrap();
        let (carried_out, not) = page.split_once("## Not carried out yet").unwrap();
        for level in [
            Level::Top,
            Level::Service,
            Level::Task,
            Level::Suite,
            Level::Ready,
            Level::Health,
            Level::Limits,
        ] {
            for key in level.keys() {
                let named =
                    [format!("`{key}`"), format!("[{key}.NAME]")].iter().any(|one| carried_out.contains(one));
                assert!(named || ["service", "task", "suite"].contains(key), "{level:?} `{key}`");
            }
        }
        for row in NOT_CARRIED_OUT {
            assert!(not.contains(&format!("`{}", row.key)), "{:?} `{}`", row.level, row.key);
        }
    }

    #[test]
    fn what_is_carried_out_is_not_in_the_list_of_what_is_not() {
        for row in NOT_CARRIED_OUT {
            let is_key = row.level.keys().contains(&row.key);
            assert_eq!(is_key, row.value.is_some(), "{:?} {}", row.level, row.key);
        }
    }
}
