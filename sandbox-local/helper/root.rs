//! The job's root file system.

use core::ffi::CStr;

use crate::plan::{Plan, RootStep};
use crate::protocol::{RootOp, Stage};
use crate::sys::{self, AT_FDCWD, Fd, Result};
use crate::{At, Failure};

const MS_REC_PRIVATE: usize = (1 << 14) | (1 << 18);

const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;
const MOUNT_ATTR_NOEXEC: u64 = 8;

/// Makes an empty root with a place for `/proc`, attached so that mounts can go beneath it.
pub fn create() -> core::result::Result<Fd, Failure> {
    sys::mount_propagation(c"/", MS_REC_PRIVATE).at(Stage::Propagation)?;
    let root = tmpfs(c"size=1048576,nr_inodes=4096,mode=0755").at(Stage::RootMount)?;
    sys::mkdirat(root, c"proc", 0o755).at(Stage::RootMount)?;
    // Every host has this folder; the mount hides it only here, and only until the pivot.
    sys::move_mount(root, AT_FDCWD, c"/proc").at(Stage::RootMount)?;
    Ok(root)
}

/// Mounts the procfs of the caller's pid namespace. The kernel asks for a fully visible /proc to
/// be mounted already, so this comes before the host's root is detached.
pub fn mount_proc(root: Fd) -> Result<()> {
    let context = sys::fsopen(c"proc")?;
    sys::fsconfig_create(context)?;
    let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    let fd = sys::fsmount(context, attributes)?;
    sys::move_mount(fd, root, c"proc")?;
    sys::close(fd);
    sys::close(context);
    Ok(())
}

/// Builds what the plan says beneath the root. Returns the workspace's directory.
pub fn build(plan: &Plan, root: Fd) -> core::result::Result<Fd, Failure> {
    let mut workspace = -1;
    for (index, step) in plan.root.clone().enumerate() {
        let stage = match step.op {
            RootOp::Dir | RootOp::File | RootOp::Symlink => Stage::RootEntry,
            RootOp::BindReadOnly | RootOp::BindDevice => Stage::Bind,
            RootOp::Tmpfs => Stage::Tmpfs,
        };
        let mounted = run(root, &step).at_index(stage, index)?;
        if let (RootOp::Tmpfs, Some(fd)) = (step.op, mounted) {
            // The workspace is the last tmpfs of the plan.
            workspace = fd;
        }
    }
    Ok(workspace)
}

/// Makes the root the root of every process in this mount namespace, detaches the host's and
/// forbids changes.
pub fn enter(root: Fd) -> core::result::Result<(), Failure> {
    pivot(root).at(Stage::PivotRoot)?;
    sys::mount_setattr(root, false, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        .at(Stage::RootReadOnly)?;
    sys::close(root);
    Ok(())
}

fn run(root: Fd, step: &RootStep) -> Result<Option<Fd>> {
    match step.op {
        RootOp::Dir => {
            sys::mkdirat(root, step.path, 0o755)?;
        }
        RootOp::File => {
            let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_CLOEXEC;
            let fd = sys::openat(root, step.path, flags, 0o644)?;
            sys::write(fd, step.data.to_bytes())?;
            sys::close(fd);
        }
        RootOp::Symlink => {
            sys::symlinkat(step.data, root, step.path)?;
        }
        RootOp::BindReadOnly => {
            let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
            bind(root, step, attributes)?;
        }
        RootOp::BindDevice => {
            // A device can be written on a read-only mount, but its inode cannot be changed.
            bind(root, step, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?;
        }
        RootOp::Tmpfs => {
            let fd = tmpfs(step.data)?;
            sys::move_mount(fd, root, step.path)?;
            return Ok(Some(fd));
        }
    }
    Ok(None)
}

fn bind(root: Fd, step: &RootStep, attributes: u64) -> Result<()> {
    let fd = sys::open_tree_clone(step.data)?;
    sys::mount_setattr(fd, true, attributes)?;
    sys::move_mount(fd, root, step.path)?;
    sys::close(fd);
    Ok(())
}

/// A detached tmpfs; `options` is a list of `key=value` separated by commas.
fn tmpfs(options: &CStr) -> Result<Fd> {
    let context = sys::fsopen(c"tmpfs")?;
    for option in options.to_bytes().split(|b| *b == b',') {
        let mut parts = option.splitn(2, |b| *b == b'=');
        let key = crate::text::Text::<16>::new().push(parts.next().unwrap_or(b""));
        let value = crate::text::Text::<32>::new().push(parts.next().unwrap_or(b""));
        sys::fsconfig_string(context, key.c_str(), value.c_str())?;
    }
    sys::fsconfig_create(context)?;
    let fd = sys::fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
    sys::close(context);
    Ok(fd)
}

/// `pivot_root(".", ".")` stacks the old root over the new one, from where it is detached.
fn pivot(root: Fd) -> Result<()> {
    sys::fchdir(root)?;
    sys::pivot_root(c".", c".")?;
    sys::umount_detach(c".")?;
    sys::chdir(c"/")?;
    Ok(())
}
