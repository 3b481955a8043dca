//! The results: written as jobs end, and read when a batch goes on.
//!
//! A job is finished when its line is there, whole. A process that is killed can leave half a line
//! at the end, and nothing else that is wrong.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sandbox::{Error, ErrorKind, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, Permit};
use tokio::sync::oneshot;

use super::line::{Id, digest};
use super::summary::End;

/// What a line begins with.
const BEGINNING: &[u8] = b"{\"id\":\"";

/// Whether this can be the beginning of a line.
fn is_beginning(line: &[u8]) -> bool {
    let length = line.len().min(BEGINNING.len());
    line[..length] == BEGINNING[..length]
}

/// A line of the results.
#[derive(Debug)]
pub(crate) struct Entry(Vec<u8>);

#[derive(Serialize)]
struct Line<'a, T> {
    id: &'a str,
    job: &'a str,
    /// Why files of the outcome could not be saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsaved: Option<String>,
    #[serde(flatten)]
    result: T,
}

impl Entry {
    pub(crate) fn new(id: &Id, result: impl Serialize) -> Self {
        Self::of(Line { id: &id.name, job: &id.job, unsaved: None, result })
    }

    /// An outcome whose files could not be saved.
    pub(crate) fn unsaved(id: &Id, result: impl Serialize, error: &Error) -> Self {
        let unsaved = Some(error.to_string());
        Self::of(Line { id: &id.name, job: &id.job, unsaved, result })
    }

    fn of(line: Line<'_, impl Serialize>) -> Self {
        // What is serialized has string keys and no other way to fail.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        Self(bytes)
    }
}

/// What is read of a line.
#[derive(Debug, Deserialize)]
struct Earlier {
    id: String,
    job: String,
    termination: Option<Termination>,
    cost: Option<Cost>,
    unsaved: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Termination {
    reason: String,
    code: Option<i32>,
}

#[derive(Debug, Deserialize)]
struct Cost {
    usd: f64,
}

impl Earlier {
    /// How it ended, if it is finished.
    fn end(&self) -> Option<End> {
        let termination = self.termination.as_ref().filter(|_| self.unsaved.is_none())?;
        let end = End::new(&termination.reason, termination.code);
        Some(end.with_cost(self.cost.as_ref().map(|cost| cost.usd)))
    }
}

/// The jobs that have a result, by digests of their ids.
#[derive(Debug, Default)]
pub(crate) struct Finished(HashMap<String, Earlier>);

impl Finished {
    /// How that job ended, if it is finished.
    pub(crate) fn end(&self, id: &Id) -> Option<End> {
        self.0.get(&digest(id.name.as_bytes())).and_then(Earlier::end)
    }

    /// Whether the job of that id is the one that has a result.
    pub(crate) fn agrees(&self, id: &Id) -> Result<()> {
        match self.0.get(&digest(id.name.as_bytes())) {
            Some(earlier) if earlier.job != id.job => {
                let message = format!(
                    "job {:?} is not the one that has a result there: its line or the command's \
                     options have changed; name another file",
                    id.name
                );
                Err(Error::new(ErrorKind::Conflict, "--results", message))
            }
            _ => Ok(()),
        }
    }
}

/// The results so far, and where more are written.
#[derive(Debug)]
pub(crate) struct Journal {
    output: Output,
    finished: Arc<Finished>,
}

#[derive(Debug)]
enum Output {
    Stdout,
    File(Flock<File>),
}

impl Journal {
    /// Standard output, or a file, which may have results of the same batch.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { output: Output::Stdout, finished: Arc::default() });
        };
        let wrong = |kind, what: String| {
            Error::new(kind, "--results", format!("{}: {what}", path.display()))
        };
        let failed = |error: io::Error| wrong(ErrorKind::Save, error.to_string());
        let mut options = File::options();
        let file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(wrong(ErrorKind::Save, "is not a file".into()));
        }
        let file =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    Errno::EWOULDBLOCK => {
                        wrong(ErrorKind::Save, "another batch is writing to it".into())
                    }
                    errno => failed(errno.into()),
                },
            )?;
        let earlier = Self::read(&file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => wrong(ErrorKind::Input, error.to_string()),
            _ => failed(error),
        })?;
        Ok(Self { output: Output::File(file), finished: Arc::new(Finished(earlier)) })
    }

    /// Reads the results, and leaves whole lines.
    fn read(file: &File) -> io::Result<HashMap<String, Earlier>> {
        let mut earlier = HashMap::new();
        let mut whole = 0;
        let mut reader = BufReader::new(file);
        for number in 1.. {
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line)?;
            if line.is_empty() {
                break;
            }
            let result = serde_json::from_slice::<Earlier>(&line);
            let is_ended = line.ends_with(b"\n");
            match result {
                Ok(result) => {
                    whole += line.len() as u64;
                    if !is_ended {
                        // Somebody took the end of the line away; the result is whole.
                        (&*file).write_all(b"\n")?;
                    }
                    // What could not be run is tried again; the last line of an id counts.
                    earlier.insert(digest(result.id.as_bytes()), result);
                }
                // The beginning of a line, as this command writes it: half of a result.
                Err(error) if error.is_eof() && !is_ended && is_beginning(&line) => {
                    file.set_len(whole)?;
                }
                Err(error) => {
                    let what = format!("line {number} is no result of a batch: {error}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
        Ok(earlier)
    }

    pub(crate) fn finished(&self) -> Arc<Finished> {
        Arc::clone(&self.finished)
    }

    /// Begins to write.
    pub(crate) fn write(self) -> Writer {
        let (entries, mut queue) = mpsc::channel::<Entry>(16);
        let (done, ended) = oneshot::channel();
        // A thread of its own: writing waits for whoever reads, and jobs must not.
        std::thread::spawn(move || {
            let write_all = || -> io::Result<()> {
                while let Some(Entry(bytes)) = queue.blocking_recv() {
                    match &self.output {
                        Output::Stdout => {
                            let mut stdout = io::stdout().lock();
                            stdout.write_all(&bytes)?;
                            stdout.flush()?;
                        }
                        // One call a line: it is there whole, or it is the last one.
                        Output::File(file) => (&**file).write_all(&bytes)?,
                    }
                }
                Ok(())
            };
            let mut write_all = write_all;
            let _ = done.send(write_all());
        });
        Writer { entries, ended }
    }
}

/// Writes results in the background.
pub(crate) struct Writer {
    entries: mpsc::Sender<Entry>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Writer {
    /// Waits until an entry can be written; `None` when no more can. Cancel-safe.
    pub(crate) async fn place(&self) -> Option<Permit<'_, Entry>> {
        self.entries.reserve().await.ok()
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(self) -> Result<()> {
        drop(self.entries);
        match self.ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let message =
                    format!("cannot write: {error}; jobs that have no line have no result");
                Err(Error::new(ErrorKind::Save, "--results", message).with_source(error))
            }
            Err(_) => Err(Error::new(ErrorKind::Save, "--results", "the writer is gone")),
        }
    }
}
