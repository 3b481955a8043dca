//! Collects artifacts after everything of the job is dead.
//!
//! Names, kinds, sizes and contents are hostile, but nothing changes them any more. Each entry is
//! opened beneath its folder's descriptor, by one name and without following links or blocking.
//! Artifacts that are too large for memory stay in the job's workspace, which is emptied of
//! everything else; together they hold one descriptor.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use sandbox_core::{Artifact, ArtifactContent, JobSpec, RelPath, Skipped};
use sha2::{Digest as _, Sha256};

use crate::inputs::{Stamp, Stamps};
use crate::wipe;

/// Folders nested deeper are not looked into: each level holds a descriptor.
const MAX_DEPTH: usize = 64;
/// Skipped entries beyond this are only counted.
const MAX_SKIPPED: usize = 1000;
/// Bytes of their paths, which a job can make a thousand times as long as usual.
const SKIPPED_ROOM: usize = 256 * 1024;
const CHUNK: usize = 256 * 1024;
/// Files up to this size are read at once: thousands of them need no workspace.
const SMALL: u64 = 16 * 1024;
/// Bytes of small files that are kept in memory; later ones stay in the workspace.
const SMALL_ROOM: u64 = 16 << 20;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) skipped: Vec<Skipped>,
    /// The artifact caps left something out.
    pub(crate) over_caps: bool,
    /// Some file is as large as a file may be.
    pub(crate) file_at_size_limit: bool,
}

/// The folder of a dead job, which some artifact still needs.
#[derive(Debug)]
pub(crate) struct Workspace {
    dir: OwnedFd,
    _kept: Kept,
}

/// One of the workspaces that artifacts of an executor keep open.
#[derive(Debug)]
pub(crate) struct Kept(Arc<AtomicUsize>);

impl Kept {
    /// Counts one more in `all`.
    pub(crate) fn one_of(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the bytes of a large artifact are.
#[derive(Clone, Debug)]
enum Place {
    /// A file whose folder goes with its job.
    Open(Arc<File>),
    /// A file that stays in its workspace.
    Beneath(Arc<Workspace>, RelPath),
}

/// A regular file in a workspace whose job is dead.
#[derive(Debug)]
struct FileContent {
    place: Place,
    inode: u64,
    size: u64,
}

impl FileContent {
    fn open(place: &Place, inode: u64) -> io::Result<Arc<File>> {
        let (workspace, path) = match place {
            Place::Open(file) => return Ok(Arc::clone(file)),
            Place::Beneath(workspace, path) => (workspace, path),
        };
        let mut folder = None;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let within = folder.as_ref().unwrap_or(&workspace.dir);
            if names.peek().is_none() {
                let file = open_file(within, name.as_bytes())?;
                return match file.metadata()?.ino() == inode {
                    true => Ok(Arc::new(file)),
                    false => Err(io::Error::other("the file is another one")),
                };
            }
            folder = Some(open_directory(within, name.as_bytes())?);
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

impl ArtifactContent for FileContent {
    fn stream(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let (size, inode) = (self.size, self.inode);
        let start = (0, self.place.clone());
        stream::try_unfold(start, move |(offset, place)| async move {
            if offset >= size {
                return Ok(None);
            }
            let length = CHUNK.min(usize::try_from(size - offset).unwrap_or(CHUNK));
            let read = move || {
                let file = Self::open(&place, inode)?;
                let mut chunk = vec![0; length];
                file.read_exact_at(&mut chunk, offset)?;
                // Open until its end: a stream that is not read to there holds no descriptor.
                Ok::<_, io::Error>((chunk, Place::Open(file)))
            };
            let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
            let (chunk, place) = read;
            let next = offset + chunk.len() as u64;
            Ok(Some((Bytes::from(chunk), (next, place))))
        })
        .boxed()
    }
}

/// Whether there is nothing to walk: worth knowing without a thread that may block.
pub(crate) fn is_empty(workspace: &OwnedFd) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(mut dir) = Dir::openat(workspace, ".", flags, Mode::empty()) else { return false };
    dir.iter().take(3).flatten().all(|entry| {
        let name = entry.file_name().to_bytes();
        name == b"." || name == b".."
    })
}

/// Walks the workspace. `keep` says that it stays as long as an artifact needs it; else each large
/// artifact keeps a descriptor of its own.
///
/// # Errors
///
/// The application is out of descriptors or memory: nothing can be said about the job's files.
pub(crate) fn collect(
    workspace: OwnedFd,
    job: &JobSpec,
    inputs: &Stamps,
    keep: Option<&Arc<AtomicUsize>>,
) -> Result<Collection, (OwnedFd, Errno)> {
    let mut walk = Walk {
        job,
        inputs,
        stays: keep.is_some(),
        found: Collection::default(),
        large: Vec::new(),
        room: job.limits.artifacts.as_u64(),
        small_room: SMALL_ROOM,
        skipped_room: SKIPPED_ROOM,
        unlisted: 0,
    };
    if let Err(errno) = walk.run(&workspace) {
        return Err((workspace, errno));
    }
    let (mut found, large, unlisted) = (walk.found, walk.large, walk.unlisted);
    if unlisted > 0 {
        let reason = format!("{unlisted} more entries were skipped");
        found.skipped.push(Skipped { path: String::new(), reason });
    }
    if let Some(all) = keep.filter(|_| !large.is_empty()) {
        // Else one small file would keep the memory of all others.
        let paths = large.iter().map(|large| large.path.as_str()).collect();
        let _ = wipe::retain(&workspace, &paths);
        let workspace = Arc::new(Workspace { dir: workspace, _kept: Kept::one_of(all) });
        for Large { index, path, size, sha256, inode } in large {
            let place = Place::Beneath(Arc::clone(&workspace), path.clone());
            let content = Arc::new(FileContent { place, inode, size });
            found.artifacts.insert(index, Artifact::new(path, size, sha256, content));
        }
    }
    Ok(found)
}

/// Errors that say nothing about the file, and all about this process or its host.
fn is_exhaustion(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}

/// What this process or its host lacks ends a walk; the rest is a file's own matter.
fn of_file<T>(result: Result<T, Errno>) -> Result<Result<T, Errno>, Errno> {
    match result {
        Err(errno) if is_exhaustion(errno) => Err(errno),
        other => Ok(other),
    }
}

fn errno_of(error: &io::Error) -> Errno {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Errno::ENOMEM,
        _ => Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// An artifact that stays in the workspace.
struct Large {
    /// Its place among the artifacts.
    index: usize,
    path: RelPath,
    size: u64,
    sha256: [u8; 32],
    inode: u64,
}

struct Walk<'a> {
    job: &'a JobSpec,
    inputs: &'a Stamps,
    /// Large files stay in the workspace.
    stays: bool,
    found: Collection,
    large: Vec<Large>,
    room: u64,
    small_room: u64,
    skipped_room: usize,
    unlisted: u64,
}

/// A folder that is being looked through.
struct Folder {
    dir: OwnedFd,
    path: String,
    /// Entries still to visit, in reverse order of name.
    names: Vec<(Vec<u8>, Option<Type>)>,
}

impl Walk<'_> {
    /// Depth first, with a stack of its own: a job cannot make it overflow.
    fn run(&mut self, workspace: &OwnedFd) -> Result<(), Errno> {
        let mut stack = Vec::new();
        match of_file(open_folder(workspace, b"."))? {
            Ok((dir, names)) => stack.push(Folder { dir, path: String::new(), names }),
            Err(errno) => self.skip("", format!("unreadable: {}", errno.desc())),
        }
        loop {
            let depth = stack.len();
            let Some(folder) = stack.last_mut() else { break };
            let Some((name, kind)) = folder.names.pop() else {
                stack.pop();
                continue;
            };
            let Ok(text) = std::str::from_utf8(&name) else {
                let path = format!("{}{}", folder.path, escape(&name));
                self.skip(&path, "its name is not UTF-8");
                continue;
            };
            let path = format!("{}{text}", folder.path);
            match kind {
                Some(Type::Directory) => {
                    if depth >= MAX_DEPTH {
                        self.skip(&path, format!("nested deeper than {MAX_DEPTH} folders"));
                        continue;
                    }
                    match of_file(open_folder(&folder.dir, &name))? {
                        Ok((dir, names)) => {
                            stack.push(Folder { dir, path: format!("{path}/"), names });
                        }
                        Err(errno) => self.skip(&path, format!("unreadable: {}", errno.desc())),
                    }
                }
                Some(Type::File) => self.visit_file(&folder.dir, &name, &path)?,
                other if self.is_chosen(&path) => self.skip(&path, describe(other)),
                _ => {}
            }
        }
        Ok(())
    }

    /// By pattern. Without patterns everything is chosen, and unchanged inputs drop out later.
    fn is_chosen(&self, path: &str) -> bool {
        let patterns = &self.job.artifacts;
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(path))
    }

    fn visit_file(&mut self, dir: &OwnedFd, name: &[u8], path: &str) -> Result<(), Errno> {
        let limits = &self.job.limits;
        let file = match of_file(open_file(dir, name))? {
            Ok(file) => file,
            Err(errno) => {
                if self.is_chosen(path) {
                    self.skip(path, format!("unreadable: {}", errno.desc()));
                }
                return Ok(());
            }
        };
        let metadata = file.metadata().map_err(|error| errno_of(&error))?;
        let size = metadata.len();
        let unchanged = match self.inputs.get(path) {
            None => false,
            Some(stamp) => Stamp::of(&file).map_err(|error| errno_of(&error))? == *stamp,
        };
        let is_at_limit = limits.file_size.is_some_and(|limit| size == limit.as_u64());
        self.found.file_at_size_limit |= !unchanged && is_at_limit;
        if !self.is_chosen(path) || (self.job.artifacts.is_empty() && unchanged) {
            return Ok(());
        }
        if let Err(reason) = self.admits(&metadata) {
            self.skip(path, reason);
            return Ok(());
        }
        let rel = match RelPath::new(path) {
            Ok(rel) => rel,
            Err(_) => {
                self.skip(path, "its path cannot be an artifact's");
                return Ok(());
            }
        };
        let read = if size <= SMALL && self.small_room >= size {
            let bytes = read_small(&file, size);
            bytes.map(|bytes| {
                self.small_room -= size;
                self.found.artifacts.push(Artifact::from_bytes(rel, bytes));
            })
        } else {
            let (index, inode) = (self.found.artifacts.len() + self.large.len(), metadata.ino());
            digest(&file, size).map(|sha256| {
                if self.stays {
                    self.large.push(Large { index, path: rel, size, sha256, inode });
                } else {
                    let place = Place::Open(Arc::new(file));
                    let content = Arc::new(FileContent { place, inode, size });
                    self.found.artifacts.push(Artifact::new(rel, size, sha256, content));
                }
            })
        };
        match of_file(read.map_err(|error| errno_of(&error)))? {
            Ok(()) => self.room -= size,
            Err(errno) => self.skip(path, format!("unreadable: {}", errno.desc())),
        }
        Ok(())
    }

    /// Whether a file can be an artifact, and why not.
    fn admits(&mut self, metadata: &Metadata) -> Result<(), String> {
        let limits = &self.job.limits;
        let size = metadata.len();
        if !metadata.is_file() {
            return Err("is not a regular file".into());
        }
        if metadata.nlink() > 1 {
            return Err(format!("has {} names (hard links)", metadata.nlink()));
        }
        if self.found.artifacts.len() + self.large.len() >= limits.artifact_files as usize {
            self.found.over_caps = true;
            return Err(format!("beyond the cap of {} artifacts", limits.artifact_files));
        }
        if size > self.room {
            self.found.over_caps = true;
            let (cap, room) = (limits.artifacts, self.room);
            return Err(format!("{size} bytes, but {room} are left of the cap of {cap}"));
        }
        Ok(())
    }

    fn skip(&mut self, path: &str, reason: impl Into<String>) {
        if self.found.skipped.len() >= MAX_SKIPPED || path.len() > self.skipped_room {
            self.unlisted += 1;
            return;
        }
        self.skipped_room -= path.len();
        self.found.skipped.push(Skipped { path: path.to_owned(), reason: reason.into() });
    }
}

fn read_small(file: &File, size: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}

/// Opens the entry `name` of `dir`, which is one name and no path, and is on the file system of `dir`:
/// an interpreter that is installed beneath a folder of the workspace's name is mounted there.
///
/// Not by openat2(2), which some hosts refuse: a name without a slash that is not followed leads
/// nowhere else either.
fn open_entry(dir: &OwnedFd, name: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let entry = openat(dir, name, flags, Mode::empty())?;
    match fstat(&entry)?.st_dev == fstat(dir)?.st_dev {
        true => Ok(entry),
        false => Err(Errno::EXDEV),
    }
}

fn open_file(dir: &OwnedFd, name: &[u8]) -> nix::Result<File> {
    open_entry(dir, name, OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map(File::from)
}

fn open_directory(dir: &OwnedFd, name: &[u8]) -> nix::Result<OwnedFd> {
    open_entry(dir, name, OFlag::O_DIRECTORY)
}

type Entries = Vec<(Vec<u8>, Option<Type>)>;

fn open_folder(parent: &OwnedFd, name: &[u8]) -> Result<(OwnedFd, Entries), Errno> {
    let fd = open_directory(parent, name)?;
    let mut dir = Dir::openat(&fd, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut entries = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push((name.to_vec(), entry.file_type()));
        }
    }
    entries.sort_by(|a, b| b.0.cmp(&a.0));
    Ok((fd, entries))
}

fn describe(kind: Option<Type>) -> &'static str {
    match kind {
        Some(Type::Symlink) => "is a symbolic link",
        Some(Type::Fifo) => "is a FIFO",
        Some(Type::Socket) => "is a socket",
        Some(Type::CharacterDevice | Type::BlockDevice) => "is a device",
        _ => "is not a regular file",
    }
}

/// Bytes as text, with what is not printable ASCII as `\xNN`.
fn escape(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn digest(file: &File, size: u64) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    while offset < size {
        let length = CHUNK.min(usize::try_from(size - offset).unwrap_or(CHUNK));
        file.read_exact_at(&mut chunk[..length], offset)?;
        digest.update(&chunk[..length]);
        offset += length as u64;
    }
    Ok(digest.finalize().into())
}
