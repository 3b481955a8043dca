//! A job's folder on the host, where it has no file system of its own.

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::{env, io};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// A private folder with `work` and `tmp` in it, removed when dropped.
#[derive(Debug)]
pub(crate) struct HostFolder {
    path: PathBuf,
}

impl HostFolder {
    /// Makes the folder, for `owner` where that is not the application itself.
    pub(crate) fn make(owner: Option<(u32, u32)>) -> io::Result<Self> {
        let path = nix::unistd::mkdtemp(&env::temp_dir().join("sandbox-XXXXXX"))?;
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
        if fs::remove_dir_all(&self.path).is_err() {
            // A job can lock its own folders; nothing of it is alive to lock them again.
            unlock(&self.path);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Makes every folder beneath `root` removable, without following links or recursing.
fn unlock(root: &Path) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let _ = fs::set_permissions(&folder, Permissions::from_mode(0o700));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
}
