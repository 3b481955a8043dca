//! Files that a job left.

use std::collections::hash_map::RandomState;
use std::fmt::Debug;
use std::hash::BuildHasher as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, RelPath, Result};

/// Where an artifact's bytes are.
pub trait ArtifactContent: Debug + Send + Sync {
    /// Streams the bytes from the beginning.
    fn stream(&self) -> BoxStream<'static, io::Result<Bytes>>;
}

/// Bytes in memory.
impl ArtifactContent for Bytes {
    fn stream(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let bytes = self.clone();
        futures_util::stream::once(async move { Ok(bytes) }).boxed()
    }
}

/// A file that a job left, and a handle to its bytes.
///
/// The path and the bytes are the job's: treat both as hostile. [`save_to`](Self::save_to) does.
#[derive(Clone, Debug)]
pub struct Artifact {
    path: RelPath,
    size: u64,
    sha256: [u8; 32],
    media_type: String,
    content: Arc<dyn ArtifactContent>,
}

impl Artifact {
    /// Describes a file. The media type is guessed from the path's extension.
    pub fn new(
        path: RelPath,
        size: u64,
        sha256: [u8; 32],
        content: Arc<dyn ArtifactContent>,
    ) -> Self {
        let guess = mime_guess::from_path(path.as_str()).first_or_octet_stream();
        Self { path, size, sha256, media_type: guess.essence_str().to_owned(), content }
    }

    /// An artifact from bytes in memory.
    pub fn from_bytes(path: RelPath, bytes: Bytes) -> Self {
        let sha256 = Sha256::digest(&bytes).into();
        Self::new(path, bytes.len() as u64, sha256, Arc::new(bytes))
    }

    /// The path relative to the workspace.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-256 digest in hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(self.sha256)
    }

    /// The media type, by extension; `application/octet-stream` when it says nothing.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Streams the bytes from wherever they are.
    pub fn stream(&self) -> BoxStream<'static, io::Result<Bytes>> {
        self.content.stream()
    }

    /// Reads the whole artifact and checks it against its size and digest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Lost`] when the bytes cannot be read or are not those that were collected.
    pub async fn bytes(&self) -> Result<Bytes> {
        let mut bytes = BytesMut::new();
        self.for_each_checked(|chunk| {
            bytes.extend_from_slice(&chunk);
            std::future::ready(Ok(()))
        })
        .await?;
        Ok(bytes.freeze())
    }

    /// Saves the artifact under its own path in `dir`, which is created when it is missing, and
    /// returns where.
    ///
    /// Folders are walked by descriptor and no symbolic link is followed, so neither the path
    /// nor an earlier artifact can lead outside `dir`. The file appears whole or not at all and
    /// replaces a file (or link) of the same name. Mode 0644; nothing else of the original's
    /// metadata is kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Save`] when `dir` or a folder on the way is a link or not a folder, or when
    /// writing fails; [`ErrorKind::Lost`] as for [`bytes`](Self::bytes).
    pub async fn save_to(&self, dir: impl AsRef<Path>) -> Result<PathBuf> {
        let dir = dir.as_ref().to_owned();
        let target = dir.join(self.path.as_str());
        let failed = |errno: Errno| {
            let why = match errno {
                Errno::ELOOP | Errno::ENOTDIR => "it, or a folder on the way, is a link or a file",
                _ => errno.desc(),
            };
            Error::new(ErrorKind::Save, "save artifact", format!("{target:?}: {why}"))
                .with_source(errno)
        };
        let path = self.path.clone();
        let place = blocking(move || Place::open(&dir, &path)).await.map_err(failed)?;
        let place = Arc::new(place);
        let write = |chunk: Bytes| {
            let place = Arc::clone(&place);
            async move {
                let result = blocking(move || place.write(&chunk)).await;
                result.map_err(io::Error::from)
            }
        };
        let written = self.for_each_checked(write).await;
        let finish = move || match written {
            Ok(()) => place.finish().map_err(Ok),
            Err(error) => {
                place.abandon();
                Err(Err(error))
            }
        };
        match blocking(finish).await {
            Ok(()) => Ok(target),
            Err(Ok(errno)) => Err(failed(errno)),
            Err(Err(error)) => Err(error),
        }
    }

    /// Hands out the chunks, then compares size and digest.
    async fn for_each_checked<F>(&self, mut take: impl FnMut(Bytes) -> F) -> Result<()>
    where
        F: Future<Output = io::Result<()>>,
    {
        let lost = |message: String| Error::new(ErrorKind::Lost, "read artifact", message);
        let mut digest = Sha256::new();
        let mut size = 0;
        let mut stream = self.stream();
        loop {
            let next = stream.try_next().await;
            let chunk =
                next.map_err(|e| lost(format!("{} is unreadable", self.path)).with_source(e));
            let Some(chunk) = chunk? else { break };
            size += chunk.len() as u64;
            digest.update(&chunk);
            take(chunk).await.map_err(|error| {
                let message = format!("cannot write {}: {error}", self.path);
                Error::new(ErrorKind::Save, "save artifact", message).with_source(error)
            })?;
        }
        if size != self.size || <[u8; 32]>::from(digest.finalize()) != self.sha256 {
            return Err(lost(format!("{} is not what was collected", self.path)));
        }
        Ok(())
    }
}

/// Runs file system work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // The work does not panic, and a runtime that is shutting down does not poll this.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A file being written next to its final name.
#[derive(Debug)]
struct Place {
    folder: OwnedFd,
    file: OwnedFd,
    temporary: String,
    name: String,
}

impl Place {
    fn open(dir: &Path, path: &RelPath) -> Result<Self, Errno> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Only a missing folder is made; an error of this is seen when the folder is opened.
        let _ = std::fs::create_dir_all(dir);
        let mut folder = open(dir, flags, Mode::empty())?;
        let mut components = path.components().peekable();
        while let Some(name) = components.next() {
            if components.peek().is_none() {
                let (file, temporary) = Self::temporary(&folder)?;
                return Ok(Self { folder, file, temporary, name: name.to_owned() });
            }
            match mkdirat(folder.as_fd(), name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            folder = openat(folder.as_fd(), name, flags, Mode::empty())?;
        }
        Err(Errno::ENOENT)
    }

    /// Makes a file under a name that nobody can know before: an artifact could have it, or a process
    /// that was killed and had the same pid.
    fn temporary(folder: &OwnedFd) -> Result<(OwnedFd, String), Errno> {
        const TRIES: u64 = 16;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        for attempt in 0..TRIES {
            let name = format!(".saving-{:016x}", RandomState::new().hash_one(attempt));
            match openat(folder.as_fd(), name.as_str(), flags, mode) {
                Ok(file) => return Ok((file, name)),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EEXIST)
    }

    fn write(&self, mut chunk: &[u8]) -> Result<(), Errno> {
        while !chunk.is_empty() {
            match nix::unistd::write(self.file.as_fd(), chunk) {
                Ok(written) => chunk = &chunk[written..],
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Errno> {
        let (folder, name) = (self.folder.as_fd(), self.name.as_str());
        renameat(folder, self.temporary.as_str(), folder, name).inspect_err(|_| self.abandon())
    }

    fn abandon(&self) {
        let _ = unlinkat(self.folder.as_fd(), self.temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(path: &str, content: &'static [u8]) -> Artifact {
        Artifact::from_bytes(RelPath::new(path).expect(path), Bytes::from_static(content))
    }

    #[tokio::test]
    async fn an_artifact_is_saved_under_its_path() {
        let dir = tempfile::tempdir().expect("tempdir");
        let saved = artifact("out/plot.png", b"data").save_to(dir.path()).await.expect("saved");
        assert_eq!(std::fs::read(saved).expect("read"), b"data");
        let left: Vec<_> = std::fs::read_dir(dir.path().join("out")).expect("dir").collect();
        assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
    }

    #[tokio::test]
    async fn no_earlier_artifact_is_in_the_way_of_a_later_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        // Of a job, or of a process that was killed while it saved.
        for number in 0..200 {
            let name = format!(".saving-{}-{number}", std::process::id());
            artifact(&name, b"x").save_to(dir.path()).await.expect("saved");
        }
        let saved = artifact("result.csv", b"1").save_to(dir.path()).await.expect("saved");
        assert_eq!(std::fs::read(saved).expect("read"), b"1");
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 201);
    }

    #[tokio::test]
    async fn no_link_is_followed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let outside = tempfile::tempdir().expect("tempdir");
        let link = dir.path().join("out");
        std::os::unix::fs::symlink(outside.path(), &link).expect("symlink");

        let error = artifact("out/x", b"1").save_to(dir.path()).await.expect_err("a folder");
        assert_eq!(error.kind(), ErrorKind::Save);
        let error = artifact("x", b"1").save_to(&link).await.expect_err("the target itself");
        assert_eq!(error.kind(), ErrorKind::Save);
        // The last component is replaced, not followed.
        artifact("out", b"1").save_to(dir.path()).await.expect("replaces the link");
        assert_eq!(std::fs::read_dir(outside.path()).expect("dir").count(), 0);
    }

    #[tokio::test]
    async fn bytes_that_changed_are_not_taken() {
        let path = RelPath::new("x").expect("path");
        let content = Arc::new(Bytes::from_static(b"other"));
        let changed = Artifact::new(path, 5, [0; 32], content);
        let dir = tempfile::tempdir().expect("tempdir");
        let error = changed.save_to(dir.path()).await.expect_err("digest");
        assert_eq!(error.kind(), ErrorKind::Lost);
        assert_eq!(std::fs::read_dir(dir.path()).expect("dir").count(), 0);
    }
}
