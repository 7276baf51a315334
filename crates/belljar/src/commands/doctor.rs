//! `doctor`: what this machine can do, tried for real.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use belljar_model::ExitCode;
use belljar_sandbox::Capability;
use belljar_session::shared;
use belljar_stack::{Package, RecipeBook};
use serde_json::json;

use crate::app::App;
use crate::env_vars;
use crate::error::Result;
use crate::{hosting, packages};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  belljar doctor")]
pub(crate) struct Args {}

pub(crate) fn run(app: &App, _: &Args) -> Result<ExitCode> {
    let sealed = belljar_sandbox::probe();
    let state = app.store().map(|_| ());
    let docker = app.env.get(env_vars::DOCKER_HOST).and_then(|host| host.strip_prefix("unix://"));
    let docker = Path::new(docker.unwrap_or("/var/run/docker.sock"));
    let mut machine = belljar_sandbox::surroundings(&app.state_dir, docker);
    machine.push(leases(app)?);
    let book = RecipeBook::builtin();
    let programs = hosting::programs(app);
    let servers: Vec<(String, String, bool, Vec<Package>)> = book
        .iter()
        .flat_map(|recipe| recipe.programs.iter().map(move |program| (recipe, program)))
        .map(|(recipe, program)| {
            let found = recipe.find(program, &app.cwd, &programs).is_some();
            (recipe.name.clone(), program.name.clone(), found, program.packages.clone())
        })
        .collect();
    if app.printer.json {
        let capabilities: Vec<_> = sealed
            .iter()
            .chain(&machine)
            .map(|one| json!({"name": one.name, "works": one.works, "why": one.why, "cost": one.cost}))
            .collect();
        let servers: Vec<_> = servers
            .iter()
            .map(|(recipe, program, found, packages)| {
                let packages = packages.iter().map(|one| (one.manager.as_str(), one.name.as_str()));
                let packages: BTreeMap<_, _> = packages.collect();
                // `package` is Debian's, as ever.
                json!({
                    "recipe": recipe, "program": program, "found": found,
                    "package": packages.get("apt").unwrap_or(&"unknown"), "packages": packages,
                })
            })
            .collect();
        app.printer.document(&json!({
            "capabilities": capabilities, "servers": servers,
            "state_dir": {"path": app.state_dir, "works": state.is_ok()},
        }))?;
        return Ok(ExitCode::OK);
    }
    let mut text = String::from("sealed sessions\n");
    list(&mut text, &sealed);
    let _ = writeln!(text, "\nthe machine");
    list(&mut text, &machine);
    let _ = writeln!(text, "\nstate directory");
    match &state {
        Ok(()) => drop(writeln!(text, "  ok    {}", app.state_dir.display())),
        Err(_) => drop(writeln!(text, "  LACK  {} cannot be used", app.state_dir.display())),
    }
    let _ = writeln!(text, "\nservers of recipes");
    for (recipe, program, found, packages) in &servers {
        if *found {
            let _ = writeln!(text, "  ok    {recipe}: {program}");
        } else {
            let install = match &packages::installs(packages)[..] {
                [] => String::new(),
                commands => format!(" (`{}`)", commands.join("` or `")),
            };
            let _ = writeln!(text, "  LACK  {recipe}: {program}{install}");
        }
    }
    app.printer.out(&text)?;
    Ok(ExitCode::OK)
}

fn list(text: &mut String, capabilities: &[Capability]) {
    for one in capabilities {
        if one.works {
            let _ = writeln!(text, "  ok    {}", one.name);
        } else {
            let why = one.why.as_deref().unwrap_or("refused");
            let _ = writeln!(text, "  LACK  {}: {why}\n        without it: {}", one.name, one.cost);
        }
    }
}

/// Whether there are ports for shared isolation that the kernel does not give out by itself.
fn leases(app: &App) -> Result<Capability> {
    let ports = shared::candidates(app.ports()?.as_ref(), 0);
    let ephemeral = fs_err::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = ephemeral.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    let overlaps = match (bounds.next(), bounds.next()) {
        (Some(low), Some(high)) => ports.iter().any(|port| (low..=high).contains(port)),
        _ => false,
    };
    let why = overlaps
        .then(|| format!("they overlap with the kernel's own, {}", ephemeral.trim().replace('\t', "-")));
    Ok(Capability {
        name: "ports for shared isolation",
        works: why.is_none(),
        why,
        cost: "in shared isolation an outgoing connection of any program may take a port before its service does",
    })
}
