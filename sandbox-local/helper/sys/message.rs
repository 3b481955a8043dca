//! Frames with descriptors on a socket.

use super::{Fd, Result, syscall};
use crate::nr;

#[repr(C)]
struct MsgHdr {
    name: usize,
    name_len: u32,
    iov: *mut [usize; 2],
    iov_len: usize,
    control: *mut u8,
    control_len: usize,
    flags: i32,
}

/// Most descriptors that one message carries.
const MAX_FDS: usize = 2;
const CMSG_HEADER: usize = 16;

#[repr(C, align(8))]
struct Control([u8; CMSG_HEADER + MAX_FDS * 4]);

/// Sends one frame with descriptors; never raises SIGPIPE.
pub fn send(socket: Fd, data: &[u8], fds: &[Fd]) -> Result<usize> {
    let mut iov = [data.as_ptr() as usize, data.len()];
    let mut control = Control([0; CMSG_HEADER + MAX_FDS * 4]);
    let length = CMSG_HEADER + size_of_val(fds);
    control.0[..8].copy_from_slice(&(length as u64).to_ne_bytes());
    control.0[8..12].copy_from_slice(&1u32.to_ne_bytes()); // SOL_SOCKET
    control.0[12..16].copy_from_slice(&1u32.to_ne_bytes()); // SCM_RIGHTS
    for (slot, fd) in control.0[CMSG_HEADER..].chunks_exact_mut(4).zip(fds) {
        slot.copy_from_slice(&fd.to_ne_bytes());
    }
    let message = MsgHdr {
        name: 0,
        name_len: 0,
        iov: &raw mut iov,
        iov_len: 1,
        control: control.0.as_mut_ptr(),
        control_len: if fds.is_empty() { 0 } else { length.next_multiple_of(8) },
        flags: 0,
    };
    call!(nr::SENDMSG, socket, &message as *const MsgHdr, 0x4000)
}
