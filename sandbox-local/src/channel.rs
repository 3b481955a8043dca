//! The control socket between the application and one helper.

use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, socketpair};
use tokio::io::unix::AsyncFd;

use crate::fd;
use crate::protocol::{MESSAGE_WORDS, Stage, kind};

/// A message from the helper.
#[derive(Debug)]
pub(crate) enum Message {
    /// Set-up failed and nothing is left.
    Failed(SetupFailure),
    /// The ids of the helper's user namespace are to be mapped.
    Map,
    /// The workspace is mounted.
    Ready { workspace: OwnedFd, init: OwnedFd },
    /// The same, but the kernel lets this user send no descriptor: the workspace is this one of the
    /// helper's.
    ReadyAt { workspace: RawFd },
    /// The program was executed.
    Started,
    /// Everything is dead.
    Finished([u64; MESSAGE_WORDS]),
}

/// The step of the set-up that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetupFailure {
    pub(crate) stage: Stage,
    pub(crate) index: usize,
    pub(crate) errno: Errno,
}

/// The application's end.
#[derive(Debug)]
pub(crate) struct Control {
    socket: AsyncFd<OwnedFd>,
}

/// A pair of sockets: ours, to be made into a [`Control`], and the helper's.
pub(crate) fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
}

impl Control {
    pub(crate) fn new(socket: OwnedFd) -> std::io::Result<Self> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { socket: fd::watch(socket)? })
    }

    /// Sends [`GO`](crate::protocol::GO), [`KILL`](crate::protocol::KILL) or
    /// [`MAPPED`](crate::protocol::MAPPED). A helper that is gone shows on the next receive.
    pub(crate) fn tell(&self, byte: u8) {
        let _ = nix::unistd::write(self.socket.as_fd(), &[byte]);
    }

    /// The next message; `None` when the helper is gone. Cancel-safe.
    pub(crate) async fn receive(&self) -> std::io::Result<Option<Message>> {
        loop {
            let mut ready = self.socket.readable().await?;
            match receive_now(self.socket.get_ref()) {
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                // The helper ended with a message of ours unread. The kernel says so once, before
                // it hands out what the helper still sent.
                Err(Errno::ECONNRESET) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// The descriptors in a control message. Read here, because `nix` hands out none of those that have
/// come when others have not, and nobody would close them.
fn descriptors(control: &[u8]) -> Vec<OwnedFd> {
    // struct cmsghdr: length (with the header), level, type; then the descriptors.
    const HEADER: usize = 16;
    let word = |at: usize| control.get(at..at + 4).and_then(|word| word.try_into().ok());
    let number = |at: usize| word(at).map(i32::from_ne_bytes);
    let length = control.first_chunk::<8>().map_or(0, |length| u64::from_ne_bytes(*length));
    if number(8) != Some(libc::SOL_SOCKET) || number(12) != Some(libc::SCM_RIGHTS) {
        return Vec::new();
    }
    let end = usize::try_from(length).unwrap_or(0).min(control.len());
    (HEADER..end).step_by(4).filter_map(number).map(fd::received).collect()
}

fn receive_now(socket: &OwnedFd) -> nix::Result<Option<Message>> {
    let mut frame = [0u8; MESSAGE_WORDS * 8];
    // Room for more than is ever sent: the kernel drops what does not fit, padding included.
    let mut space = cmsg_space!([RawFd; 8]);
    let (length, cut) = {
        let mut iov = [IoSliceMut::new(&mut frame)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
        (message.bytes, message.flags.contains(MsgFlags::MSG_CTRUNC))
    };
    let mut fds = descriptors(&space).into_iter();
    if cut {
        // This process may not have as many descriptors as came; those that it has are closed here.
        return Err(Errno::EMFILE);
    }
    if length != frame.len() {
        return Ok(None);
    }
    let mut words = [0u64; MESSAGE_WORDS];
    for (word, bytes) in words.iter_mut().zip(frame.chunks_exact(8)) {
        *word = bytes.try_into().map(u64::from_ne_bytes).unwrap_or(0);
    }
    Ok(match (words[0], fds.next(), fds.next()) {
        (kind::FAILED, ..) => Stage::from_number(words[1]).map(|stage| {
            let errno = Errno::from_raw(i32::try_from(words[3]).unwrap_or(libc::EIO));
            let index = usize::try_from(words[2]).unwrap_or(0);
            Message::Failed(SetupFailure { stage, index, errno })
        }),
        (kind::READY, Some(workspace), Some(init)) => Some(Message::Ready { workspace, init }),
        (kind::READY_AT, ..) => {
            RawFd::try_from(words[1]).ok().map(|workspace| Message::ReadyAt { workspace })
        }
        (kind::MAP, ..) => Some(Message::Map),
        (kind::STARTED, ..) => Some(Message::Started),
        (kind::FINISHED, ..) => Some(Message::Finished(words)),
        _ => None,
    })
}
