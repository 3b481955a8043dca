//! A job's folder on the host, where it has no file system of its own.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::wipe;

/// A private folder with `work` and `tmp` in it, removed when dropped.
#[derive(Debug)]
pub(crate) struct HostFolder {
    path: PathBuf,
}

impl HostFolder {
    /// Makes the folder, for `owner` where that is not the application itself.
    pub(crate) fn make(parent: &Path, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let path = nix::unistd::mkdtemp(&parent.join("sandbox-XXXXXX"))?;
        let folder = Self { path };
        for name in ["work", "tmp", "."] {
            let path = folder.path.join(name);
            if name != "." {
                fs::create_dir(&path)?;
            }
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            if let Some((uid, gid)) = owner {
                chown(&path, Some(uid), Some(gid))?;
            }
        }
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> String {
        self.path.join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn open_workspace(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(open(&self.path.join("work"), flags, Mode::empty())?)
    }
}

impl Drop for HostFolder {
    fn drop(&mut self) {
        // What cannot be removed is found by whoever looks next; nobody can be told here.
        let _ = wipe::remove(&self.path);
    }
}
