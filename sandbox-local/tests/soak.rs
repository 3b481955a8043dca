//! Nothing accumulates, also where the host fails. A file of its own: it counts what its process
//! holds, and takes from it.
//!
//! `SANDBOX_SOAK=10000` makes it long.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox_core::{ErrorKind, ExecutorExt as _, Job, JobBuilder, Result, Size, Termination};
use sandbox_local::LocalExecutor;
use support::{alive, children_named, eventually, executor};

/// Everything that could grow, by name.
fn counts() -> Vec<(&'static str, usize)> {
    let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    let lines = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().count();
    let own = format!("sandbox-{}-", std::process::id());
    let reapers = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().filter(|task| {
        fs::read(task.path().join("comm")).is_ok_and(|name| name.starts_with(b"sandbox-"))
    });
    vec![
        ("descriptors", entries("/proc/self/fd")),
        ("temporary files", count_named(&std::env::temp_dir(), "sandbox-", 1)),
        ("mounts", lines("/proc/self/mountinfo")),
        ("children", children_named("sandbox").len()),
        ("reaping threads", reapers.count()),
        ("cgroups", count_named(Path::new("/sys/fs/cgroup"), &own, 7)),
    ]
}

fn count_named(folder: &Path, prefix: &str, depth: usize) -> usize {
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    let mut count = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count += usize::from(entry.file_name().to_string_lossy().starts_with(prefix));
            count += count_named(&entry.path(), prefix, depth);
        }
    }
    count
}

fn job(number: usize) -> JobBuilder {
    match number % 6 {
        0 => Job::command(["true"]),
        1 => Job::bash("sleep 910008 & echo x > file"),
        2 => Job::bash("sleep 910008").timeout(Duration::from_millis(20)),
        3 => Job::command(["no-such-program"]),
        // Does not fit.
        4 => Job::bash("true")
            .file("in", vec![0; 256 << 10])
            .limit(|l| l.workspace = Some(Size::kib(64))),
        _ => Job::bash("head -c 200000 /dev/zero > large; (setsid sleep 910008 &)"),
    }
}

/// How a job ended, for the count at the end; a panic when it may not end like that. `faulty` says
/// that the host may fail it.
fn judge(number: usize, result: &Result<sandbox_core::Outcome>, faulty: bool) -> String {
    match result {
        Ok(outcome) => {
            let right = match number % 6 {
                2 => matches!(outcome.termination, Termination::WallTime(_)),
                3 | 4 => false,
                _ => outcome.termination == Termination::Exited(0),
            };
            // Where the host has no more processes, the program's own forks fail.
            assert!(right || faulty && number % 6 != 3, "{number}: {outcome:?}");
            outcome.termination.reason().to_owned()
        }
        Err(error) => {
            let own = match number % 6 {
                3 => error.kind() == ErrorKind::ProgramNotFound,
                4 => error.kind() == ErrorKind::Input,
                _ => false,
            };
            let of_the_host = match error.kind() {
                ErrorKind::HostExhausted => !error.may_have_run(),
                ErrorKind::Lost => true,
                _ => false,
            };
            assert!(own || (faulty && of_the_host), "{number}: {error:?}");
            error.kind().name().to_owned()
        }
    }
}

fn jobs() -> usize {
    std::env::var("SANDBOX_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(240)
}

/// Runs the jobs `from..to`; what they leave is saved into `save`, which may be full.
async fn run(
    executor: &LocalExecutor,
    range: std::ops::Range<usize>,
    faulty: bool,
    save: &Path,
) -> BTreeMap<String, usize> {
    let first = range.start;
    let jobs: Vec<_> = range.map(|n| job(n).build().expect("job")).collect();
    let mut outcomes = executor.run_all(jobs, 64);
    let mut ends = BTreeMap::new();
    while let Some((at, result)) = outcomes.next().await {
        *ends.entry(judge(first + at, &result, faulty)).or_default() += 1;
        for artifact in result.iter().flat_map(|outcome| &outcome.artifacts) {
            let saved = artifact.save_to(save).await;
            let name = match saved {
                Ok(_) => "saved",
                Err(error) if faulty && error.kind() == ErrorKind::Save => "not saved",
                Err(error) => panic!("{error:?}"),
            };
            *ends.entry(name.to_owned()).or_default() += 1;
        }
    }
    ends
}

async fn settle(before: &[(&'static str, usize)]) {
    let open = || {
        let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        links.filter_map(|link| fs::read_link(link.path()).ok()).collect::<Vec<_>>()
    };
    let settled = eventually(|| counts() == before).await;
    assert!(settled, "{before:?} became {:?}: {:?}", counts(), open());
    assert_eq!(alive("910008"), [0; 0]);
}

/// Both in one test: each counts what the process holds.
#[tokio::test]
async fn many_jobs_leave_no_trace_also_where_the_host_fails() {
    let count = jobs();
    let group = ProcessLimit::new();
    let executor = executor().await;
    let roomy = tempfile::tempdir().expect("tempdir");
    run(&executor, 0..96, false, roomy.path()).await;
    assert!(eventually(|| children_named("sandbox").is_empty()).await);

    let before = counts();
    let ends = run(&executor, 0..count, false, roomy.path()).await;
    println!("without faults: {ends:?}");
    settle(&before).await;

    let full = SmallDisk::mount();
    let before = counts();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut killed = 0;
    for (round, first) in (0..count).step_by(120).enumerate() {
        let range = first..(first + 120).min(count);
        let fault = round % 4;
        let low = (fault == 0).then(FewDescriptors::new);
        let few = (fault == 1).then(|| group.allow(40));
        let stop = AtomicBool::new(false);
        let killer = async {
            let mut killed = 0;
            while fault == 2 && !stop.load(Ordering::Relaxed) {
                // Children of this process, which it has not waited for.
                if let Some(pid) = children_named("sandbox-supervisor").first() {
                    let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
                    killed += 1;
                }
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
            killed
        };
        let running = async {
            let ends = run(&executor, range, true, full.0.path()).await;
            stop.store(true, Ordering::Relaxed);
            ends
        };
        let (more, deaths) = tokio::join!(running, killer);
        killed += deaths;
        drop((low, few));
        for (end, times) in more {
            *ends.entry(end).or_default() += times;
        }
    }
    println!("with faults, and {killed} helpers killed: {ends:?}");
    // Each fault did strike.
    for end in ["host_exhausted", "lost", "not saved", "exited"] {
        assert!(ends.contains_key(end) || count < 480, "no {end}: {ends:?}");
    }
    // And it was not for good.
    let ends = run(&executor, 0..24, false, roomy.path()).await;
    assert_eq!(ends.values().sum::<usize>(), 24 + ends["saved"], "{ends:?}");
    settle(&before).await;
}

/// A file system of 64 KiB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let options = Some("size=64k");
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), options)
            .expect("mount; run as root");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// Few descriptors are left to this process, as long as this lives.
struct FewDescriptors(u64, u64);

impl FewDescriptors {
    fn new() -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limit");
        // The lowest free number: from there on, forty.
        let free = fs::File::open("/dev/null").expect("descriptor").as_raw_fd() as u64;
        setrlimit(Resource::RLIMIT_NOFILE, free + 40, hard).expect("lowered");
        Self(soft, hard)
    }
}

impl Drop for FewDescriptors {
    fn drop(&mut self) {
        setrlimit(Resource::RLIMIT_NOFILE, self.0, self.1).expect("restored");
    }
}

/// A cgroup around this process that limits how many it and its children are.
struct ProcessLimit(PathBuf);

impl ProcessLimit {
    fn new() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").expect("cgroups");
        let pids = own.lines().find_map(|line| line.split_once(":pids:")).map(|(_, path)| path);
        let (root, own) = match pids {
            Some(path) => ("/sys/fs/cgroup/pids", path),
            None => {
                ("/sys/fs/cgroup", own.lines().find_map(|l| l.strip_prefix("0::")).expect("v2"))
            }
        };
        let parent = Path::new(root).join(own.trim_start_matches('/'));
        let group = parent.join(format!("soak-{}", std::process::id()));
        fs::create_dir(&group).expect("a cgroup; run as root, with a writable pids controller");
        fs::write(group.join("cgroup.procs"), std::process::id().to_string()).expect("joined");
        Self(group)
    }

    /// So many more than there are now, until what is returned is dropped.
    fn allow(&self, more: usize) -> impl Drop + use<> {
        struct Lift(PathBuf);
        impl Drop for Lift {
            fn drop(&mut self) {
                fs::write(&self.0, "max").expect("lifted");
            }
        }
        let now = fs::read_to_string(self.0.join("pids.current")).expect("count");
        let most = now.trim().parse::<usize>().expect("number") + more;
        fs::write(self.0.join("pids.max"), most.to_string()).expect("limited");
        Lift(self.0.join("pids.max"))
    }
}

impl Drop for ProcessLimit {
    fn drop(&mut self) {
        let parent = self.0.parent().expect("parent");
        let _ = fs::write(parent.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(&self.0);
    }
}
