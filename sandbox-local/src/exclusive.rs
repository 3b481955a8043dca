//! A user and a folder that are there for jobs alone.
//!
//! Where nothing can follow a job's processes, everything of the user is the job's: it can be
//! ended with one signal to all, which no fork outruns, and everything in the folder can go.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, geteuid};
use sandbox_core::{Error, ErrorKind, Layer, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::own::Own;
use crate::user::{Task, tasks};
use crate::{ipc, wipe};

/// Where images and hosts let everybody write.
const SHARED: [&str; 7] =
    ["/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/run/shm", "/var/crash", "/dev/mqueue"];

fn writable_besides(scratch: &Path) -> Vec<&'static str> {
    let is_elsewhere = |path: &&str| {
        std::fs::canonicalize(path).is_ok_and(|real| {
            real != scratch && nix::unistd::access(&real, nix::unistd::AccessFlags::W_OK).is_ok()
        })
    };
    SHARED.into_iter().filter(is_elsewhere).collect()
}

/// Signals sent before what is still alive counts as left.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// The right to treat every other process of the user as a job's.
#[derive(Clone, Debug)]
pub(crate) struct Exclusive {
    uid: u32,
    scratch: PathBuf,
    /// What was in the folder at the start and is not ours to remove.
    foreign: BTreeSet<CString>,
    own: Arc<Own>,
    turn: Arc<Semaphore>,
}

impl Exclusive {
    /// Claims the user and the folder, and empties the folder. What else runs as the user is
    /// ended with `evict`, and else a reason to refuse.
    pub(crate) fn claim(scratch: &Path, evict: bool) -> Result<Self> {
        let refused = |why: String| {
            Error::new(ErrorKind::Refused, "claim user and folder", why).with_layer(Layer::Cleanup)
        };
        if geteuid().is_root() {
            let why = "root is never a job's alone; run as a user of its own";
            return Err(refused(why.into()));
        }
        let uid = geteuid().as_raw();
        let mut claimed = Self {
            uid,
            scratch: scratch.to_owned(),
            foreign: BTreeSet::new(),
            own: Arc::new(Own::look().map_err(|error| refused(format!("/proc/self: {error}")))?),
            turn: Arc::new(Semaphore::new(1)),
        };
        if evict {
            claimed.end_processes().map_err(refused)?;
        }
        let others = claimed.strangers().map_err(refused)?;
        let others: Vec<_> = others.into_iter().map(|task| task.name).collect();
        if !others.is_empty() {
            let why = format!(
                "other processes of user {uid} are running ({}), and each job's end would be \
                 theirs; give the sandbox a user of its own",
                others.join(", ")
            );
            return Err(refused(why));
        }
        let left = wipe::empty(scratch).map_err(|errno| {
            refused(format!("{} cannot be emptied: {}", scratch.display(), errno.desc()))
        })?;
        if let Some(own) = left.iter().find(|name| wipe::is_owned_by(scratch, name, uid)) {
            let why = format!("{own:?} of this user cannot be removed from {}", scratch.display());
            return Err(refused(why));
        }
        claimed.foreign = left.into_iter().collect();
        Ok(claimed)
    }

    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Folders that a job can write besides the one that is emptied.
    pub(crate) fn writable_elsewhere(&self) -> Vec<&'static str> {
        writable_besides(&self.scratch)
    }

    /// Waits for the previous job's end: jobs run one at a time.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.turn).acquire_owned().await.map_err(|error| {
            Error::new(ErrorKind::Backend, "wait for the previous job", error.to_string())
        })
    }

    /// Living processes of the user besides this one.
    fn strangers(&self) -> std::result::Result<Vec<Task>, String> {
        let mut found = tasks(self.uid).map_err(|error| format!("/proc: {error}"))?;
        // PID 1 cannot be ended; where it has this user, it is the platform's.
        found.retain(|task| task.pid != std::process::id() && task.pid != 1 && !task.zombie);
        Ok(found)
    }

    /// Ends every other process of the user. Blocks for at most a fifth of a second.
    ///
    /// # Errors
    ///
    /// What is left.
    pub(crate) fn end_processes(&self) -> std::result::Result<(), String> {
        for _ in 0..ROUNDS {
            if geteuid().is_root() || geteuid().as_raw() != self.uid {
                return Err("the user of this process has changed".into());
            }
            // All at once, and before any look: one signal after another loses against a program
            // that keeps forking, and a look can be deceived.
            match kill(Pid::from_raw(-1), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(format!("kill: {}", errno.desc())),
            }
            self.reap();
            if self.strangers()?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        let left: Vec<_> = self.strangers()?.into_iter().map(|task| task.name).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("still alive: {}", left.join(", "))) }
    }

    /// Waits for orphans that became this process's children, as they do where it is PID 1 or a
    /// subreaper.
    fn reap(&self) {
        let zombies = tasks(self.uid).unwrap_or_default().into_iter().filter(|task| task.zombie);
        for pid in zombies.filter_map(|task| i32::try_from(task.pid).ok()) {
            // An error means that it is somebody else's child.
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
    }

    /// Empties the folder, removes what outlives processes, and compares this process with what it
    /// was: whoever has its user can change its limits.
    ///
    /// # Errors
    ///
    /// What is left, or was changed.
    pub(crate) fn wipe(&self) -> std::result::Result<(), String> {
        let folder = self.scratch.display();
        ipc::remove(self.uid)?;
        self.own.check()?;
        let left = wipe::empty(&self.scratch).map_err(|e| format!("{folder}: {}", e.desc()))?;
        let left: Vec<_> = left.iter().filter(|name| !self.foreign.contains(*name)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{folder} still holds {left:?}")) }
    }

    /// Both, and whether this process is as it was.
    pub(crate) fn sweep(&self) -> std::result::Result<(), String> {
        self.end_processes()?;
        self.wipe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folder_that_is_emptied_may_be_writable() {
        let found = writable_besides(Path::new("/tmp"));
        assert!(found.contains(&"/var/tmp") && !found.contains(&"/tmp"), "{found:?}");
        assert!(writable_besides(Path::new("/var/tmp")).contains(&"/tmp"));
    }
}
