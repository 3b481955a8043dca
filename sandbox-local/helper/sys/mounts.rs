//! Namespaces and mounts.

use core::ffi::CStr;

use super::{AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, Fd, O_CLOEXEC, Result, path, syscall};
use crate::nr;

pub fn unshare(flags: u64) -> Result<usize> {
    call!(nr::UNSHARE, flags)
}

pub fn sethostname(name: &[u8]) -> Result<usize> {
    call!(nr::SETHOSTNAME, name.as_ptr(), name.len())
}

/// `mount(NULL, target, NULL, flags, NULL)`: changes propagation.
pub fn mount_propagation(target: &CStr, flags: usize) -> Result<usize> {
    call!(nr::MOUNT, 0, path(target), 0, flags, 0)
}

/// Binds `source` at `target`.
pub fn mount_bind(source: &CStr, target: &CStr) -> Result<usize> {
    const MS_BIND: usize = 0x1000;
    call!(nr::MOUNT, path(source), path(target), 0, MS_BIND, 0)
}

/// Makes what is bound at `target` read-only, without devices, programs or set-user-id.
pub fn mount_bind_read_only(target: &CStr) -> Result<usize> {
    // MS_REMOUNT | MS_BIND, and MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC.
    const FLAGS: usize = 0x1020 | 0xf;
    call!(nr::MOUNT, 0, path(target), 0, FLAGS, 0)
}

pub fn umount_detach(target: &CStr) -> Result<usize> {
    call!(nr::UMOUNT2, path(target), 2)
}

pub fn pivot_root(new: &CStr, old: &CStr) -> Result<usize> {
    call!(nr::PIVOT_ROOT, path(new), path(old))
}

pub fn fsopen(kind: &CStr) -> Result<Fd> {
    call!(nr::FSOPEN, path(kind), 1).map(|fd| fd as Fd)
}

/// `FSCONFIG_SET_STRING`.
pub fn fsconfig_string(fd: Fd, key: &CStr, value: &CStr) -> Result<usize> {
    call!(nr::FSCONFIG, fd, 1, path(key), path(value), 0)
}

/// `FSCONFIG_CMD_CREATE`.
pub fn fsconfig_create(fd: Fd) -> Result<usize> {
    call!(nr::FSCONFIG, fd, 6, 0, 0, 0)
}

pub fn fsmount(fd: Fd, attributes: u64) -> Result<Fd> {
    call!(nr::FSMOUNT, fd, 1, attributes).map(|fd| fd as Fd)
}

/// Clones the mount tree at a host path (`OPEN_TREE_CLONE`).
pub fn open_tree_clone(p: &CStr) -> Result<Fd> {
    let flags = 1 | O_CLOEXEC | AT_RECURSIVE;
    call!(nr::OPEN_TREE, AT_FDCWD, path(p), flags).map(|fd| fd as Fd)
}

/// Clones the mount at an open directory, without what is mounted beneath it.
pub fn open_tree_at(fd: Fd) -> Result<Fd> {
    let flags = 1 | O_CLOEXEC | AT_EMPTY_PATH;
    call!(nr::OPEN_TREE, fd, path(c""), flags).map(|fd| fd as Fd)
}

/// Attaches a detached mount (`MOVE_MOUNT_F_EMPTY_PATH`).
pub fn move_mount(fd: Fd, dir: Fd, p: &CStr) -> Result<usize> {
    call!(nr::MOVE_MOUNT, fd, path(c""), dir, path(p), 4)
}

pub fn mount_setattr(fd: Fd, recursive: bool, set: u64) -> Result<usize> {
    // struct mount_attr { attr_set, attr_clr, propagation, userns_fd }
    let attr = [set, 0, 0, 0];
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    call!(nr::MOUNT_SETATTR, fd, path(c""), flags, attr.as_ptr(), size_of_val(&attr))
}

/// Maps owners on a detached mount by a user namespace.
pub fn mount_setattr_owner(fd: Fd, user_namespace: Fd) -> Result<usize> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attr = [MOUNT_ATTR_IDMAP, 0, 0, user_namespace as u64];
    call!(nr::MOUNT_SETATTR, fd, path(c""), AT_EMPTY_PATH, attr.as_ptr(), size_of_val(&attr))
}
