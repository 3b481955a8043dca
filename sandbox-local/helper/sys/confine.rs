//! What a process gives up: identity, capabilities, limits, calls and files.

use core::ffi::CStr;

use super::{Fd, Result, path, syscall};
use crate::nr;

pub fn setgroups_empty() -> Result<usize> {
    call!(nr::SETGROUPS, 0, 0)
}

pub fn setresgid(id: u64) -> Result<usize> {
    call!(nr::SETRESGID, id, id, id)
}

pub fn setresuid(id: u64) -> Result<usize> {
    call!(nr::SETRESUID, id, id, id)
}

/// Names this process; a program that is executed by its descriptor is called as the number.
pub fn set_name(name: &CStr) {
    const PR_SET_NAME: usize = 15;
    let _ = call!(nr::PRCTL, PR_SET_NAME, path(name));
}

pub fn prctl(option: usize, arg: usize) -> Result<usize> {
    call!(nr::PRCTL, option, arg, 0, 0, 0)
}

/// Makes every permitted capability effective.
pub fn capset_permitted() -> Result<usize> {
    let mut header = [0x2008_0522u32, 0];
    // Effective, permitted, inheritable; then the upper halves of the same.
    let mut data = [0u32; 6];
    call!(nr::CAPGET, header.as_mut_ptr(), data.as_mut_ptr())?;
    (data[0], data[3]) = (data[1], data[4]);
    call!(nr::CAPSET, header.as_mut_ptr(), data.as_ptr())
}

/// Clears the effective, permitted and inheritable sets.
pub fn capset_empty() -> Result<usize> {
    // _LINUX_CAPABILITY_VERSION_3, this thread; three sets of two words.
    let mut header = [0x2008_0522u32, 0];
    let data = [0u32; 6];
    // The kernel writes its own version into the header when it does not know this one.
    call!(nr::CAPSET, header.as_mut_ptr(), data.as_ptr())
}

pub fn setrlimit(resource: u64, soft: u64, hard: u64) -> Result<usize> {
    let limit = [soft, hard];
    call!(nr::PRLIMIT64, 0, resource, limit.as_ptr(), 0)
}

/// Installs one filter; `program` is an array of `struct sock_filter`, 8 bytes each.
pub fn seccomp_filter(program: &[u8]) -> Result<usize> {
    #[repr(C)]
    struct Fprog {
        len: u16,
        filter: *const u8,
    }
    let prog = Fprog { len: (program.len() / 8) as u16, filter: program.as_ptr() };
    call!(nr::SECCOMP, 1, 0, &prog as *const Fprog)
}

/// The ABI version that the kernel offers.
pub fn landlock_abi() -> Result<usize> {
    call!(nr::LANDLOCK_CREATE_RULESET, 0, 0, 1)
}

/// `attr` is `{ handled_access_fs, handled_access_net, scoped }`; older ABIs take a prefix.
pub fn landlock_create(attr: &[u64]) -> Result<Fd> {
    call!(nr::LANDLOCK_CREATE_RULESET, attr.as_ptr(), size_of_val(attr), 0).map(|fd| fd as Fd)
}

/// Allows `access` beneath `parent`.
pub fn landlock_allow(ruleset: Fd, access: u64, parent: Fd) -> Result<usize> {
    // struct landlock_path_beneath_attr is packed: u64 access, s32 fd.
    let mut attr = [0u8; 12];
    attr[..8].copy_from_slice(&access.to_ne_bytes());
    attr[8..].copy_from_slice(&parent.to_ne_bytes());
    call!(nr::LANDLOCK_ADD_RULE, ruleset, 1, attr.as_ptr(), 0)
}

pub fn landlock_restrict(ruleset: Fd) -> Result<usize> {
    call!(nr::LANDLOCK_RESTRICT_SELF, ruleset, 0)
}
