//! The embedded helper: loaded once, spawned for every job.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, io};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::statvfs::{FsFlags, statvfs};
use sandbox_core::{Error, ErrorKind, Layer};

use crate::cgroup::JobGroups;
use crate::folder::HostFolder;
use crate::memfd::{self, Kind, errno_of};

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
        Ok(Self { program })
    }

    /// Makes helpers unreadable to processes of their own user: the kernel marks a process whose
    /// program its user cannot read as not dumpable. Not where the helper writes id maps, which
    /// such a process may not.
    pub(crate) fn hide(&self) -> nix::Result<()> {
        fchmod(&self.program, Mode::from_bits_truncate(0o111))
    }

    /// Starts a helper whose standard input is its end of the control socket.
    ///
    /// Nothing of this call depends on the application's size: without a hook before the exec
    /// the standard library uses `posix_spawn`, which shares memory until the exec.
    pub(crate) fn spawn(&self, control: OwnedFd, groups: JobGroups) -> io::Result<Process> {
        reap_orphans();
        let child = Command::new(format!("/proc/self/fd/{}", self.program.as_raw_fd()))
            .arg0("sandbox-supervisor")
            .env_clear()
            .stdin(Stdio::from(control))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let running = Running(Some(Remains { child, groups, folder: None }));
        Ok(Process { running: Some(running), folder: None })
    }
}

/// A helper process that is reaped for certain.
#[derive(Debug)]
pub(crate) struct Process {
    running: Option<Running>,
    /// Removed after the helper has ended, and with it the job.
    folder: Option<HostFolder>,
}

impl Process {
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
    child: Child,
    groups: JobGroups,
    folder: Option<HostFolder>,
}

impl Remains {
    fn end(mut self) {
        wait_or_kill(&mut self.child);
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
    orphans.retain_mut(|orphan| match orphan.child.try_wait() {
        Ok(None) => true,
        _ => {
            orphan.groups.remove_now();
            false
        }
    });
}

fn wait_or_kill(child: &mut Child) {
    for round in 0..1000u64 {
        match child.try_wait() {
            // An application that ignores SIGCHLD reaps it elsewhere: that is an error, and fine.
            Ok(Some(_)) | Err(_) => return,
            Ok(None) => std::thread::sleep(Duration::from_micros(100 * (1 + round.min(50)))),
        }
    }
    // Killing the helper kills PID 1 of the job's namespace, and with it everything.
    let _ = child.kill();
    let _ = child.wait();
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
