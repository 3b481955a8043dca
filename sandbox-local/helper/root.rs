//! The job's root file system.

use core::ffi::CStr;

use crate::plan::{Plan, RootStep};
use crate::protocol::{RootOp, Stage};
use crate::sys::{self, AT_FDCWD, Fd, Result};
use crate::{At, Failure};

/// Files of `/proc` that tell about the whole host and that programs do without: counters that jobs
/// could talk by, locks and users of others. Until the pivot, the new root is at `/proc`.
const HOST_FILES: [&CStr; 13] = [
    c"/proc/proc/buddyinfo",
    c"/proc/proc/cgroups",
    c"/proc/proc/crypto",
    c"/proc/proc/diskstats",
    c"/proc/proc/interrupts",
    c"/proc/proc/key-users",
    c"/proc/proc/locks",
    c"/proc/proc/modules",
    c"/proc/proc/schedstat",
    c"/proc/proc/softirqs",
    c"/proc/proc/swaps",
    c"/proc/proc/vmstat",
    c"/proc/proc/zoneinfo",
];
/// Folders of that kind: file systems, open files of all, and how long processes wait.
const HOST_FOLDERS: [&CStr; 3] = [c"/proc/proc/fs", c"/proc/proc/pressure", c"/proc/proc/sys/fs"];

/// Devices by the end of their path: major and minor number, as in the kernel's list.
const DEVICES: [(&[u8], usize, usize); 5] = [
    (b"/null", 1, 3),
    (b"/zero", 1, 5),
    (b"/full", 1, 7),
    (b"/random", 1, 8),
    (b"/urandom", 1, 9),
];

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

/// Hides what the new `/proc` tells about the whole host. What this kernel does not have needs no
/// hiding. `owned`: the job's user owns what hides it, and is kept from writing there by the mount.
///
/// With mount(2), because each call of the newer interface takes a lock that the supervisor, which
/// mounts meanwhile, takes too.
pub fn mask_proc(root: Fd, owned: bool) -> Result<()> {
    let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_CLOEXEC;
    sys::close(sys::openat(root, c"file", flags, 0o444)?);
    sys::mkdirat(root, c"folder", 0o555)?;
    let files = HOST_FILES.iter().map(|path| (c"/proc/file", path));
    let folders = HOST_FOLDERS.iter().map(|path| (c"/proc/folder", path));
    for (blank, path) in files.chain(folders) {
        match sys::mount_bind(blank, path) {
            Ok(_) if owned => sys::mount_bind_read_only(path).map(|_| ())?,
            Ok(_) | Err(sys::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    // What is mounted needs no name.
    sys::unlinkat(root, c"file")?;
    sys::rmdirat(root, c"folder").map(|_| ())
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
    let (mut workspace, mut devices) = (-1, -1);
    for (index, step) in plan.root.clone().enumerate() {
        let stage = match step.op {
            RootOp::Dir | RootOp::File | RootOp::Copy | RootOp::Symlink => Stage::RootEntry,
            RootOp::BindReadOnly | RootOp::Device => Stage::Bind,
            RootOp::Tmpfs | RootOp::Devices => Stage::Tmpfs,
        };
        match (step.op, run(root, &step).at_index(stage, index)?) {
            // The workspace is the last tmpfs of the plan.
            (RootOp::Tmpfs, Some(fd)) => workspace = fd,
            (RootOp::Devices, Some(fd)) => devices = fd,
            _ => {}
        }
    }
    if devices != -1 {
        // A device can be written on a read-only mount, but its inode cannot be changed.
        let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
        sys::mount_setattr(devices, false, attributes).at(Stage::RootReadOnly)?;
        sys::close(devices);
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
        RootOp::File | RootOp::Copy => file(root, step.path, step.data.to_bytes())?,
        RootOp::Symlink => {
            sys::symlinkat(step.data, root, step.path)?;
        }
        RootOp::BindReadOnly => {
            let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
            bind(root, step, attributes)?;
        }
        RootOp::Device => {
            if make_device(root, step).is_err() {
                // An ordinary user makes no devices. The host's has locks that others see.
                file(root, step.path, b"")?;
                bind(root, step, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?;
            }
        }
        RootOp::Tmpfs | RootOp::Devices => {
            let fd = match step.op {
                RootOp::Devices => tmpfs_with(c"size=65536,nr_inodes=64,mode=0755", 0)?,
                _ => tmpfs(step.data)?,
            };
            sys::move_mount(fd, root, step.path)?;
            return Ok(Some(fd));
        }
    }
    Ok(None)
}

fn file(root: Fd, path: &CStr, content: &[u8]) -> Result<()> {
    let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_CLOEXEC;
    let fd = sys::openat(root, path, flags, 0o644)?;
    let written = sys::write(fd, content);
    sys::close(fd);
    written.map(|_| ())
}

/// A device node of the job's own: nobody else can lock or watch it.
fn make_device(root: Fd, step: &RootStep) -> Result<()> {
    let path = step.path.to_bytes();
    let (_, major, minor) =
        DEVICES.iter().find(|(name, ..)| path.ends_with(name)).ok_or(sys::EINVAL)?;
    sys::mknodat(root, step.path, 0o666, *major, *minor).map(|_| ())
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
    tmpfs_with(options, MOUNT_ATTR_NODEV)
}

fn tmpfs_with(options: &CStr, attributes: u64) -> Result<Fd> {
    let context = sys::fsopen(c"tmpfs")?;
    for option in options.to_bytes().split(|b| *b == b',') {
        let mut parts = option.splitn(2, |b| *b == b'=');
        let key = crate::text::Text::<16>::new().push(parts.next().unwrap_or(b""));
        let value = crate::text::Text::<32>::new().push(parts.next().unwrap_or(b""));
        sys::fsconfig_string(context, key.c_str(), value.c_str())?;
    }
    sys::fsconfig_create(context)?;
    let fd = sys::fsmount(context, MOUNT_ATTR_NOSUID | attributes)?;
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
