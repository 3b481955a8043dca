//! Sealed files in memory.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

/// A memfd's content can be data or a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Program,
}

/// Writes `content` into a memfd that nobody can change afterwards.
pub(crate) fn sealed(kind: Kind, content: &[u8]) -> nix::Result<OwnedFd> {
    // Linux 6.3 wants to know, and sysctl vm.memfd_noexec can forbid programs; before, both
    // flags are unknown and every memfd can be executed.
    const MFD_NOEXEC_SEAL: u32 = 0x8;
    const MFD_EXEC: u32 = 0x10;
    let (name, wish) = match kind {
        Kind::Data => (c"sandbox-plan", MFD_NOEXEC_SEAL),
        Kind::Program => (c"sandbox-helper", MFD_EXEC),
    };
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = match memfd_create(name, flags | MFdFlags::from_bits_retain(wish)) {
        Err(Errno::EINVAL) => memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(content).map_err(errno_of)?;
    if kind == Kind::Program {
        fchmod(&file, Mode::from_bits_truncate(0o555))?;
    }
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

pub(crate) fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
