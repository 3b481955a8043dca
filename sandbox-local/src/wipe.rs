//! Removes what a dead job left.
//!
//! Names, depth and modes are hostile, but nothing changes them any more. Paths are never built:
//! each step is a name in an open folder, so no link is followed and no path is too long. A
//! folder inside a folder is first moved to the top, so depth costs neither stack nor descriptors.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmod, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Empties `folder`, which stays. Returns the names of entries that could not be removed.
pub(crate) fn empty(folder: &Path) -> nix::Result<Vec<CString>> {
    if let Ok(now) = nix::sys::stat::stat(folder)
        && now.st_mode & libc::S_IRWXU != libc::S_IRWXU
    {
        // A job can lock this one too, where it is its user's.
        let mode = Mode::from_bits_truncate(now.st_mode) | Mode::S_IRWXU;
        let _ = fchmodat(AT_FDCWD, folder, mode, FchmodatFlags::FollowSymlink);
    }
    let top = open(folder, FOLDER, Mode::empty())?;
    let mut moved = 0;
    loop {
        let mut left = Vec::new();
        let mut progress = false;
        for (name, is_folder) in entries(&top)? {
            let removed = match is_folder {
                false => unlinkat(top.as_fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir),
                true => remove_folder(&top, &name, &mut moved),
            };
            match removed {
                Ok(()) | Err(Errno::ENOENT) => progress = true,
                Err(_) => left.push(name),
            }
        }
        // What was moved to the top is there for the next round.
        if !progress || left.is_empty() && entries(&top)?.is_empty() {
            return Ok(left);
        }
    }
}

/// Empties `top` of everything but the files at these paths and the folders above them. Returns how
/// many entries could not be removed.
pub(crate) fn retain(top: &OwnedFd, kept: &BTreeSet<&str>) -> nix::Result<usize> {
    let is_kept = |path: &str| {
        let next = kept.range(path..).next();
        next.is_some_and(|next| {
            next.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let (mut left, mut moved) = (0, 0);
    // Folders on the way to what is kept are looked into, the top among them.
    let mut folders = vec![String::new()];
    while let Some(path) = folders.pop() {
        let folder = open_path(top, &path)?;
        // A job can lock its own folders. What cannot be unlocked shows when its entries are removed.
        let _ = fchmod(&folder, Mode::S_IRWXU);
        for (name, is_folder) in entries(&folder)? {
            let separator = if path.is_empty() { "" } else { "/" };
            let full = name.to_str().map(|name| format!("{path}{separator}{name}"));
            match full {
                Ok(full) if is_kept(&full) => {
                    if is_folder {
                        folders.push(full);
                    }
                }
                _ => {
                    let removed = match is_folder {
                        false => {
                            unlinkat(folder.as_fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir)
                        }
                        true => unlock(&folder, &name)
                            .and_then(|()| lift(&folder, &name, top, &mut moved)),
                    };
                    left += usize::from(removed.is_err());
                }
            }
        }
    }
    // What was moved to the top goes with what it holds.
    loop {
        let mut progress = false;
        for (name, is_folder) in entries(top)? {
            if is_folder && name.to_str().map_or(true, |name| !is_kept(name)) {
                progress |= remove_folder(top, &name, &mut moved).is_ok();
            }
        }
        if !progress {
            return Ok(left);
        }
    }
}

/// Opens a folder beneath `top` by single names, none of which is followed.
fn open_path(top: &OwnedFd, path: &str) -> nix::Result<OwnedFd> {
    let mut folder = openat(top.as_fd(), ".", FOLDER, Mode::empty())?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        folder = open_within(&folder, name)?;
    }
    Ok(folder)
}

/// Opens a folder in another, on the same file system: nothing that is mounted there is touched.
fn open_within<P: ?Sized + nix::NixPath>(folder: &OwnedFd, name: &P) -> nix::Result<OwnedFd> {
    let inner = openat(folder.as_fd(), name, FOLDER, Mode::empty())?;
    match fstat(&inner)?.st_dev == fstat(folder)?.st_dev {
        true => Ok(inner),
        false => Err(Errno::EXDEV),
    }
}

/// Whether an entry of `folder` is that user's.
pub(crate) fn is_owned_by(folder: &Path, name: &CStr, uid: u32) -> bool {
    let top = open(folder, FOLDER, Mode::empty());
    top.is_ok_and(|top| stat(&top, name).is_ok_and(|found| found.st_uid == uid))
}

/// Removes `folder` with everything in it.
pub(crate) fn remove(folder: &Path) -> nix::Result<()> {
    let left = empty(folder)?;
    if left.is_empty() {
        unlinkat(AT_FDCWD, folder, UnlinkatFlags::RemoveDir)
    } else {
        Err(Errno::ENOTEMPTY)
    }
}

fn remove_folder(top: &OwnedFd, name: &CStr, moved: &mut u64) -> nix::Result<()> {
    unlock(top, name)?;
    let folder = open_within(top, name)?;
    let mut last = Ok(());
    for (child, is_folder) in entries(&folder)? {
        let gone = if is_folder {
            // To move a folder elsewhere is to change its own entry "..".
            unlock(&folder, &child).and_then(|()| lift(&folder, &child, top, moved))
        } else {
            unlinkat(folder.as_fd(), child.as_c_str(), UnlinkatFlags::NoRemoveDir)
        };
        last = last.and(gone);
    }
    last?;
    unlinkat(top.as_fd(), name, UnlinkatFlags::RemoveDir)
}

/// Moves a folder to the top under a name that nobody has.
fn lift(folder: &OwnedFd, child: &CStr, top: &OwnedFd, moved: &mut u64) -> nix::Result<()> {
    loop {
        *moved += 1;
        let name = format!(".wipe-{moved}");
        if stat(top, name.as_str()) == Err(Errno::ENOENT) {
            return renameat(folder.as_fd(), child, top.as_fd(), name.as_str());
        }
    }
}

fn stat<P: ?Sized + nix::NixPath>(folder: &OwnedFd, name: &P) -> nix::Result<FileStat> {
    fstatat(folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// A job can lock its own folders.
fn unlock(folder: &OwnedFd, name: &CStr) -> nix::Result<()> {
    fchmodat(folder.as_fd(), name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)
        .or_else(|_| fchmodat(folder.as_fd(), name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink))
}

/// The names in a folder, and which of them are folders.
fn entries(folder: &OwnedFd) -> nix::Result<Vec<(CString, bool)>> {
    let mut dir = Dir::openat(folder, ".", FOLDER, Mode::empty())?;
    let mut found = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let is_folder = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => stat(folder, name)?.st_mode & libc::S_IFMT == libc::S_IFDIR,
        };
        found.push((name.to_owned(), is_folder));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use nix::sys::stat::mkdirat;

    use super::*;

    #[test]
    fn everything_goes_but_what_is_kept() {
        let dir = tempfile::tempdir().expect("tempdir");
        let top = dir.path();
        for folder in ["a/b", "a/c/d/e", "ab", "z"] {
            fs::create_dir_all(top.join(folder)).expect("mkdir");
        }
        for file in ["a/b/kept", "a/b/gone", "a/c/d/e/gone", "ab/kept", "a/kept2", "z/gone", "gone"]
        {
            fs::write(top.join(file), "1").expect("write");
        }
        symlink("/etc", top.join("a/link")).expect("link");
        fs::set_permissions(top.join("a/b"), Permissions::from_mode(0o500)).expect("chmod");
        let folder = open(top, FOLDER, Mode::empty()).expect("open");
        let kept = BTreeSet::from(["a/b/kept", "ab/kept"]);
        assert_eq!(retain(&folder, &kept), Ok(0));
        let mut left = Vec::new();
        let mut folders = vec![top.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("dir").flatten() {
                let path = entry.path();
                left.push(path.strip_prefix(top).expect("beneath").display().to_string());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        left.sort();
        assert_eq!(left, ["a", "a/b", "a/b/kept", "ab", "ab/kept"]);
    }

    #[test]
    fn hostile_trees_are_removed_and_nothing_beside_them() {
        let dir = tempfile::tempdir().expect("tempdir");
        let outside = tempfile::tempdir().expect("tempdir");
        fs::write(outside.path().join("kept"), "1").expect("write");
        let top = dir.path().join("top");
        fs::create_dir(&top).expect("mkdir");
        symlink(outside.path(), top.join("link")).expect("link");
        fs::create_dir_all(top.join("locked/inner")).expect("mkdir");
        fs::write(top.join("locked/inner/file"), "1").expect("write");
        for folder in ["locked/inner", "locked"] {
            fs::set_permissions(top.join(folder), Permissions::from_mode(0o000)).expect("chmod");
        }
        // A path far longer than PATH_MAX, beside a name that the wipe itself would choose.
        let mut folder = open(&top, FOLDER, Mode::empty()).expect("open");
        let name = "d".repeat(60);
        for _ in 0..300 {
            mkdirat(folder.as_fd(), name.as_str(), Mode::S_IRWXU).expect("mkdir");
            folder = openat(folder.as_fd(), name.as_str(), FOLDER, Mode::empty()).expect("open");
        }
        fs::create_dir(top.join(".wipe-1")).expect("mkdir");

        remove(&top).expect("removed");
        assert!(!top.exists());
        assert_eq!(fs::read(outside.path().join("kept")).expect("kept"), b"1");
    }
}
