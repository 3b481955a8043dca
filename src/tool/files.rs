//! Files that are kept from call to call.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sandbox_core::{Artifact, Error, ErrorKind, JobSpec, Outcome, Program, RelPath, Result, Size};

use super::images;
use super::report::quoted;

/// Makes everything in the workspace an artifact, also what did not change: only so can it be seen
/// what a program has removed.
pub(crate) const ALL: &str = "**";

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
    pub(crate) sha256: String,
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
    /// Those that are new or changed, whether they are kept or not.
    pub(crate) changed: Vec<File>,
    /// Of those, the ones that are not kept.
    pub(crate) lost: Vec<NotKept>,
}

impl Taken {
    /// Whether the call made or changed that file.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.changed.iter().any(|file| file.path.as_str() == path)
            || self.lost.iter().any(|lost| lost.path == path)
    }

    /// What the next call finds of this one's.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &File> {
        self.changed
            .iter()
            .filter(|file| !self.lost.iter().any(|lost| lost.path == file.path.as_str()))
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) files: usize,
    /// Files and the folders that they are in.
    pub(crate) inodes: usize,
}

/// The files of one conversation.
#[derive(Debug)]
pub(crate) struct Files {
    kept: BTreeMap<RelPath, File>,
    room: Room,
    reserved: Reserved,
}

/// Names that programs have in the workspace.
pub(crate) type Reserved = BTreeSet<String>;

/// What a job began with, by path and digest.
pub(crate) type Staged = BTreeMap<RelPath, String>;

impl Files {
    pub(crate) fn new(room: Room, reserved: Reserved) -> Self {
        Self { kept: BTreeMap::new(), room, reserved }
    }

    pub(crate) fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    pub(crate) fn room(&self) -> Room {
        self.room
    }

    pub(crate) fn list(&self) -> Vec<KeptFile> {
        self.kept.values().map(KeptFile::from).collect()
    }

    pub(crate) fn get(&self, path: &str) -> Option<File> {
        self.kept.get(&self.meant(path)?).cloned()
    }

    pub(crate) fn remove(&mut self, path: &str) -> bool {
        self.meant(path).is_some_and(|path| self.kept.remove(&path).is_some())
    }

    /// The file that a model means: by its path, by its path as programs see it, or as it is listed.
    fn meant(&self, path: &str) -> Option<RelPath> {
        let mut relative = path.strip_prefix("/work/").unwrap_or(path);
        while let Some(rest) = relative.strip_prefix("./") {
            relative = rest;
        }
        let listed = |kept: &&RelPath| {
            let quoted = quoted(kept.as_str());
            quoted == path || quoted.trim_matches('"') == path
        };
        let exact = RelPath::new(relative).ok().filter(|path| self.kept.contains_key(path));
        exact.or_else(|| self.kept.keys().find(listed).cloned())
    }

    /// What a job begins with.
    pub(crate) fn contents(&self) -> Vec<(String, Bytes)> {
        let content = |file: &File| (file.path.as_str().to_owned(), file.bytes.clone());
        self.kept.values().map(content).collect()
    }

    pub(crate) fn staged(&self) -> Staged {
        let digest = |file: &File| (file.path.clone(), file.sha256.clone());
        self.kept.values().map(digest).collect()
    }

    /// A file of the application's.
    pub(crate) fn add(&mut self, path: RelPath, bytes: Bytes) -> Result<()> {
        let artifact = Artifact::from_bytes(path.clone(), bytes.clone());
        let media_type = artifact.media_type().to_owned();
        let file = File { path, media_type, sha256: artifact.sha256(), bytes };
        self.keep(file).map_err(|NotKept { path, why }| {
            let message = format!("{path:?} cannot be kept: {why}");
            Error::new(ErrorKind::InvalidJob, "files", message)
        })
    }

    /// Takes what a job left, of all that it could have: what it began with and no longer has is
    /// gone, unless another call has changed it meanwhile.
    pub(crate) fn take(&mut self, left: Left, staged: &Staged) -> Taken {
        let is_gone = |path: &RelPath, file: &File| {
            left.is_all && !left.may_have(path) && staged.get(path) == Some(&file.sha256)
        };
        self.kept.retain(|path, file| !is_gone(path, file));
        let mut taken = Taken { changed: Vec::new(), lost: left.lost };
        // Those that take the place of larger ones come first, so that the sum never passes the one
        // in the end.
        let mut changed = left.files;
        let grows = |file: &File| {
            let before = self.kept.get(&file.path).map_or(0, |kept| kept.bytes.len() as i64);
            file.bytes.len() as i64 - before
        };
        changed.sort_by_key(grows);
        for file in changed {
            if let Err(not) = self.keep(file.clone()) {
                taken.lost.push(not);
            }
            taken.changed.push(file);
        }
        taken
    }

    fn keep(&mut self, file: File) -> Result<(), NotKept> {
        let path = file.path.as_str();
        let refused = |why: String| Err(NotKept { path: path.to_owned(), why });
        if is_reserved(&file.path, &self.reserved) {
            return refused("its name belongs to the program itself; choose another".into());
        }
        // A job can make a file where there was a folder, and the other way round.
        let inside = |one: &str, other: &str| {
            one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let replaced =
            |other: &RelPath| inside(other.as_str(), path) || inside(path, other.as_str());
        let others: Vec<_> = self.kept.values().filter(|other| !replaced(&other.path)).collect();
        let used: u64 = others.iter().map(|other| other.bytes.len() as u64).sum();
        if used + file.bytes.len() as u64 > self.room.bytes {
            return refused(no_room(self.room.bytes));
        }
        if others.len() >= self.room.files {
            return refused(format!("at most {} files are kept; delete some", self.room.files));
        }
        // What is kept is placed into the next workspace, with the folders that it needs.
        let paths = others.iter().map(|other| &other.path).chain([&file.path]);
        if inodes(paths) > self.room.inodes {
            let most = self.room.inodes;
            return refused(format!(
                "at most {most} files and folders are kept; delete some, or nest less"
            ));
        }
        self.kept.retain(|other, _| !replaced(other));
        self.kept.insert(file.path.clone(), file);
        Ok(())
    }
}

impl From<&File> for KeptFile {
    fn from(file: &File) -> Self {
        Self {
            path: file.path.as_str().to_owned(),
            size: file.bytes.len() as u64,
            media_type: file.media_type.clone(),
        }
    }
}

/// Names that the next program has, or that belong to the wrapper which shows figures.
fn is_reserved(path: &RelPath, reserved: &Reserved) -> bool {
    let first = path.components().next().unwrap_or_default();
    first == ".displays" || reserved.contains(first)
}

/// How many files and folders these paths are.
fn inodes<'a>(paths: impl Iterator<Item = &'a RelPath>) -> usize {
    let mut all = BTreeSet::new();
    for path in paths.map(RelPath::as_str) {
        all.insert(path);
        all.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
    }
    all.len()
}

fn no_room(room: u64) -> String {
    format!("the files that are kept have at most {} together; delete some", Size::b(room))
}

/// What a job left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    files: Vec<File>,
    lost: Vec<NotKept>,
    /// Every path that is there.
    paths: BTreeSet<RelPath>,
    /// Of those, the ones of which nothing more is known: a folder may hold anything.
    unknown: BTreeSet<RelPath>,
    /// Whether what is not there was not there.
    is_all: bool,
}

impl Left {
    /// Whether a path is there, or may be beneath a folder that could not be read.
    fn may_have(&self, path: &RelPath) -> bool {
        let within = |folder: &RelPath| {
            path.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        self.paths.contains(path) || self.unknown.iter().any(within)
    }

    /// Reads what a job left. The artifacts themselves, which may hold a whole workspace, need not
    /// be kept. The program is a file of the workspace as well, and none that it left.
    pub(crate) async fn read(
        outcome: &Outcome,
        job: &JobSpec,
        room: Room,
        reserved: &Reserved,
        staged: &Staged,
    ) -> Self {
        let code = match &job.program {
            Program::Source { code, .. } => {
                let path = RelPath::new("program");
                path.ok().map(|path| Artifact::from_bytes(path, code.clone()).sha256())
            }
            _ => None,
        };
        let mut left = Self::default();
        let is_whole = !outcome.facts.contains_key("incomplete");
        left.is_all = is_whole && job.artifacts.iter().any(|pattern| pattern.to_string() == ALL);
        let mut unread = room.bytes.max(images::MOST_BYTES as u64);
        // As many as fit.
        let mut artifacts: Vec<_> = outcome.artifacts.iter().collect();
        artifacts.sort_by_key(|artifact| artifact.size());
        for artifact in artifacts {
            let Ok(path) = RelPath::new(artifact.path()) else { continue };
            let sha256 = artifact.sha256();
            left.paths.insert(path.clone());
            let is_program = is_reserved(&path, reserved) && code.as_ref() == Some(&sha256);
            if is_program || staged.get(&path) == Some(&sha256) {
                continue;
            }
            let bytes = match artifact.size() > unread {
                true => Err(no_room(room.bytes)),
                false => artifact.bytes().await.map_err(|error| error.message().to_owned()),
            };
            match bytes {
                Ok(bytes) => {
                    unread -= bytes.len() as u64;
                    let media_type = artifact.media_type().to_owned();
                    left.files.push(File { path, media_type, sha256, bytes });
                }
                Err(why) => left.lost.push(NotKept { path: artifact.path().to_owned(), why }),
            }
        }
        for skipped in &outcome.skipped {
            match RelPath::new(skipped.path.as_str()) {
                Ok(path) => {
                    left.unknown.insert(path.clone());
                    left.paths.insert(path);
                }
                // Something is not listed at all.
                Err(_) => left.is_all = false,
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(bytes: u64) -> Room {
        Room { bytes, files: 4, inodes: 64 }
    }

    fn files(bytes: u64) -> Files {
        Files::new(room(bytes), ["main.py", "main.R", "odd.lua"].map(str::to_owned).into())
    }

    fn file(path: &str, content: &'static str) -> File {
        let path = RelPath::new(path).expect("path");
        let sha256 = Artifact::from_bytes(path.clone(), content.into()).sha256();
        File { path, media_type: "text/plain".into(), sha256, bytes: content.into() }
    }

    /// What a job leaves that began with what is kept, and has these files in the end.
    fn take(files: &mut Files, left: &[(&str, &'static str)]) -> Taken {
        let staged = files.staged();
        let left: Vec<_> = left.iter().map(|(path, content)| file(path, content)).collect();
        let paths = left.iter().map(|file| file.path.clone()).collect();
        let is_new = |file: &File| staged.get(&file.path) != Some(&file.sha256);
        let left = left.into_iter().filter(is_new).collect();
        files.take(Left { files: left, paths, is_all: true, ..Left::default() }, &staged)
    }

    fn paths(files: &Files) -> Vec<String> {
        files.list().into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn what_does_not_fit_is_named_and_what_was_there_stays() {
        let mut files = files(10);
        let taken = take(&mut files, &[("a", "12345"), ("b", "123456")]);
        assert_eq!((taken.kept().count(), taken.lost.len()), (1, 1));
        assert_eq!(taken.lost[0].path, "b");
        // A file that takes the place of another needs only the difference.
        let taken = take(&mut files, &[("a", "1234567890"), ("b", "12")]);
        assert_eq!((taken.kept().count(), taken.lost.len()), (1, 1));
        assert_eq!(paths(&files), ["a", "b"], "the smaller one");
        let taken = take(&mut files, &[("a", "1234567890")]);
        assert_eq!((taken.kept().count(), taken.lost.len()), (1, 0));
        assert_eq!(files.get("a").expect("a").bytes.as_ref(), b"1234567890");
        assert!(files.add(RelPath::new("c").expect("path"), "x".into()).is_err());
        let many = [("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")];
        let taken = take(&mut files, &many);
        assert!(
            taken.lost.len() == 1 && taken.lost[0].why.contains("at most 4 files"),
            "{taken:?}"
        );
    }

    #[test]
    fn what_fits_in_the_end_is_kept_whatever_the_order() {
        let mut files = files(10);
        take(&mut files, &[("b", "123456789")]);
        // The first needs what the second gives back.
        let taken = take(&mut files, &[("a", "12345678"), ("b", "1")]);
        assert_eq!((taken.lost.len(), paths(&files)), (0, vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_file_is_found_as_it_is_listed() {
        let mut files = files(100);
        let names = ["a b.txt", "cafe\u{301}.txt", "\u{1f468}\u{200d}\u{1f467}.txt", "x\ny"];
        for name in names {
            files.add(RelPath::new(name).expect("path"), name.into()).expect("room");
        }
        for name in names {
            for asked in
                [name.to_owned(), quoted(name), format!("./{name}"), format!("/work/{name}")]
            {
                let found = files.get(&asked).expect(&asked);
                assert_eq!(found.bytes, name.as_bytes());
            }
        }
        assert!(quoted(names[1]).contains(names[1]), "what harms nobody is shown as it is");
        assert_eq!(quoted("x\ny"), r#""x\ny""#);
        assert!(files.get("/etc/passwd").is_none() && files.remove("./a b.txt"));
    }

    #[test]
    fn what_a_job_removed_is_gone_and_what_it_did_not_touch_is_no_change() {
        let mut files = files(10);
        take(&mut files, &[("a", "123"), ("b", "1234567")]);
        let taken = take(&mut files, &[("a", "123"), ("c", "4567890")]);
        assert_eq!(paths(&files), ["a", "c"]);
        assert_eq!(taken.changed.len(), 1);
        // Of what is not known nothing is removed.
        let staged = files.staged();
        files.take(Left::default(), &staged);
        assert_eq!(paths(&files), ["a", "c"]);
        // Nor what another call has changed since.
        let staged = files.staged();
        files.add(RelPath::new("a").expect("path"), "new".into()).expect("room");
        files.take(Left { is_all: true, ..Left::default() }, &staged);
        assert_eq!(paths(&files), ["a"]);
    }

    #[test]
    fn no_file_takes_the_place_of_the_next_program() {
        let mut files = files(100);
        let taken = take(
            &mut files,
            &[
                ("main.py", "x"),
                ("main.R/x", "x"),
                ("odd.lua", "x"),
                (".displays", "x"),
                (".displays/displays.py", "x"),
                ("x/main.py", "x"),
            ],
        );
        assert_eq!((paths(&files), taken.lost.len()), (vec!["x/main.py".to_owned()], 5));
    }

    #[test]
    fn folders_take_room_too() {
        let mut files = files(100);
        let deep = format!("{}f", "d/".repeat(50));
        take(&mut files, &[("a", "1")]);
        let staged = files.staged();
        assert!(files.add(RelPath::new(&*deep).expect("path"), "1".into()).is_ok());
        // Another folder of the same depth does not fit, a second file in this one does.
        let other = RelPath::new(format!("e/{deep}")).expect("path");
        let refused = files.add(other, "1".into()).expect_err("no room");
        assert!(refused.message().contains("64 files and folders"), "{refused}");
        let beside = RelPath::new(format!("{deep}2")).expect("path");
        assert!(files.add(beside, "1".into()).is_ok());
        assert_eq!(staged.len(), 1);
    }

    #[test]
    fn what_is_in_a_folder_that_could_not_be_read_is_not_gone() {
        let mut files = files(100);
        take(&mut files, &[("data/a", "1"), ("data.csv", "1"), ("b", "1")]);
        let staged = files.staged();
        let data = BTreeSet::from([RelPath::new("data").expect("path")]);
        let left = Left { paths: data.clone(), unknown: data, is_all: true, ..Left::default() };
        files.take(left, &staged);
        assert_eq!(paths(&files), ["data/a"]);
    }

    #[test]
    fn a_path_is_a_file_or_a_folder() {
        let mut files = files(100);
        take(&mut files, &[("a/b", "1"), ("ab", "1")]);
        take(&mut files, &[("a", "1"), ("ab", "1")]);
        assert_eq!(paths(&files), ["a", "ab"]);
        take(&mut files, &[("a/b/c", "1"), ("ab", "1")]);
        assert_eq!(paths(&files), ["a/b/c", "ab"]);
    }
}
