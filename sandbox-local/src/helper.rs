//! The embedded helper: loaded once, spawned for every job.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, io};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sandbox_core::{Error, ErrorKind, Layer};

use crate::cgroup::JobGroups;
use crate::fd;
use crate::folder::HostFolder;
use crate::memfd::{self, Kind, errno_of};
use crate::protocol::descriptor;

/// Above every descriptor that a helper inherits.
const ABOVE: RawFd = 64;

static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/helper"));

/// The helper's program, ready to be executed.
#[derive(Debug)]
pub(crate) struct Helper {
    program: OwnedFd,
}

impl Helper {
    /// Puts the program where it can be executed: a sealed memfd, or, where the kernel forbids
    /// executing those, an unnamed file in a folder of the application's.
    pub(crate) fn load() -> Result<Self, Error> {
        let program = match memfd::sealed(Kind::Program, IMAGE) {
            Ok(fd) => fd,
            Err(memfd) => unnamed_file().map_err(|file| refused(memfd, &file))?,
        };
        // A helper's own descriptors take the low numbers before the program is executed.
        let program = above(&program).map_err(|errno| {
            Error::new(ErrorKind::HostExhausted, "load helper", errno.desc()).with_source(errno)
        })?;
        Ok(Self { program })
    }

    /// Makes helpers unreadable to processes of their own user: the kernel marks a process whose
    /// program its user cannot read as not dumpable. Not where the helper writes id maps, which
    /// such a process may not.
    pub(crate) fn hide(&self) -> nix::Result<()> {
        fchmod(&self.program, Mode::from_bits_truncate(0o111))
    }

    /// Starts a helper that inherits its end of the control socket, the plan, the job's streams and
    /// the folders of its cgroups, in this order.
    ///
    /// Nothing of this call depends on the application's size: `posix_spawn` shares memory until
    /// the exec.
    pub(crate) fn spawn(
        &self,
        inherited: &[BorrowedFd<'_>],
        groups: JobGroups,
    ) -> io::Result<Process> {
        reap_orphans();
        let places = [descriptor::CONTROL, descriptor::PLAN].into_iter();
        let places = places.chain(descriptor::STREAMS).chain(descriptor::GROUPS..);
        let mut actions = PosixSpawnFileActions::init()?;
        let mut moved = Vec::new();
        for (fd, place) in inherited.iter().zip(places) {
            let source = if fd.as_raw_fd() < ABOVE {
                // It may stand where another is to go.
                moved.push(above(fd)?);
                moved.last().map_or(-1, |fd| fd.as_raw_fd())
            } else {
                fd.as_raw_fd()
            };
            actions.add_dup2(source, place)?;
        }
        for unused in [1, 2] {
            actions.add_open(unused, "/dev/null", OFlag::O_RDWR, Mode::empty())?;
        }
        let program = format!("/proc/self/fd/{}", self.program.as_raw_fd());
        let (attributes, arguments) = (PosixSpawnAttr::init()?, [c"sandbox-supervisor"]);
        let child = posix_spawn(program.as_str(), &actions, &attributes, &arguments, &[c""; 0])?;
        let running = Running(Some(Remains { child, groups, folder: None }));
        Ok(Process { child, running: Some(running), folder: None })
    }
}

/// The same open file at a number that no descriptor of a helper has.
fn above(fd: impl AsFd) -> nix::Result<OwnedFd> {
    fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(ABOVE)).map(fd::received)
}

/// A helper process that is reaped for certain.
#[derive(Debug)]
pub(crate) struct Process {
    child: Pid,
    running: Option<Running>,
    /// Removed after the helper has ended, and with it the job.
    folder: Option<HostFolder>,
}

impl Process {
    /// The helper, which is not reaped before this is dropped.
    pub(crate) fn pid(&self) -> i32 {
        self.child.as_raw()
    }

    /// Opens a directory that the helper has open.
    pub(crate) fn open(&self, number: RawFd) -> nix::Result<OwnedFd> {
        let path = format!("/proc/{}/fd/{number}", self.child);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(path.as_str(), flags, Mode::empty())
    }

    /// Keeps the job's folder until nothing of the job can be alive.
    pub(crate) fn keep(&mut self, folder: Option<HostFolder>) {
        self.folder = folder;
    }

    /// Waits for a helper that has said its last word, or whose control socket is closed: it
    /// ends within milliseconds. Kills it when it does not.
    pub(crate) async fn reap(&mut self) {
        if let Some(running) = self.running.take() {
            // A runtime that is shutting down drops this, and what is dropped waits elsewhere.
            let _ = tokio::task::spawn_blocking(move || running.end()).await;
        }
    }

    /// Removes the job's cgroups where the helper could not; true if none is left.
    pub(crate) fn remove_groups(&self) -> bool {
        let groups = self.running.as_ref().and_then(|running| running.0.as_ref());
        groups.is_none_or(|remains| remains.groups.remove_now())
    }

    /// Waits for the helper and removes the job's folder.
    pub(crate) async fn discard(mut self) {
        if let Some(running) = &mut self.running {
            running.keep(self.folder.take());
        }
        self.reap().await;
        let folder = self.folder.take();
        if folder.is_some() {
            let _ = tokio::task::spawn_blocking(move || drop(folder)).await;
        }
    }
}

impl Drop for Process {
    /// The control socket is dropped before this, which tells the helper to kill its job.
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            running.keep(self.folder.take());
        }
    }
}

/// A helper that was not waited for yet, and what it or its job may leave.
#[derive(Debug)]
struct Running(Option<Remains>);

#[derive(Debug)]
struct Remains {
    child: Pid,
    groups: JobGroups,
    folder: Option<HostFolder>,
}

impl Remains {
    fn end(self) {
        wait_or_kill(self.child);
        // Already removed, unless the helper was killed.
        self.groups.remove();
        drop(self.folder);
    }
}

impl Running {
    fn keep(&mut self, folder: Option<HostFolder>) {
        if let Some(remains) = &mut self.0 {
            remains.folder = folder;
        }
    }

    fn end(mut self) {
        if let Some(remains) = self.0.take() {
            remains.end();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(remains) = self.0.take() else { return };
        // A thread of its own: the runtime may be shutting down, and must not wait here.
        let reaper = std::thread::Builder::new().name("sandbox-reaper".into());
        let orphan = Arc::new(Mutex::new(Some(remains)));
        let handed_over = Arc::clone(&orphan);
        let reaping = reaper.spawn(move || take(&handed_over).into_iter().for_each(Remains::end));
        if reaping.is_err()
            && let Some(orphan) = take(&orphan)
            && let Ok(mut orphans) = ORPHANS.lock()
        {
            orphans.push(orphan);
        }
    }
}

/// Helpers for which the host had no thread that could wait: the next start does, before it asks for
/// a process itself.
static ORPHANS: Mutex<Vec<Remains>> = Mutex::new(Vec::new());

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().ok()?.take()
}

/// Waits for those that have ended, and not for the rest.
fn reap_orphans() {
    let Ok(mut orphans) = ORPHANS.try_lock() else { return };
    orphans.retain(|orphan| match waitpid(orphan.child, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => true,
        _ => {
            orphan.groups.remove_now();
            false
        }
    });
}

fn wait_or_kill(child: Pid) {
    for round in 0..1000u64 {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                std::thread::sleep(Duration::from_micros(100 * (1 + round.min(50))));
            }
            // An application that ignores SIGCHLD reaps it elsewhere: that is an error, and fine.
            Ok(_) | Err(_) => return,
        }
    }
    // Killing the helper kills PID 1 of the job's namespace, and with it everything.
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
}

/// A file that never has a name, in the first folder whose file system allows execution.
fn unnamed_file() -> Result<OwnedFd, String> {
    let mut tried = Vec::new();
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folders = runtime.into_iter().chain([env::temp_dir(), "/var/tmp".into()]);
    for folder in folders {
        match unnamed_file_in(&folder) {
            Ok(fd) => return Ok(fd),
            Err(errno) => tried.push(format!("{}: {}", folder.display(), errno.desc())),
        }
    }
    Err(tried.join("; "))
}

fn unnamed_file_in(folder: &Path) -> nix::Result<OwnedFd> {
    if statvfs(folder)?.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(Errno::EACCES);
    }
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let mut file = File::from(open(folder, flags, Mode::from_bits_truncate(0o555))?);
    file.write_all(IMAGE).map_err(errno_of)?;
    // A file that is open for writing cannot be executed.
    let read_only = format!("/proc/self/fd/{}", file.as_raw_fd());
    open(read_only.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

fn refused(memfd: Errno, files: &str) -> Error {
    let policy = fs::read_to_string("/proc/sys/vm/memfd_noexec").unwrap_or_default();
    let message = format!(
        "the helper cannot be executed: memfd: {} (vm.memfd_noexec is {}); unnamed file: {files}; \
         set vm.memfd_noexec to 1 or point TMPDIR at a folder that is not mounted noexec",
        memfd.desc(),
        policy.trim(),
    );
    Error::new(ErrorKind::Refused, "load helper", message)
        .with_layer(Layer::SupervisorHidden)
        .with_source(memfd)
}
