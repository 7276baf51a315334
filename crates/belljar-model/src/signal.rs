//! Linux's signals, by number and by name.

const NAMES: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (28, "WINCH"),
    (31, "SYS"),
];

/// `SIGKILL` for 9; `SIG40` for one without a name.
pub fn name(number: i32) -> String {
    match NAMES.iter().find(|(one, _)| *one == number) {
        Some((_, name)) => format!("SIG{name}"),
        None => format!("SIG{number}"),
    }
}

/// 15 for `TERM` and `SIGTERM`.
pub fn number(name: &str) -> Option<i32> {
    let short = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().find(|(_, one)| *one == short).map(|(number, _)| *number)
}

/// The names without `SIG`.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    NAMES.iter().map(|(_, name)| *name)
}
