//! Limits on processes, memory and processors, by control groups of either version.
//!
//! A session that has limits gets `belljar/ID` below the group that belljar is in (version 1), or below the
//! nearest group above that may be divided (version 2), and in it one group for every unit with limits of its
//! own. Processes of tenants enter them on the way to their program; whoever keeps the session stays outside. A
//! group cannot be held by a descriptor's life, so it is removed when the session has ended, and named on disk
//! for whoever comes after one that was killed.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_model::ErrorCode;
use rustix::event::poll;
use rustix::fs::{Access, Mode, OFlags, access};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::spec::Limits;

/// The group that all sessions' are in.
const PARENT: &str = "belljar";
/// Where version 2 has the processes that belong to no unit with limits: only leaves may have any. No unit is
/// called like this.
const REST: &str = "_session";
/// Microseconds in which a share of a processor's time is counted.
const PERIOD: u32 = 100_000;
/// How long the last processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(1);

/// A limit that cannot be carried out on this machine, or a group that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    #[error("{whose} cannot be limited in its `{limit}` here: {why}")]
    Unsupported { limit: &'static str, whose: String, why: String },
    #[error("cannot make the control group {}", path.display())]
    Group {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl LimitError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unsupported { .. } => ErrorCode::Unsupported,
            Self::Group { .. } => ErrorCode::SandboxRefused,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Pids,
    Memory,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Pids, Self::Memory, Self::Cpu];

    /// Its name for the kernel, and in a stack file.
    const fn name(self) -> &'static str {
        match self {
            Self::Pids => "pids",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }

    fn is_in(self, limits: &Limits) -> bool {
        match self {
            Self::Pids => limits.pids.is_some(),
            Self::Memory => limits.memory.is_some(),
            Self::Cpu => limits.cpu.is_some(),
        }
    }
}

/// The limits of a session, and how they will be carried out.
#[derive(Debug)]
pub struct LimitPlan {
    id: String,
    session: Limits,
    units: BTreeMap<String, Limits>,
    hierarchies: Vec<Hierarchy>,
    processes: u32,
}

/// Where groups are made for some of the controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// A group that we may divide.
    base: PathBuf,
    controllers: Vec<Controller>,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl LimitPlan {
    /// Decides how limits are carried out, before anything is made. `id` is the session's; units are those that
    /// have limits.
    pub fn new(
        id: &str,
        session: Limits,
        units: impl IntoIterator<Item = (String, Limits)>,
        is_sealed: bool,
    ) -> Result<Self, LimitError> {
        let units: BTreeMap<String, Limits> =
            units.into_iter().filter(|(_, limits)| *limits != Limits::default()).collect();
        let mut groups = session;
        let is_root = rustix::process::geteuid().is_root();
        let kernel = LazyCell::new(Kernel::read);
        let units_need = |controller: Controller| units.values().any(|limits| controller.is_in(limits));
        let can_count = || kernel.place(Controller::Pids, &BTreeSet::from([Controller::Pids])).is_ok();
        // The kernel counts the processes of a session's own user namespace, but for root's.
        if is_sealed && groups.pids.is_some() && !is_root && !units_need(Controller::Pids) && !can_count() {
            groups.pids = None;
        }
        if is_sealed && groups.pids.is_none() && is_root && !crate::limits::has_own_pid_max() && can_count() {
            groups.pids = Some(crate::limits::DEFAULT_PROCESSES);
        }
        let needs = |controller: &Controller| controller.is_in(&groups) || units_need(*controller);
        let wanted: BTreeSet<Controller> = Controller::ALL.into_iter().filter(needs).collect();
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for &controller in &wanted {
            let (base, version) = kernel.place(controller, &wanted).map_err(|why| {
                let with = units.iter().find(|(_, limits)| controller.is_in(limits));
                let whose = match with {
                    Some((unit, _)) if !controller.is_in(&groups) => format!("`{unit}`"),
                    _ => "the session".to_owned(),
                };
                LimitError::Unsupported { limit: controller.name(), whose, why }
            })?;
            match hierarchies.iter_mut().find(|one| one.base == base) {
                Some(one) => one.controllers.push(controller),
                None => hierarchies.push(Hierarchy { base, controllers: vec![controller], version }),
            }
        }
        let processes = session.pids.unwrap_or(crate::limits::DEFAULT_PROCESSES);
        Ok(Self { id: id.to_owned(), session: groups, units, hierarchies, processes })
    }

    /// How many processes and threads the session may have, by whatever means.
    pub fn processes(&self) -> u32 {
        self.processes
    }

    /// The directories that [`LimitPlan::make`] makes, so that they can be written down before.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|one| one.session(&self.id)).collect()
    }

    /// Makes the groups.
    pub fn make(self) -> Result<Groups, LimitError> {
        let mut rests = Vec::new();
        let mut units: BTreeMap<String, Vec<Arc<OwnedFd>>> = BTreeMap::new();
        for hierarchy in &self.hierarchies {
            let session = hierarchy.session(&self.id);
            hierarchy.make_session(&session)?;
            hierarchy.limit(&session, &self.session)?;
            let rest = match hierarchy.version {
                Version::One => session.clone(),
                Version::Two => make(session.join(REST))?,
            };
            let rest = Arc::new(hierarchy.entrance(&rest)?);
            for (unit, limits) in &self.units {
                let entrance = hierarchy.unit(&session, unit, limits, &self.session)?;
                units
                    .entry(unit.clone())
                    .or_default()
                    .push(entrance.map_or_else(|| Arc::clone(&rest), Arc::new));
            }
            rests.push(rest);
        }
        Ok(Groups {
            directories: self.directories(),
            id: self.id,
            session: self.session,
            hierarchies: self.hierarchies,
            units: Mutex::new(units),
            rest: rests,
        })
    }
}

impl Hierarchy {
    fn session(&self, id: &str) -> PathBuf {
        self.base.join(PARENT).join(id)
    }

    fn make_session(&self, session: &Path) -> Result<(), LimitError> {
        let parent = self.base.join(PARENT);
        loop {
            self.divide(&self.base)?;
            match std::fs::create_dir(&parent) {
                Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                    return Err(LimitError::Group { path: parent, source });
                }
                _ => {}
            }
            let made = self.divide(&parent).and_then(|()| make(session.to_owned()));
            match made {
                // The last session has just taken it away with it.
                Err(LimitError::Group { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                result => return result.and_then(|path| self.divide(&path)),
            }
        }
    }

    /// The entrance of a unit's own group, where this hierarchy limits it. One that is there gets other limits.
    fn unit(
        &self,
        session: &Path,
        unit: &str,
        limits: &Limits,
        whole: &Limits,
    ) -> Result<Option<OwnedFd>, LimitError> {
        if !self.controllers.iter().any(|controller| controller.is_in(limits)) {
            return Ok(None);
        }
        let group = session.join(unit);
        let group = if group.is_dir() { group } else { make(group)? };
        self.limit(&group, &limits.within(whole))?;
        self.entrance(&group).map(Some)
    }

    /// Lets the groups below have limits.
    fn divide(&self, group: &Path) -> Result<(), LimitError> {
        if self.version == Version::One {
            return Ok(());
        }
        let path = group.join("cgroup.subtree_control");
        let has = std::fs::read_to_string(&path).unwrap_or_default();
        let missing =
            self.controllers.iter().filter(|one| !has.split_whitespace().any(|word| word == one.name()));
        let wanted: Vec<String> = missing.map(|one| format!("+{}", one.name())).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        std::fs::write(&path, wanted.join(" ")).map_err(|source| LimitError::Group { path, source })
    }

    fn limit(&self, group: &Path, limits: &Limits) -> Result<(), LimitError> {
        for (file, value, must) in self.settings(limits) {
            let path = group.join(file);
            match std::fs::write(&path, value) {
                Err(source) if must => return Err(LimitError::Group { path, source }),
                _ => {}
            }
        }
        Ok(())
    }

    /// Files, what is written into each, and whether the limit hangs on it.
    fn settings(&self, limits: &Limits) -> Vec<(&'static str, String, bool)> {
        let has = |controller| self.controllers.contains(&controller);
        let mut all = Vec::new();
        if let Some(pids) = limits.pids.filter(|_| has(Controller::Pids)) {
            all.push(("pids.max", pids.to_string(), true));
        }
        // Without its part of the swap a limit on memory would only make the machine slow. Kernels that do not
        // count swap have no such file.
        if let Some(memory) = limits.memory.filter(|_| has(Controller::Memory)) {
            all.extend(match self.version {
                Version::One => [
                    ("memory.limit_in_bytes", memory.to_string(), true),
                    ("memory.memsw.limit_in_bytes", memory.to_string(), false),
                ],
                Version::Two => {
                    [("memory.max", memory.to_string(), true), ("memory.swap.max", "0".to_owned(), false)]
                }
            });
        }
        if let Some(cpu) = limits.cpu.filter(|_| has(Controller::Cpu)) {
            let quota = u64::from(cpu) * u64::from(PERIOD) / 1000;
            match self.version {
                Version::One => {
                    all.push(("cpu.cfs_period_us", PERIOD.to_string(), true));
                    all.push(("cpu.cfs_quota_us", quota.to_string(), true));
                }
                Version::Two => all.push(("cpu.max", format!("{quota} {PERIOD}"), true)),
            }
        }
        all
    }

    /// What a process writes itself into. In version 1 its one thread: moving a thread costs no pause of the
    /// whole machine, as moving a process does.
    fn entrance(&self, group: &Path) -> Result<OwnedFd, LimitError> {
        let path = group.join(match self.version {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        });
        rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| LimitError::Group { path, source: errno.into() })
    }
}

fn make(path: PathBuf) -> Result<PathBuf, LimitError> {
    match std::fs::create_dir(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(LimitError::Group { path, source }),
    }
}

/// The groups of a session, or none. They are removed with this value, when the session's processes have ended.
#[derive(Default)]
pub struct Groups {
    directories: Vec<PathBuf>,
    id: String,
    session: Limits,
    hierarchies: Vec<Hierarchy>,
    units: Mutex<BTreeMap<String, Vec<Arc<OwnedFd>>>>,
    rest: Vec<Arc<OwnedFd>>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("directories", &self.directories).finish_non_exhaustive()
    }
}

impl Groups {
    /// What a process enters that belongs to a unit, or to none.
    pub fn entrances(&self, unit: Option<&str>) -> Vec<Arc<OwnedFd>> {
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        unit.and_then(|unit| units.get(unit)).unwrap_or(&self.rest).clone()
    }

    /// Says what a unit may use that comes to a session which runs. Nothing can be limited that was not when the
    /// session started: the kernel is told of a controller before there is anybody to count.
    pub fn set(&self, unit: &str, limits: &Limits) -> Result<(), LimitError> {
        let lacking = |controller: &Controller| {
            controller.is_in(limits)
                && !self.hierarchies.iter().any(|one| one.controllers.contains(controller))
        };
        if let Some(controller) = Controller::ALL.into_iter().find(lacking) {
            return Err(LimitError::Unsupported {
                limit: controller.name(),
                whose: format!("`{unit}`"),
                why: "nothing of it was limited when the session started".to_owned(),
            });
        }
        let mut entrances = Vec::new();
        for (hierarchy, rest) in self.hierarchies.iter().zip(&self.rest) {
            let own = hierarchy.unit(&hierarchy.session(&self.id), unit, limits, &self.session)?;
            entrances.push(own.map_or_else(|| Arc::clone(rest), Arc::new));
        }
        self.units.lock().unwrap_or_else(PoisonError::into_inner).insert(unit.to_owned(), entrances);
        Ok(())
    }

    /// Removes them; their last processes are given a moment to end.
    pub fn remove(&self) {
        let deadline = Instant::now() + PATIENCE;
        for directory in &self.directories {
            while !remove(directory) && Instant::now() < deadline {
                let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                // Being interrupted only makes the pause shorter.
                let _ = poll(&mut [], Some(&pause));
            }
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether the group of a session is gone. The one around it goes with the last.
fn remove(session: &Path) -> bool {
    for entry in std::fs::read_dir(session).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // What is still in use keeps the one above from being removed, which is seen below.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
    match std::fs::remove_dir(session) {
        Err(error) if error.kind() != ErrorKind::NotFound => false,
        _ => {
            if let Some(parent) = session.parent() {
                // Others are in it where this fails.
                let _ = std::fs::remove_dir(parent);
            }
            true
        }
    }
}

/// In a process on its way to its program.
pub(crate) fn enter(entrances: &[OwnedFd]) -> Result<(), Errno> {
    entrances.iter().try_for_each(|entrance| rustix::io::write(entrance, b"0").map(drop))
}

/// What can be limited on this machine: the key, what it limits, and why not where it does not.
pub(crate) fn probe() -> [(&'static str, &'static str, Option<String>); 3] {
    let kernel = Kernel::read();
    Controller::ALL.map(|controller| {
        let what = match controller {
            Controller::Pids => "limits on processes",
            Controller::Memory => "limits on memory",
            Controller::Cpu => "limits on processors",
        };
        (controller.name(), what, kernel.place(controller, &BTreeSet::from([controller])).err())
    })
}

/// The hierarchies of this machine, and where in them we are.
#[derive(Debug)]
struct Kernel {
    mounts: Vec<Mount>,
    /// Controllers and path, as in /proc/self/cgroup.
    own: Vec<(Vec<String>, PathBuf)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// What of the hierarchy is mounted there.
    root: PathBuf,
    point: PathBuf,
    version: Version,
    options: Vec<String>,
}

impl Kernel {
    fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"))
    }

    fn parse(mounts: &str, own: &str) -> Self {
        let mount = |line: &str| {
            let (place, kind) = line.split_once(" - ")?;
            let place: Vec<&str> = place.split(' ').collect();
            let kind: Vec<&str> = kind.split(' ').collect();
            let version = match *kind.first()? {
                "cgroup" => Version::One,
                "cgroup2" => Version::Two,
                _ => return None,
            };
            let options = kind.get(2)?.split(',').map(str::to_owned).collect();
            Some(Mount { root: place.get(3)?.into(), point: place.get(4)?.into(), version, options })
        };
        let group = |line: &str| {
            let mut parts = line.splitn(3, ':');
            let controllers = parts.nth(1)?.split(',').map(str::to_owned).collect();
            Some((controllers, parts.next()?.into()))
        };
        Self {
            mounts: mounts.lines().filter_map(mount).collect(),
            own: own.lines().filter_map(group).collect(),
        }
    }

    /// Where groups can be made for a controller, by a process that needs `wanted` in all; else why not.
    fn place(
        &self,
        controller: Controller,
        wanted: &BTreeSet<Controller>,
    ) -> Result<(PathBuf, Version), String> {
        let name = controller.name();
        let own = |name: &str| {
            let found = self.own.iter().find(|(controllers, _)| controllers.iter().any(|one| one == name));
            found.map(|(_, path)| path.as_path())
        };
        let first =
            |mount: &&Mount| mount.version == Version::One && mount.options.iter().any(|one| one == name);
        if let Some(mount) = self.mounts.iter().find(first) {
            let base = own(name).and_then(|path| mount.at(path)).ok_or("its control group cannot be seen")?;
            let writable = access(&base, Access::WRITE_OK | Access::EXEC_OK);
            return writable.map(|()| (base.clone(), Version::One)).map_err(|errno| cannot(&base, errno));
        }
        let Some(mount) = self.mounts.iter().find(|mount| mount.version == Version::Two) else {
            return Err(format!("no control groups of the kind `{name}` are mounted"));
        };
        let group = own("").and_then(|path| mount.at(path)).ok_or("its control group cannot be seen")?;
        // Those of version 1 are not here.
        let names: Vec<&str> = wanted
            .iter()
            .filter(|one| {
                !self.mounts.iter().any(|mount| mount.options.iter().any(|name| name == one.name()))
            })
            .map(|one| one.name())
            .collect();
        let above = group.ancestors().take_while(|path| path.starts_with(&mount.point));
        let mut refusal = format!("no control group above {} may be divided", group.display());
        for base in above {
            match divisible(base, &names, base == mount.point && mount.root == Path::new("/")) {
                Ok(()) => return Ok((base.to_owned(), Version::Two)),
                Err(Some(errno)) => refusal = cannot(base, errno),
                Err(None) => {}
            }
        }
        Err(refusal)
    }
}

/// Whether groups with these controllers can be made below one of version 2, and entered from where we are.
fn divisible(base: &Path, controllers: &[&str], is_root: bool) -> Result<(), Option<Errno>> {
    let read = |file: &str| std::fs::read_to_string(base.join(file)).unwrap_or_default();
    let has = |file: &str| {
        let text = read(file);
        controllers.iter().all(|name| text.split_whitespace().any(|word| word == *name))
    };
    // A group that has processes cannot be divided, but for the root of all.
    let open = is_root || read("cgroup.procs").is_empty();
    if !open || !(has("cgroup.subtree_control") || has("cgroup.controllers")) {
        return Err(None);
    }
    for (path, how) in [
        (base.to_owned(), Access::WRITE_OK | Access::EXEC_OK),
        (base.join("cgroup.procs"), Access::WRITE_OK),
        (base.join("cgroup.subtree_control"), Access::WRITE_OK),
    ] {
        access(&path, how).map_err(Some)?;
    }
    Ok(())
}

fn cannot(group: &Path, errno: Errno) -> String {
    format!("the control group {} cannot be divided ({})", group.display(), std::io::Error::from(errno))
}

impl Mount {
    /// Where a group of the hierarchy is seen.
    fn at(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.root).ok()?;
        Some(if below.as_os_str().is_empty() { self.point.clone() } else { self.point.join(below) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a hierarchy of version 2: root, slice, service; the service is ours.
    fn unified(subtree: &str) -> (tempfile::TempDir, Kernel) {
        let dir = tempfile::tempdir().unwrap();
        let point = dir.path().to_str().unwrap().to_owned();
        for (group, procs) in [("", "1\n"), ("slice", ""), ("slice/service", "7\n")] {
            let group = dir.path().join(group);
            std::fs::create_dir_all(&group).unwrap();
            std::fs::write(group.join("cgroup.procs"), procs).unwrap();
            std::fs::write(group.join("cgroup.controllers"), "cpu memory pids").unwrap();
            std::fs::write(group.join("cgroup.subtree_control"), subtree).unwrap();
        }
        let mounts = format!("29 22 0:26 / {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate");
        (dir, Kernel::parse(&mounts, "0::/slice/service\n"))
    }

    fn all() -> BTreeSet<Controller> {
        Controller::ALL.into_iter().collect()
    }

    #[test]
    fn version_2_is_divided_above_our_own_group() {
        let (dir, kernel) = unified("memory pids");
        let place = kernel.place(Controller::Memory, &all()).unwrap();
        assert_eq!(place, (dir.path().join("slice"), Version::Two));
        std::fs::remove_file(dir.path().join("slice/cgroup.subtree_control")).unwrap();
        let place = kernel.place(Controller::Memory, &all()).unwrap();
        assert_eq!(place.0, dir.path(), "the root may have processes");
        std::fs::write(dir.path().join("cgroup.controllers"), "pids").unwrap();
        let refusal = kernel.place(Controller::Cpu, &all()).unwrap_err();
        assert!(refusal.contains("slice"), "{refusal}");
    }

    #[test]
    fn version_2_has_a_leaf_for_everything_and_says_its_limits() {
        let (dir, kernel) = unified("");
        let (base, version) = kernel.place(Controller::Cpu, &all()).unwrap();
        let hierarchy = Hierarchy { base, version, controllers: Controller::ALL.to_vec() };
        let limits = Limits { pids: Some(20), memory: Some(1 << 20), cpu: Some(500) };
        let settings: Vec<_> =
            hierarchy.settings(&limits).into_iter().map(|(file, text, _)| (file, text)).collect();
        let expected = [
            ("pids.max", "20"),
            ("memory.max", "1048576"),
            ("memory.swap.max", "0"),
            ("cpu.max", "50000 100000"),
        ];
        assert_eq!(settings, expected.map(|(file, text)| (file, text.to_owned())));
        hierarchy.divide(&dir.path().join("slice")).unwrap();
        let control = std::fs::read_to_string(dir.path().join("slice/cgroup.subtree_control")).unwrap();
        assert_eq!(control, "+pids +memory +cpu");
    }

    #[test]
    fn version_1_is_found_by_its_controllers_below_what_is_mounted() {
        let mounts = "31 30 0:27 /docker/7 /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 30 0:28 / /cg/pids rw - cgroup cgroup rw,pids\n\
                      33 30 0:29 / / rw - ext4 /dev/vda rw";
        let kernel = Kernel::parse(mounts, "3:cpu,cpuacct:/docker/7/in\n2:pids:/\n0::/\n");
        assert_eq!(kernel.mounts.len(), 2);
        assert_eq!(kernel.mounts[0].at(Path::new("/docker/7/in")), Some("/cg/cpu/in".into()));
        assert_eq!(kernel.mounts[0].at(Path::new("/elsewhere")), None);
        assert_eq!(kernel.mounts[1].at(Path::new("/")), Some("/cg/pids".into()));
        let refusal = kernel.place(Controller::Memory, &all()).unwrap_err();
        assert!(refusal.contains("no control groups of the kind `memory`"), "{refusal}");
    }
}
