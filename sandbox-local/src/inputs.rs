//! Places input files in the workspace.
//!
//! The workspace is the job's own file system, reached through one directory descriptor; nothing
//! of the job has run yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, fchownat, setfsgid, setfsuid};
use sandbox_core::{Content, Error, ErrorKind, Limits, RelPath, Size};

/// An input whose source is open.
#[derive(Debug)]
pub(crate) enum Source {
    Bytes(Bytes),
    File(File, String),
}

/// Opens every source, so that a missing one is an error before anything is started.
pub(crate) fn open(files: &BTreeMap<RelPath, Content>) -> Result<Vec<(RelPath, Source)>, Error> {
    let source = |path: &RelPath, content: &Content| match content {
        Content::Bytes(bytes) => Ok(Source::Bytes(bytes.clone())),
        Content::Path(from) => open_regular(from)
            .map(|file| Source::File(file, from.display().to_string()))
            .map_err(|error| {
                let message = format!("cannot read {} for {path}: {error}", from.display());
                Error::new(kind_of(&error), "read input", message).with_source(error)
            }),
    };
    files.iter().map(|(path, content)| Ok((path.clone(), source(path, content)?))).collect()
}

/// Bytes of all inputs, as far as they are known before they are read.
pub(crate) fn total(sources: &[(RelPath, Source)]) -> u64 {
    let size = |source: &Source| match source {
        Source::Bytes(bytes) => bytes.len() as u64,
        Source::File(file, _) => file.metadata().map_or(0, |metadata| metadata.len()),
    };
    sources.iter().map(|(_, source)| size(source)).sum()
}

/// Refuses inputs that leave the job no memory: a workspace is memory, and they are in it.
pub(crate) fn check_room(inputs: u64, limits: &Limits) -> Result<(), Error> {
    const LEAST: u64 = 4 << 20;
    if inputs.saturating_add(LEAST) <= limits.memory.as_u64() {
        return Ok(());
    }
    let message = format!(
        "inputs of {} do not fit into memory of {}, of which files are a part; raise limits.memory",
        Size::b(inputs),
        limits.memory
    );
    Err(Error::new(ErrorKind::InvalidJob, "files", message))
}

/// Whose fault an error is: too many open files say nothing about this one.
pub(crate) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => ErrorKind::HostExhausted,
        _ => ErrorKind::Input,
    }
}

fn open_regular(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Non-blocking, so that a FIFO without a writer is an error and not a hang.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// How an input looked when it was placed: tells whether the job changed it.
pub(crate) type Stamps = BTreeMap<String, Stamp>;

/// What a job that writes to a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The identity by which this thread makes files; taken back when dropped.
struct FileIdentity(Uid, Gid);

impl FileIdentity {
    fn take((uid, gid): (u32, u32)) -> Self {
        let gid = setfsgid(Gid::from_raw(gid));
        Self(setfsuid(Uid::from_raw(uid)), gid)
    }
}

impl Drop for FileIdentity {
    fn drop(&mut self) {
        setfsuid(self.0);
        setfsgid(self.1);
    }
}

/// Writes the inputs beneath `workspace`, owned by `owner` where the application may give files
/// away. `as_owner`: the workspace is of a user namespace that knows nobody else, not even root.
pub(crate) fn place(
    workspace: &OwnedFd,
    inputs: Vec<(RelPath, Source)>,
    owner: Option<(u32, u32)>,
    as_owner: bool,
) -> Result<Stamps, Error> {
    let _identity = owner.filter(|_| as_owner).map(FileIdentity::take);
    let owner = owner.filter(|_| !as_owner);
    let mut stamps = Stamps::new();
    let mut folders = BTreeSet::new();
    for (path, source) in inputs {
        let stamp = place_one(workspace, &path, source, owner, &mut folders)?;
        stamps.insert(path.to_string(), stamp);
    }
    Ok(stamps)
}

fn place_one(
    workspace: &OwnedFd,
    path: &RelPath,
    source: Source,
    owner: Option<(u32, u32)>,
    folders: &mut BTreeSet<String>,
) -> Result<Stamp, Error> {
    let failed = |error: io::Error| {
        let why = match error.raw_os_error() {
            Some(libc::ENOSPC) => "it does not fit into the workspace; raise limits.workspace or \
                                   limits.files"
                .to_owned(),
            _ => error.to_string(),
        };
        Error::new(kind_of(&error), "place input", format!("{path}: {why}")).with_source(error)
    };
    let give = |name: &str| match owner {
        None => Ok(()),
        Some((uid, gid)) => {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(workspace.as_fd(), name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
        }
    };
    for (end, _) in path.as_str().match_indices('/') {
        let folder = &path.as_str()[..end];
        if folders.insert(folder.to_owned()) {
            match mkdirat(workspace.as_fd(), folder, Mode::from_bits_truncate(0o755)) {
                Ok(()) => give(folder).map_err(|errno| failed(errno.into()))?,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }
    // Nothing of the job has run, so that no folder on the way can be a link.
    let flags =
        OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // A program stays one.
    let executable = match &source {
        Source::File(from, _) => from.metadata().is_ok_and(|metadata| metadata.mode() & 0o111 != 0),
        Source::Bytes(_) => false,
    };
    let mode = Mode::from_bits_truncate(if executable { 0o755 } else { 0o644 });
    let file = openat(workspace.as_fd(), path.as_str(), flags, mode);
    let mut file = File::from(file.map_err(|errno| failed(errno.into()))?);
    match source {
        Source::Bytes(bytes) => io::Write::write_all(&mut file, &bytes).map_err(failed)?,
        Source::File(mut from, name) => {
            let expected = from.metadata().map(|metadata| metadata.len()).map_err(failed)?;
            let copied = io::copy(&mut from, &mut file).map_err(failed)?;
            if copied < expected {
                let message = format!("{name} shrank from {expected} to {copied} bytes while read");
                return Err(Error::new(ErrorKind::Input, "read input", message));
            }
        }
    }
    give(path.as_str()).map_err(|errno| failed(errno.into()))?;
    // File times advance in ticks of some milliseconds, and a job can be faster than that: with a
    // time of modification in the past, any write shows.
    let past = SystemTime::now() - Duration::from_secs(1);
    file.set_modified(past).and_then(|()| Stamp::of(&file)).map_err(failed)
}
