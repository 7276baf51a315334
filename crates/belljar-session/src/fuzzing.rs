//! Doors for the fuzz targets to what reads bytes of others and is private otherwise. No part of the interface.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use belljar_model::{SessionId, SessionName};
use belljar_sandbox::Init;
use belljar_stack::plan::Plan;

use crate::control;
use crate::driver::{self, Driver, Handle};
use crate::editor::{Editor, Of};
use crate::logs::Logs;
use crate::machine::Machine;
use crate::native::{Connection, Definitions, Names, Native, Setting};
use crate::timeline::{Timeline, WallClock};

/// What a session's name server answers to one packet.
pub fn name_server_answer(plan: &Plan, session: &str, packet: &[u8]) -> Option<Vec<u8>> {
    Names::of(plan, session).answer(packet)
}

/// A session with everything but a seal: its supervisor and its control protocol, at `control.sock` in `dir`,
/// before whatever plays `init`.
pub fn serve(
    dir: &Path,
    plan: Plan,
    id: SessionId,
    name: SessionName,
    clock: WallClock,
    init: Init,
) -> std::io::Result<Handle> {
    let plan = Arc::new(plan);
    let connection = Arc::new(Connection::new(init)?);
    let events = dir.join("events.jsonl");
    let timeline = Timeline::create(&events, clock.clone())?;
    let logs = Arc::new(Logs::new(dir.join("logs"), timeline.start())?);
    let (sender, messages) = driver::channel();
    let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned())]);
    let setting = Setting {
        defined: Definitions::new(&plan, name.as_str(), Names::of(&plan, name.as_str()), env),
        zygote: None,
        dir: plan.dir.clone(),
        ground: None,
        notify_dir: PathBuf::from("/run/belljar/notify"),
        hostname: name.to_string(),
    };
    let backend = Native::new(connection, Arc::clone(&logs), setting, &sender);
    let shared = backend.shared();
    let events_written = timeline.written();
    let machine = Machine::new(Arc::clone(&plan), id.clone(), name.clone());
    let handle = Driver::start(machine, backend, timeline, sender, messages);
    let of = Of {
        id,
        name,
        dir: dir.to_owned(),
        expiry_file: dir.join("ends-at"),
        clock,
        is_shared: false,
        shown: Vec::new(),
        takes_volumes: true,
        private_home: None,
    };
    let editor = Arc::new(Editor::new(of, plan, None, handle.clone()));
    let control = control::Control { handle: handle.clone(), shared, editor, events, events_written, logs };
    // It ends by itself when its session has ended.
    drop(control::serve(&dir.join("control.sock"), control, tokio::sync::watch::channel(false).0)?);
    Ok(handle)
}
