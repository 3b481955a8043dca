//! Files that are kept from call to call.

use std::collections::BTreeMap;

use bytes::Bytes;
use sandbox_core::{Artifact, Error, ErrorKind, RelPath, Result, Size};

/// A file that the next call finds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptFile {
    /// The path relative to the workspace.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The media type, by the path's extension.
    pub media_type: String,
}

/// A file and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: RelPath,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// A file that cannot be kept.
#[derive(Debug)]
pub(crate) struct NotKept {
    pub(crate) path: String,
    pub(crate) why: String,
}

/// What became of the files that a job left.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) kept: Vec<File>,
    pub(crate) lost: Vec<NotKept>,
}

#[derive(Debug)]
pub(crate) struct Files {
    kept: BTreeMap<RelPath, File>,
    room: u64,
}

impl Files {
    pub(crate) fn new(room: Size) -> Self {
        Self { kept: BTreeMap::new(), room: room.as_u64() }
    }

    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    pub(crate) fn list(&self) -> Vec<KeptFile> {
        let file = |file: &File| KeptFile {
            path: file.path.as_str().to_owned(),
            size: file.bytes.len() as u64,
            media_type: file.media_type.clone(),
        };
        self.kept.values().map(file).collect()
    }

    pub(crate) fn get(&self, path: &str) -> Option<File> {
        let path = RelPath::new(path).ok()?;
        self.kept.get(&path).cloned()
    }

    pub(crate) fn contents(&self) -> Vec<(String, Bytes)> {
        let content = |file: &File| (file.path.as_str().to_owned(), file.bytes.clone());
        self.kept.values().map(content).collect()
    }

    /// A file of the application's.
    pub(crate) fn add(&mut self, path: RelPath, bytes: Bytes) -> Result<()> {
        let artifact = Artifact::from_bytes(path.clone(), Bytes::new());
        let file = File { media_type: artifact.media_type().to_owned(), path, bytes };
        self.keep(file).map_err(|NotKept { path, why }| {
            let message = format!("{path:?} cannot be kept: {why}");
            Error::new(ErrorKind::InvalidJob, "files", message)
        })
    }

    /// Keeps what a job left.
    pub(crate) fn take(&mut self, found: Vec<Result<File, NotKept>>) -> Taken {
        let mut taken = Taken::default();
        for file in found {
            match file.and_then(|file| self.keep(file.clone()).map(|()| file)) {
                Ok(file) => taken.kept.push(file),
                Err(not) => taken.lost.push(not),
            }
        }
        taken
    }

    fn keep(&mut self, file: File) -> Result<(), NotKept> {
        let path = file.path.as_str();
        // A job can make a file where there was a folder, and the other way round.
        let inside = |one: &str, other: &str| {
            one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let replaced =
            |other: &RelPath| inside(other.as_str(), path) || inside(path, other.as_str());
        let others = self.kept.values().filter(|other| !replaced(&other.path));
        let used: u64 = others.map(|other| other.bytes.len() as u64).sum();
        if used + file.bytes.len() as u64 > self.room {
            return Err(NotKept { path: path.to_owned(), why: no_room(self.room) });
        }
        self.kept.retain(|other, _| !replaced(other));
        self.kept.insert(file.path.clone(), file);
        Ok(())
    }
}

fn no_room(room: u64) -> String {
    format!("the files that are kept have {} together", Size::b(room))
}

/// Reads what a job left, and no more than there is room for. The artifacts themselves, which may
/// hold a whole workspace, need not be kept.
pub(crate) async fn read(artifacts: &[Artifact], room: u64) -> Vec<Result<File, NotKept>> {
    let mut found = Vec::with_capacity(artifacts.len());
    for artifact in artifacts {
        let bytes = match artifact.size() > room {
            true => Err(no_room(room)),
            false => artifact.bytes().await.map_err(|error| error.message().to_owned()),
        };
        let file = bytes.and_then(|bytes| {
            let path = RelPath::new(artifact.path()).map_err(|error| error.message().to_owned())?;
            Ok(File { path, media_type: artifact.media_type().to_owned(), bytes })
        });
        found.push(file.map_err(|why| NotKept { path: artifact.path().to_owned(), why }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, content: &'static str) -> Result<File, NotKept> {
        let path = RelPath::new(path).expect("path");
        Ok(File { path, media_type: "text/plain".into(), bytes: content.into() })
    }

    fn counts(taken: &Taken) -> (usize, usize) {
        (taken.kept.len(), taken.lost.len())
    }

    fn paths(files: &Files) -> Vec<String> {
        files.list().into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn what_does_not_fit_is_named_and_what_was_there_stays() {
        let mut files = Files::new(Size::b(10));
        let taken = files.take(vec![found("a", "12345"), found("b", "123456")]);
        assert_eq!(counts(&taken), (1, 1));
        assert_eq!(taken.lost[0].path, "b");
        // A file that takes the place of another needs only the difference.
        let taken = files.take(vec![found("a", "1234567890"), found("b", "1")]);
        assert_eq!(counts(&taken), (1, 1));
        assert_eq!(files.get("a").expect("a").bytes.as_ref(), b"1234567890");
        assert!(files.add(RelPath::new("c").expect("path"), "x".into()).is_err());
    }

    #[test]
    fn a_path_is_a_file_or_a_folder() {
        let mut files = Files::new(Size::mib(1));
        files.take(vec![found("a/b", "1"), found("ab", "1")]);
        files.take(vec![found("a", "1")]);
        assert_eq!(paths(&files), ["a", "ab"]);
        files.take(vec![found("a/b/c", "1")]);
        assert_eq!(paths(&files), ["a/b/c", "ab"]);
    }
}
