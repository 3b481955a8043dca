//! Where cgroups for jobs can be made.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, access};
use sandbox_core::Limits;

use crate::disks;
use crate::ids::JobIds;
use crate::plan::CgroupPlan;

const PREFIX: &str = "sandbox-";

/// What a job may read of each disk in a second, in bytes and requests. What is in the page cache costs
/// neither.
const READ_BYTES: u64 = 100 << 20;
const READ_TIMES: u64 = 5000;

/// How often a job gets its share of the processors, in microseconds: often enough that it does
/// not stand still for long, and long enough that its share is the millisecond below which the
/// kernel takes none.
fn period_us(processors: f64) -> u32 {
    if processors < 0.05 { 100_000 } else { 20_000 }
}

/// A directory of a cgroup hierarchy beneath which jobs get their own.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) version: u64,
    pub(crate) memory: bool,
    pub(crate) processes: bool,
    /// It counts CPU time.
    pub(crate) cpu: bool,
    /// It can bound CPU time.
    pub(crate) bandwidth: bool,
    /// The disks whose reads it can bound.
    pub(crate) disks: Vec<String>,
    /// How many processors a job may use, where that is bounded.
    pub(crate) processors: Option<f64>,
    pub(crate) path: PathBuf,
    pub(crate) dir: Arc<OwnedFd>,
    /// The unit or container of the application, where jobs get their groups outside of it.
    pub(crate) outside_of: Option<PathBuf>,
}

impl Parent {
    fn open(version: u64, controllers: &[&str], path: PathBuf) -> Option<Self> {
        let has = |name| controllers.contains(&name);
        access(&path, AccessFlags::W_OK).ok()?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let dir = Arc::new(open(&path, flags, Mode::empty()).ok()?);
        Some(Self {
            version,
            memory: has("memory"),
            processes: has("pids"),
            cpu: has("cpuacct"),
            bandwidth: has("cpu"),
            disks: if has("io") { disks::numbers() } else { Vec::new() },
            processors: None,
            path,
            dir,
            outside_of: None,
        })
    }

    /// The cgroup of one job beneath this parent, whose directory the helper inherits as `parent_fd`.
    pub(crate) fn plan(&self, name: &str, limits: &Limits, parent_fd: u64) -> CgroupPlan {
        let memory = limits.memory.as_u64().to_string();
        let processes = limits.processes.to_string();
        let set = |file: &str, value: &str, optional| (file.to_owned(), value.to_owned(), optional);
        let mut settings = Vec::new();
        if self.memory && self.version == 1 {
            settings.push(set("memory.limit_in_bytes", &memory, false));
            settings.push(set("memory.memsw.limit_in_bytes", &memory, true));
            // Where swap is not counted, the job gets none.
            settings.push(set("memory.swappiness", "0", true));
            // v1 counts network buffers, and limits them, apart from the rest.
            let buffers = (limits.memory.as_u64() / 4).to_string();
            settings.push(set("memory.kmem.tcp.limit_in_bytes", &buffers, true));
        } else if self.memory {
            settings.push(set("memory.max", &memory, false));
            settings.push(set("memory.swap.max", "0", true));
            settings.push(set("memory.oom.group", "1", true));
        }
        if self.processes {
            settings.push(set("pids.max", &processes, false));
        }
        for disk in &self.disks {
            if self.version == 1 {
                let bytes = format!("{disk} {READ_BYTES}");
                settings.push(set("blkio.throttle.read_bps_device", &bytes, true));
                let times = format!("{disk} {READ_TIMES}");
                settings.push(set("blkio.throttle.read_iops_device", &times, true));
            } else {
                let most = format!("{disk} rbps={READ_BYTES} riops={READ_TIMES}");
                settings.push(set("io.max", &most, true));
            }
        }
        if let Some(processors) = self.processors.filter(|_| self.bandwidth) {
            let period = period_us(processors);
            let quota = ((f64::from(period) * processors).round() as u64).max(1000).to_string();
            let period = period.to_string();
            if self.version == 1 {
                settings.push(set("cpu.cfs_period_us", &period, false));
                settings.push(set("cpu.cfs_quota_us", &quota, false));
            } else {
                settings.push(set("cpu.max", &format!("{quota} {period}"), false));
            }
        }
        CgroupPlan {
            version: self.version,
            parent_fd,
            memory: self.memory,
            cpu: self.cpu,
            name: name.to_owned(),
            settings,
        }
    }

    /// Removes cgroups that helpers left which were killed together with their applications. A
    /// helper holds a lock on the group of its job; one in another container does too.
    fn sweep(&self) {
        // Else somebody is making a group, or sweeps: the next start looks again.
        let Some(_sweeping) = lock(&self.path) else { return };
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
                && lock(&entry.path()).is_some()
            {
                // Only an empty cgroup can be removed, so a wrong guess does no harm.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Locks a folder that nobody else has locked.
fn lock(folder: &Path) -> Option<Flock<fs::File>> {
    Flock::lock(fs::File::open(folder).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// The name of the cgroup of job number `number`.
pub(crate) fn name(ids: &JobIds, number: u64) -> String {
    format!("{PREFIX}{}", ids.group(number))
}

/// The cgroups that a helper makes for a job.
#[derive(Clone, Debug)]
pub(crate) struct JobGroups {
    parents: Vec<Parent>,
    name: String,
}

impl JobGroups {
    pub(crate) fn new(parents: &[Parent], name: String) -> Self {
        Self { parents: parents.to_vec(), name }
    }

    /// Removes them if the helper died without doing so. Processes of the job may still be dying;
    /// blocks for that long, but not for more than some seconds.
    pub(crate) fn remove(&self) {
        for _ in 0..1000 {
            if self.remove_now() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Removes what is empty; says whether nothing is left.
    pub(crate) fn remove_now(&self) -> bool {
        let gone = |parent: &Parent| {
            let path = parent.path.join(&self.name);
            !path.exists() || fs::remove_dir(&path).is_ok() || !path.exists()
        };
        // Each of them, also after one that is not.
        self.parents.iter().filter(|parent| !gone(parent)).count() == 0
    }
}

/// Finds writable hierarchies: v2 with memory and pids delegated, else v1 controllers.
pub(crate) fn discover() -> Vec<Parent> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let parents = match v2(&own, &mounts) {
        Some(parent) => vec![parent],
        None => v1_all(&own, &mounts),
    };
    parents.iter().for_each(Parent::sweep);
    parents
}

/// The nearest ancestor (or the own cgroup) that hands both controllers to its children: within the
/// application's unit or container, and outside of it only when there is none within.
fn v2(own: &str, mounts: &str) -> Option<Parent> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (mount, root) = mounts.lines().find_map(|line| mounted(line, "cgroup2", |_| true))?;
    let directory = beneath(&mount, &root, path);
    let boundary = boundary(&directory, &mount);
    directory.ancestors().take_while(|dir| dir.starts_with(&mount)).find_map(|dir| {
        let control = fs::read_to_string(dir.join("cgroup.subtree_control")).ok()?;
        let has = |name| control.split_whitespace().any(|word| word == name);
        // The helper moves jobs from the own cgroup: that takes the common ancestor's consent.
        let procs = access(&dir.join("cgroup.procs"), AccessFlags::W_OK).is_ok();
        let usable = has("memory") && has("pids") && procs;
        // CPU time is counted without any controller.
        let optional = ["cpu", "io"].into_iter().filter(|name| has(name));
        let there: Vec<_> = ["memory", "pids", "cpuacct"].into_iter().chain(optional).collect();
        let mut parent = usable.then(|| Parent::open(2, &there, dir.to_owned()))??;
        parent.outside_of = (!dir.starts_with(&boundary)).then(|| boundary.clone());
        Some(parent)
    })
}

/// Where the limits begin that others set for the application: its innermost systemd unit, or, where
/// its path names none, its own cgroup. At the mount's own root it is all that can be seen.
fn boundary(directory: &Path, mount: &Path) -> PathBuf {
    let is_unit =
        |dir: &&Path| dir.extension().is_some_and(|kind| kind == "service" || kind == "scope");
    let beneath = directory.ancestors().take_while(|dir| *dir != mount && dir.starts_with(mount));
    beneath.clone().find(is_unit).unwrap_or(directory).to_owned()
}

/// The controllers of v1; some hosts mount several in one place.
fn v1_all(own: &str, mounts: &str) -> Vec<Parent> {
    let mut places: Vec<(PathBuf, Vec<&str>)> = Vec::new();
    // A group of the last keeps a job's sessions from having a share of the processors each
    // (sched(7), autogroup).
    for (controller, found) in [
        ("memory", "memory"),
        ("pids", "pids"),
        ("cpuacct", "cpuacct"),
        ("cpu", "cpu"),
        ("blkio", "io"),
    ] {
        let Some(path) = v1(own, mounts, controller) else { continue };
        match places.iter_mut().find(|place| place.0 == path) {
            Some(place) => place.1.push(found),
            None => places.push((path, vec![found])),
        }
    }
    places.into_iter().filter_map(|(path, found)| Parent::open(1, &found, path)).collect()
}

fn v1(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers.split(',').any(|name| name == controller).then_some(parts.next()?)
    })?;
    let has = |options: &str| options.split(',').any(|option| option == controller);
    let (mount, root) = mounts.lines().find_map(|line| mounted(line, "cgroup", has))?;
    Some(beneath(&mount, &root, path))
}

/// Mount point and root of a `mountinfo` line of that file system type whose options fit.
fn mounted(line: &str, kind: &str, fits: impl Fn(&str) -> bool) -> Option<(PathBuf, String)> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let (this, options) = (after.next()?, after.nth(1)?);
    let mut before = before.split(' ').skip(3);
    let (root, mount) = (before.next()?, before.next()?);
    (this == kind && fits(options)).then(|| (PathBuf::from(mount), root.to_owned()))
}

fn beneath(mount: &Path, root: &str, path: &str) -> PathBuf {
    let relative = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    mount.join(relative.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_others_begin_at_the_innermost_unit() {
        let mount = Path::new("/sys/fs/cgroup");
        for (own, expected) in [
            ("system.slice/app.service", "system.slice/app.service"),
            ("system.slice/app.service/leaf", "system.slice/app.service"),
            (
                "user.slice/user@7.service/app.slice/x.scope",
                "user.slice/user@7.service/app.slice/x.scope",
            ),
            ("docker/0123", "docker/0123"),
            ("", ""),
        ] {
            assert_eq!(boundary(&mount.join(own), mount), mount.join(expected), "{own}");
        }
    }

    const MOUNTS: &str = "\
30 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 24 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
32 24 0:28 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";

    #[test]
    fn mounts_are_found_by_type_and_controller() {
        let find = |kind: &str, name: &str| {
            let has = |options: &str| options.split(',').any(|option| option == name);
            MOUNTS.lines().find_map(|line| mounted(line, kind, has))
        };
        let memory = find("cgroup", "memory").expect("memory");
        assert_eq!(memory, (PathBuf::from("/sys/fs/cgroup/memory"), "/".into()));
        let pids = find("cgroup", "pids").expect("pids");
        assert_eq!(beneath(&pids.0, &pids.1, "/docker/x/y"), Path::new("/sys/fs/cgroup/pids/y"));
        assert!(find("cgroup", "freezer").is_none());
    }
}
