//! Moves bytes between the job's pipes and the application.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use sandbox_core::{Capture, Content, Event, EventSender};
use tokio::io::AsyncWriteExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::{Notify, watch};

use crate::fd;

/// Bytes that a pipe holds and that one read takes. Above 64 KiB an ordinary user may reach the
/// kernel's per-user bound on pipe memory; the pipe then keeps its default size.
const CHUNK: usize = 256 * 1024;

/// A read below this is followed by a pause, in which the pipe gathers more: a program that writes
/// byte by byte must not cost its reader more than itself.
const SHORT: usize = 4096;
const PAUSE: Duration = Duration::from_millis(2);

/// A pipe whose write end is for the job.
pub(crate) fn output_pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(CHUNK as i32));
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

/// Which stream of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Reads a stream into `capture`, delivering events while somebody listens, until its end or
/// until `dead` says that nobody is left who could write and the pipe is empty.
/// `over` is notified when the stream passes its cap.
pub(crate) async fn drain(
    pipe: pipe::Receiver,
    stream: Stream,
    capture: &mut Capture,
    events: EventSender,
    over: &Notify,
    mut dead: watch::Receiver<bool>,
) {
    let mut chunk = BytesMut::new();
    loop {
        let last = tokio::select! {
            biased;
            readable = pipe.readable() => match readable {
                Ok(()) => false,
                Err(_) => return,
            },
            _ = dead.wait_for(|dead| *dead) => true,
        };
        // The last look asks the kernel, not the runtime, which may not have seen yet that the
        // pipe is readable.
        let read = if last { read_now(&pipe, &mut chunk) } else { read_ready(&pipe, &mut chunk) };
        match read {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !last => continue,
            Err(_) => return,
        }
        let short = chunk.len() < SHORT;
        capture.push(&chunk);
        if capture.is_over() {
            over.notify_one();
        }
        if events.is_closed() {
            chunk.clear();
        } else {
            // A piece that shares the buffer would hold all of it for as long as somebody keeps it.
            let bytes = match chunk.len() < CHUNK / 2 {
                true => Bytes::copy_from_slice(&chunk),
                false => chunk.split().freeze(),
            };
            chunk.clear();
            let event = match stream {
                Stream::Stdout => Event::Stdout(bytes),
                Stream::Stderr => Event::Stderr(bytes),
            };
            events.send(event).await;
        }
        if short && !last {
            let _ = tokio::time::timeout(PAUSE, dead.wait_for(|dead| *dead)).await;
        }
    }
}

fn read_ready(pipe: &pipe::Receiver, chunk: &mut BytesMut) -> io::Result<usize> {
    chunk.reserve(CHUNK);
    pipe.try_read_buf(chunk)
}

fn read_now(pipe: &pipe::Receiver, chunk: &mut BytesMut) -> io::Result<usize> {
    chunk.resize(CHUNK, 0);
    let read = nix::unistd::read(pipe, chunk);
    chunk.truncate(read.unwrap_or(0));
    Ok(read?)
}

/// The source of the job's standard input, opened before the job starts.
#[derive(Debug)]
pub(crate) enum Input {
    Bytes(Bytes),
    File(tokio::fs::File),
    /// A pipe or terminal, which may have nothing to read for ever.
    Pollable(AsyncFd<OwnedFd>),
}

impl Input {
    /// Opens what the job reads.
    pub(crate) fn open(content: &Content) -> io::Result<Self> {
        let path = match content {
            Content::Bytes(bytes) => return Ok(Self::Bytes(bytes.clone())),
            Content::Path(path) => path,
        };
        let file = open_nonblocking(path)?;
        if file.metadata()?.is_file() {
            return Ok(Self::File(tokio::fs::File::from_std(file)));
        }
        match fd::watch(file.try_clone()?.into()) {
            Ok(fd) => Ok(Self::Pollable(fd)),
            // Devices such as /dev/null cannot be polled, and need not be: they never block.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                Ok(Self::File(tokio::fs::File::from_std(file)))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes everything into the job's pipe. A job that does not read is not an error.
    pub(crate) async fn feed(self, mut pipe: pipe::Sender) {
        // Every error means that one of the ends is closed: there is nobody left to tell.
        let _ = match self {
            Self::Bytes(bytes) => pipe.write_all(&bytes).await,
            Self::File(mut file) => tokio::io::copy(&mut file, &mut pipe).await.map(|_| ()),
            Self::Pollable(fd) => feed_pollable(fd, &mut pipe).await,
        };
    }
}

fn open_nonblocking(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)
}

async fn feed_pollable(fd: AsyncFd<OwnedFd>, pipe: &mut pipe::Sender) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut ready = fd.readable().await?;
        match ready.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), &mut buffer)?)) {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(length)) => pipe.write_all(&buffer[..length]).await?,
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}
