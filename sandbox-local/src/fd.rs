//! Descriptors, where their owners cannot be expressed in safe code: with `ipc.rs` the library's
//! only unsafe file outside tests (the helper's are `helper/sys.rs` with its folder and `helper/entry.rs`).
#![expect(unsafe_code, reason = "ownership and registration of raw descriptors")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes a descriptor that came in a message, which `nix` hands out as a number.
pub(crate) fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for our message; nobody else knows
    // its number, so nobody else closes it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Watches a descriptor for readiness to read.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names one open descriptor for as long as it lives, and AsyncFd owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}
