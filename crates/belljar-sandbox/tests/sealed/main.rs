//! Sealed sessions, tried for real: as root and as an ordinary user alike.
//!
//! `sealed [NAME…]` runs the cases whose name contains one of the words; `sealed measure` prints times instead.

mod cases;
mod fixture;
mod measure;
mod owner;
mod world;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use belljar_sandbox::Zygote;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((role, rest)) = words.split_first()
        && role == "fixture"
    {
        return fixture::run(rest);
    }
    let zygote = Zygote::fork().expect("the zygote is forked");
    if words.first().is_some_and(|word| word == "measure") {
        for capability in belljar_sandbox::probe() {
            say(&format!("{capability:?}"));
        }
        measure::run(&zygote);
        return ExitCode::SUCCESS;
    }
    if let [role, mark] = words.as_slice()
        && role == "host"
    {
        cases::host(&zygote, mark);
        return ExitCode::SUCCESS;
    }
    // `cargo test` passes options of the usual harness along.
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let mut failed = 0;
    for (name, case) in cases::all() {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(|| case(&zygote))).is_ok();
        failed += u32::from(!passed);
        say(&format!("{} {name}", if passed { "ok" } else { "FAILED" }));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output takes a line");
}
