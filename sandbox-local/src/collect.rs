//! Collects artifacts after everything of the job is dead.
//!
//! Names, kinds, sizes and contents are hostile, but nothing changes them any more. Each entry is
//! opened once, beneath its folder's descriptor, without following links or blocking; what is
//! read is what was checked.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use sandbox_core::{Artifact, ArtifactContent, JobSpec, RelPath, Skipped};
use sha2::{Digest as _, Sha256};

use crate::inputs::{Stamp, Stamps};

/// Folders nested deeper are not looked into: each level holds a descriptor.
const MAX_DEPTH: usize = 64;
/// Skipped entries beyond this are only counted.
const MAX_SKIPPED: usize = 1000;
/// Bytes of their paths, which a job can make a thousand times as long as usual.
const SKIPPED_ROOM: usize = 256 * 1024;
const CHUNK: usize = 256 * 1024;
/// Files up to this size are read at once, so that thousands of them need no descriptors.
const SMALL: u64 = 16 * 1024;
/// Bytes of small files that are kept in memory; later ones keep a descriptor each.
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

/// A regular file in a workspace whose job is dead.
#[derive(Debug)]
struct FileContent {
    file: Arc<File>,
    size: u64,
}

impl ArtifactContent for FileContent {
    fn stream(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let (file, size) = (Arc::clone(&self.file), self.size);
        stream::try_unfold(0, move |offset| {
            let file = Arc::clone(&file);
            async move {
                if offset >= size {
                    return Ok(None);
                }
                let length = CHUNK.min(usize::try_from(size - offset).unwrap_or(CHUNK));
                let read = move || {
                    let mut chunk = vec![0; length];
                    file.read_exact_at(&mut chunk, offset).map(|()| chunk)
                };
                let chunk = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
                let next = offset + chunk.len() as u64;
                Ok(Some((Bytes::from(chunk), next)))
            }
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

/// Walks the workspace.
pub(crate) fn collect(workspace: &OwnedFd, job: &JobSpec, inputs: &Stamps) -> Collection {
    let mut walk = Walk {
        job,
        inputs,
        found: Collection::default(),
        room: job.limits.artifacts.as_u64(),
        small_room: SMALL_ROOM,
        skipped_room: SKIPPED_ROOM,
        unlisted: 0,
    };
    walk.run(workspace);
    let mut found = walk.found;
    if walk.unlisted > 0 {
        let reason = format!("{} more entries were skipped", walk.unlisted);
        found.skipped.push(Skipped { path: String::new(), reason });
    }
    found
}

struct Walk<'a> {
    job: &'a JobSpec,
    inputs: &'a Stamps,
    found: Collection,
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
    fn run(&mut self, workspace: &OwnedFd) {
        let mut stack = Vec::new();
        match open_folder(workspace, b".") {
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
                    match open_folder(&folder.dir, &name) {
                        Ok((dir, names)) => {
                            stack.push(Folder { dir, path: format!("{path}/"), names });
                        }
                        Err(errno) => self.skip(&path, format!("unreadable: {}", errno.desc())),
                    }
                }
                Some(Type::File) => self.visit_file(&folder.dir, &name, &path),
                other if self.is_chosen(&path) => self.skip(&path, describe(other)),
                _ => {}
            }
        }
    }

    /// By pattern. Without patterns everything is chosen, and unchanged inputs drop out later.
    fn is_chosen(&self, path: &str) -> bool {
        let patterns = &self.job.artifacts;
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(path))
    }

    fn visit_file(&mut self, dir: &OwnedFd, name: &[u8], path: &str) {
        let limits = &self.job.limits;
        let file = match open_file(dir, name) {
            Ok(file) => file,
            Err(errno) if self.is_chosen(path) => {
                return self.skip(path, format!("unreadable: {}", errno.desc()));
            }
            Err(_) => return,
        };
        let Ok(metadata) = file.metadata() else { return };
        let size = metadata.len();
        let unchanged = self
            .inputs
            .get(path)
            .is_some_and(|stamp| Stamp::of(&file).is_ok_and(|now| now == *stamp));
        self.found.file_at_size_limit |= !unchanged && size == limits.file_size.as_u64();
        if !self.is_chosen(path) || (self.job.artifacts.is_empty() && unchanged) {
            return;
        }
        let Ok(rel) = RelPath::new(path) else {
            return self.skip(path, "its path cannot be an artifact's");
        };
        if !metadata.is_file() {
            return self.skip(path, "is not a regular file");
        }
        if metadata.nlink() > 1 {
            return self.skip(path, format!("has {} names (hard links)", metadata.nlink()));
        }
        if self.found.artifacts.len() >= limits.artifact_files as usize {
            self.found.over_caps = true;
            let cap = limits.artifact_files;
            return self.skip(path, format!("beyond the cap of {cap} artifacts"));
        }
        if size > self.room {
            self.found.over_caps = true;
            let (cap, room) = (limits.artifacts, self.room);
            let why = format!("{size} bytes, but {room} are left of the cap of {cap}");
            return self.skip(path, why);
        }
        let artifact = if size <= SMALL && self.small_room >= size {
            self.small_room -= size;
            read_small(&file, size).map(|bytes| Artifact::from_bytes(rel, bytes))
        } else {
            digest(&file, size).map(|sha256| {
                let content = Arc::new(FileContent { file: Arc::new(file), size });
                Artifact::new(rel, size, sha256, content)
            })
        };
        match artifact {
            Ok(artifact) => {
                self.room -= size;
                self.found.artifacts.push(artifact);
            }
            Err(error) => self.skip(path, format!("unreadable: {error}")),
        }
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

fn open_beneath(dir: impl AsFd, name: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    openat2(dir, name, how)
}

fn open_file(dir: &OwnedFd, name: &[u8]) -> nix::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    open_beneath(dir, name, flags).map(File::from)
}

type Entries = Vec<(Vec<u8>, Option<Type>)>;

fn open_folder(parent: &OwnedFd, name: &[u8]) -> Result<(OwnedFd, Entries), Errno> {
    let fd = open_beneath(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
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
