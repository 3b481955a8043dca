//! The results: written as jobs end, and read when a batch goes on.
//!
//! A job is finished when its line is there, whole. A process that is killed can leave half a line
//! at the end, and nothing else that is wrong.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use sandbox::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::line::{Id, digest};
use super::summary::{End, Summary};

/// Bytes of a line that is read; what a job printed is in it.
const MOST_LINE: u64 = 4 << 30;

/// A line of the results.
#[derive(Debug)]
pub(crate) struct Entry(Vec<u8>);

#[derive(Serialize)]
struct Line<'a, T> {
    id: &'a str,
    job: &'a str,
    #[serde(flatten)]
    result: T,
}

impl Entry {
    pub(crate) fn new(id: &Id, result: impl Serialize) -> Self {
        let line = Line { id: &id.name, job: &id.job, result };
        // What is serialized has string keys and no other way to fail.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        Self(bytes)
    }
}

/// What is read of a line.
#[derive(Deserialize)]
struct Earlier {
    id: String,
    job: String,
    termination: Option<Termination>,
    cost: Option<Cost>,
}

#[derive(Deserialize)]
struct Termination {
    reason: String,
    code: Option<i32>,
}

#[derive(Deserialize)]
struct Cost {
    usd: f64,
}

/// The jobs that are finished, and what they were: digests of ids, and of lines.
#[derive(Debug, Default)]
pub(crate) struct Finished(HashMap<String, String>);

impl Finished {
    pub(crate) fn contains(&self, id: &Id) -> bool {
        self.0.contains_key(&digest(id.name.as_bytes()))
    }

    /// Whether the finished job of that id is this one.
    pub(crate) fn agrees(&self, id: &Id) -> Result<()> {
        match self.0.get(&digest(id.name.as_bytes())) {
            Some(job) if *job != id.job => {
                let message = format!(
                    "job {:?} is not the one that is finished there; name another file",
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
    /// Of what is finished.
    pub(crate) summary: Summary,
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
            let (finished, summary) = Default::default();
            return Ok(Self { output: Output::Stdout, finished, summary });
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
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| wrong(ErrorKind::Save, "another batch is writing to it".into()))?;
        let mut journal =
            Self { output: Output::Stdout, finished: Arc::default(), summary: Summary::default() };
        let mut finished = HashMap::new();
        let whole = journal.read(&file, &mut finished).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => wrong(ErrorKind::Input, error.to_string()),
            _ => failed(error),
        })?;
        file.set_len(whole).map_err(failed)?;
        journal.finished = Arc::new(Finished(finished));
        journal.output = Output::File(file);
        Ok(journal)
    }

    /// Reads the results; returns where the last whole line ends.
    fn read(&mut self, file: &File, finished: &mut HashMap<String, String>) -> io::Result<u64> {
        let mut file = file;
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(file);
        let mut whole = 0;
        for number in 1.. {
            let mut line = Vec::new();
            (&mut reader).take(MOST_LINE).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            whole += line.len() as u64;
            let earlier: Earlier = serde_json::from_slice(&line).map_err(|error| {
                let what = format!("line {number} is no result of a batch: {error}");
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?;
            // What could not be run is tried again.
            let Some(termination) = earlier.termination else { continue };
            let end = End::new(&termination.reason, termination.code);
            let end = end.with_cost(earlier.cost.map(|cost| cost.usd));
            if finished.insert(digest(earlier.id.as_bytes()), earlier.job).is_none() {
                self.summary.add(&end);
            }
        }
        Ok(whole)
    }

    /// How many jobs are finished.
    pub(crate) fn done(&self) -> u64 {
        self.finished.0.len() as u64
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
    /// Writes an entry; false when no more can be written.
    pub(crate) async fn write(&mut self, entry: Entry) -> bool {
        self.entries.send(entry).await.is_ok()
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(self) -> Result<()> {
        drop(self.entries);
        match self.ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let message =
                    format!("cannot write: {error}; jobs that have no line will run again");
                Err(Error::new(ErrorKind::Save, "results", message).with_source(error))
            }
            Err(_) => Err(Error::new(ErrorKind::Save, "results", "the writer is gone")),
        }
    }
}
