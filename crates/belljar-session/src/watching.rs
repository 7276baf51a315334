//! Starting services again when their programs change, for `up --watch`.
//!
//! The kernel says that something happened in a directory; what happened is found by looking. A file counts when
//! nobody writes to it any more and what is in it is really different: a build that ends with the same bytes
//! restarts nothing. What changes together is looked at together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belljar_model::ServiceName;
use belljar_stack::plan::{Plan, ServicePlan};
use belljar_stack::{HostPrograms, Programs as _};
use globset::{Glob, GlobMatcher};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::driver::Handle;
use crate::machine::Ask;
use crate::ready_fd::register;

/// Files are looked at when nothing has happened for so long,
const QUIET: Duration = Duration::from_millis(100);
/// or after so long of things that happen all the time.
const AT_LATEST: Duration = Duration::from_secs(1);
/// Below a glob more directories than these are not watched.
const MOST_DIRECTORIES: usize = 4096;

/// What is to be watched, with a number that rises.
pub(crate) type Wish = (u64, Option<Arc<Plan>>);

/// Watches the files of the services of whatever plan is in force, until the session ends. The number of a wish is
/// told when whatever changes from then on is noticed.
pub(crate) async fn watch(handle: Handle, mut wishes: watch::Receiver<Wish>, served: watch::Sender<u64>) {
    // What was seen is kept from plan to plan, so that a change of the stack loses no change of a file.
    let mut seen = Seen::default();
    loop {
        let (number, plan) = wishes.borrow_and_update().clone();
        let watching = async {
            match plan {
                // A machine that has no watch to give restarts nothing.
                Some(plan) => {
                    let looked = || {
                        served.send_replace(number);
                    };
                    drop(watch_plan(&handle, &plan, &mut seen, looked).await);
                }
                None => seen = Seen::default(),
            }
            served.send_replace(number);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            changed = wishes.changed() => if changed.is_err() { return },
            () = watching => {}
        }
    }
}

async fn watch_plan(
    handle: &Handle,
    plan: &Arc<Plan>,
    seen: &mut Seen,
    looked: impl Fn(),
) -> std::io::Result<()> {
    let subjects: Arc<Vec<Subject>> =
        Arc::new(plan.services.iter().map(|one| Subject::of(one, &plan.dir)).collect());
    let kernel = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let kernel = register(kernel, Interest::READABLE)?;
    add_watches(kernel.get_ref(), &subjects);
    // Whatever changes from here on is told; so the first look misses nothing.
    let mut look = look(&subjects, seen).await;
    looked();
    loop {
        for (service, files) in look.changed {
            // A session that ends restarts nothing any more.
            let _ = handle.ask(Ask::FilesChanged { service, files }).await;
        }
        if look.is_being_written {
            tokio::time::sleep(QUIET).await;
        } else {
            until_quiet(&kernel).await?;
        }
        add_watches(kernel.get_ref(), &subjects);
        look = self::look(&subjects, seen).await;
    }
}

/// Waits until something has happened, and then until nothing more does.
async fn until_quiet(kernel: &AsyncFd<OwnedFd>) -> std::io::Result<()> {
    drain(kernel).await?;
    let latest = Instant::now() + AT_LATEST;
    while Instant::now() < latest {
        match tokio::time::timeout(QUIET, drain(kernel)).await {
            Ok(drained) => drained?,
            Err(_) => break,
        }
    }
    Ok(())
}

/// Waits for news and takes all of them in. What they say does not matter: the files are looked at.
async fn drain(kernel: &AsyncFd<OwnedFd>) -> std::io::Result<()> {
    let mut guard = kernel.readable().await?;
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(kernel.get_ref(), &mut buffer) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => {
                guard.clear_ready();
                return Ok(());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What of a service is watched.
#[derive(Debug)]
struct Subject {
    service: ServiceName,
    programs: BTreeSet<PathBuf>,
    /// Globs below the directory of the stack, each with the directory that everything it matches lies in.
    globs: Vec<(PathBuf, GlobMatcher)>,
    dir: PathBuf,
}

impl Subject {
    fn of(service: &ServicePlan, dir: &Path) -> Self {
        let program = |replica: &belljar_stack::plan::ReplicaPlan| {
            let path = replica.env.get("PATH").cloned().unwrap_or_default();
            HostPrograms { path }.find(replica.argv.first()?, &[])
        };
        let named = |replica: &belljar_stack::plan::ReplicaPlan| {
            // One that is not there now may be built any moment.
            replica.argv.first().filter(|one| one.contains('/')).map(PathBuf::from)
        };
        let programs = service.replicas.iter().filter_map(|one| named(one).or_else(|| program(one)));
        let globs = service.watch.iter().filter_map(|text| {
            let plain: PathBuf = Path::new(text)
                .components()
                .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']))
                .collect();
            Some((dir.join(plain), Glob::new(text).ok()?.compile_matcher()))
        });
        Self {
            service: service.name.clone(),
            programs: programs.collect(),
            globs: globs.collect(),
            dir: dir.to_owned(),
        }
    }

    /// The files that there are now.
    fn files(&self) -> BTreeSet<PathBuf> {
        let mut files: BTreeSet<PathBuf> =
            self.programs.iter().filter(|path| path.is_file()).cloned().collect();
        for (base, glob) in &self.globs {
            let is_meant = |path: &Path| path.strip_prefix(&self.dir).is_ok_and(|below| glob.is_match(below));
            if base.is_file() && is_meant(base) {
                files.insert(base.clone());
            }
            for dir in directories(base) {
                for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
                    let path = entry.path();
                    if is_meant(&path) && path.is_file() {
                        files.insert(path);
                    }
                }
            }
        }
        files
    }

    /// The directories in which something may happen that matters.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let mut all = BTreeSet::new();
        for program in &self.programs {
            all.extend(program.parent().map(Path::to_owned));
            // Where it is a link, what it leads to may change too.
            all.extend(program.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned)));
        }
        for (base, _) in &self.globs {
            all.extend(base.parent().map(Path::to_owned));
            all.extend(directories(base));
        }
        all
    }
}

/// A directory and those below it; links are not followed.
fn directories(base: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut next = vec![base.to_owned()];
    while let Some(dir) = next.pop() {
        if all.len() >= MOST_DIRECTORIES {
            break;
        }
        let Ok(entries) = fs_err::read_dir(&dir) else { continue };
        let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        next.extend(below.map(|entry| entry.path()));
        all.push(dir);
    }
    all
}

/// Watches every directory of the subjects, or what there is above it. One that is watched already stays so.
fn add_watches(kernel: &OwnedFd, subjects: &[Subject]) {
    let flags = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR;
    let wanted: BTreeSet<PathBuf> = subjects.iter().flat_map(Subject::directories).collect();
    for dir in wanted {
        if let Some(there) = dir.ancestors().find(|dir| dir.is_dir()) {
            // The machine may have no more to give: what is watched then is less.
            let _ = inotify::add_watch(kernel, there, flags);
        }
    }
}

/// What the files were like when they were looked at last.
#[derive(Debug, Default)]
struct Seen {
    services: BTreeMap<ServiceName, BTreeMap<PathBuf, u64>>,
    /// By what changes with every change of a file, so that only those are read that may be different.
    read: HashMap<(PathBuf, Stamp), u64>,
}

type Stamp = (u64, u64, i64, i64);

#[derive(Debug, Default)]
struct Look {
    changed: Vec<(ServiceName, Vec<PathBuf>)>,
    is_being_written: bool,
}

/// Looks at all files. Reading takes time, so it is done beside everything else.
async fn look(subjects: &Arc<Vec<Subject>>, seen: &mut Seen) -> Look {
    let subjects = Arc::clone(subjects);
    let before = std::mem::take(seen);
    match tokio::task::spawn_blocking(move || before.look(&subjects)).await {
        Ok((after, look)) => {
            *seen = after;
            look
        }
        Err(_) => Look::default(),
    }
}

impl Seen {
    fn look(mut self, subjects: &[Subject]) -> (Self, Look) {
        let mut look = Look::default();
        let mut read = HashMap::new();
        for subject in subjects {
            let known = self.services.get(&subject.service);
            let mut now = BTreeMap::new();
            for path in subject.files() {
                let hash = self.hash(&path, &mut read);
                look.is_being_written |= hash.is_none();
                // As it was, until it is closed.
                let hash = hash.or_else(|| known?.get(&path).copied());
                if let Some(hash) = hash {
                    now.insert(path, hash);
                }
            }
            if let Some(known) = known {
                for program in &subject.programs {
                    // One that has gone is being built again: what counts is what comes.
                    if let (None, Some(hash)) = (now.get(program), known.get(program)) {
                        now.insert(program.clone(), *hash);
                    }
                }
                let paths: BTreeSet<&PathBuf> = known.keys().chain(now.keys()).collect();
                let changed: Vec<PathBuf> =
                    paths.into_iter().filter(|&path| known.get(path) != now.get(path)).cloned().collect();
                if !changed.is_empty() {
                    look.changed.push((subject.service.clone(), changed));
                }
            }
            self.services.insert(subject.service.clone(), now);
        }
        self.read = read;
        (self, look)
    }

    /// What is in a file, as a number; `None` while somebody writes to it.
    fn hash(&self, path: &Path, read: &mut HashMap<(PathBuf, Stamp), u64>) -> Option<u64> {
        let Ok(mut file) = fs_err::File::open(path) else { return Some(0) };
        if belljar_sandbox::is_open_for_writing(file.file().as_fd()) {
            return None;
        }
        let Ok(metadata) = file.metadata() else { return Some(0) };
        // The mode counts too: a program that cannot be executed yet is another one.
        let mode = metadata.mode();
        let stamp = (metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec());
        let key = (path.to_owned(), stamp);
        let known = self.read.get(&key).or_else(|| read.get(&key)).copied();
        let hash = known.unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u32(mode & 0o111);
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = file.read(&mut buffer) {
                hasher.write(&buffer[..count]);
            }
            hasher.finish()
        });
        read.insert(key, hash);
        Some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(dir: &Path, watch: &[&str]) -> Subject {
        let globs = watch.iter().map(|text| (dir.join("config"), Glob::new(text).unwrap().compile_matcher()));
        Subject {
            service: ServiceName::new("api").unwrap(),
            programs: [dir.join("api")].into(),
            globs: globs.collect(),
            dir: dir.to_owned(),
        }
    }

    #[test]
    fn only_what_is_really_different_and_closed_counts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs_err::write(at("api"), "one").unwrap();
        fs_err::create_dir_all(at("config/deep")).unwrap();
        fs_err::write(at("config/deep/a.toml"), "a").unwrap();
        let subjects = [subject(dir.path(), &["config/**/*.toml"])];
        let mut seen = Seen::default();
        let mut next = |what: &str| {
            let (after, look) = std::mem::take(&mut seen).look(&subjects);
            seen = after;
            let changed: Vec<PathBuf> = look.changed.into_iter().flat_map(|(_, files)| files).collect();
            assert!(changed.len() <= 1, "{what}: {changed:?}");
            (changed.first().cloned(), look.is_being_written)
        };
        assert_eq!(next("the first look"), (None, false));
        // The same bytes in another file.
        fs_err::write(at("new"), "one").unwrap();
        fs_err::rename(at("new"), at("api")).unwrap();
        assert_eq!(next("the same again"), (None, false));
        let mut writer = fs_err::File::create(at("api")).unwrap();
        std::io::Write::write_all(&mut writer, b"tw").unwrap();
        assert_eq!(next("half a program"), (None, true));
        std::io::Write::write_all(&mut writer, b"o").unwrap();
        drop(writer);
        assert_eq!(next("another program"), (Some(at("api")), false));
        fs_err::remove_file(at("api")).unwrap();
        assert_eq!(next("it is being built"), (None, false));
        fs_err::write(at("api"), "two").unwrap();
        assert_eq!(next("and comes back the same"), (None, false));
        fs_err::write(at("config/new.toml"), "b").unwrap();
        fs_err::write(at("config/other"), "b").unwrap();
        assert_eq!(next("a new file"), (Some(at("config/new.toml")), false));
        fs_err::remove_file(at("config/deep/a.toml")).unwrap();
        assert_eq!(next("a file less"), (Some(at("config/deep/a.toml")), false));
    }
}
