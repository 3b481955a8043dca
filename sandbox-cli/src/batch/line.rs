//! A job as a line of JSON.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::{Content, Error, ErrorKind, Job, JobBuilder, Pattern, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::args::{self, ConditionArgs, LimitArgs};
use crate::job;

/// Bytes that a line may have: a program, and files beside it.
const MOST_LINE: u64 = 64 << 20;
/// Bytes of an id; a folder's name has at most 255.
const MOST_ID: usize = 200;

/// Where the lines are.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    /// What paths in it are relative to.
    folder: PathBuf,
}

impl Source {
    /// Whether it is the file at this path.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let place = |metadata: io::Result<Metadata>| metadata.ok().map(|m| (m.dev(), m.ino()));
        let there = place(std::fs::metadata(path));
        there.is_some() && there == place(self.file.metadata())
    }

    /// A file, or `-` for standard input. What can be read only once is read into a temporary file,
    /// so that all of it is checked before anything runs.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            let message = format!("cannot read {}: {error}", path.display());
            Error::new(ErrorKind::Input, "FILE", message).with_source(error)
        };
        let given = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
        let mut file = File::open(given).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        if !metadata.is_file() {
            let mut copy = tempfile::tempfile().map_err(failed)?;
            io::copy(&mut file, &mut copy).map_err(failed)?;
            file = copy;
        }
        let folder = given.parent().filter(|_| path != Path::new("-"));
        Ok(Self { file, folder: folder.unwrap_or(Path::new("")).to_owned() })
    }
}

/// What a job is called, a digest of its line, and the files that it asks for.
#[derive(Debug, Default)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) job: String,
    pub(crate) artifacts: Vec<Pattern>,
}

/// A line's fields; what they leave out is as the command line says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    id: Option<String>,
    runtime: Option<String>,
    code: Option<String>,
    command: Option<Vec<String>>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    stdin: Option<Bytes>,
    #[serde(default)]
    files: BTreeMap<String, Bytes>,
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    limits: Limits,
    tenant: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Text, or bytes in base64, or a file.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "text, {\"base64\": ...} or {\"path\": ...}")]
enum Bytes {
    Text(String),
    Base64 { base64: String },
    Path { path: PathBuf },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    timeout: Option<String>,
    cpu_time: Option<String>,
    memory: Option<String>,
    processes: Option<u32>,
    open_files: Option<u32>,
    file_size: Option<String>,
    disk: Option<String>,
    files: Option<u64>,
    output: Option<String>,
    artifact_size: Option<String>,
    artifact_files: Option<u32>,
}

/// Reads lines one by one; a file of any length takes the memory of one.
pub(crate) struct Lines<'a> {
    reader: BufReader<File>,
    number: u64,
    folder: &'a Path,
    limits: &'a LimitArgs,
    conditions: &'a ConditionArgs,
    /// What the command line says of every job.
    options: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(
        source: &'a Source,
        limits: &'a LimitArgs,
        conditions: &'a ConditionArgs,
    ) -> Result<Self> {
        let again = || {
            let mut file = source.file.try_clone()?;
            file.rewind()?;
            Ok(file)
        };
        let file = again().map_err(|error: io::Error| {
            Error::new(ErrorKind::Input, "FILE", error.to_string()).with_source(error)
        })?;
        let reader = BufReader::new(file);
        let options = format!("{limits:?}{conditions:?}").into_bytes();
        Ok(Self { reader, number: 0, folder: &source.folder, limits, conditions, options })
    }

    fn read(&mut self) -> Result<Option<(Id, Job)>> {
        let wrong = |number: u64, what: String| {
            Error::new(ErrorKind::InvalidJob, format!("line {number}"), what)
        };
        loop {
            self.number += 1;
            let mut line = Vec::new();
            let read = (&mut self.reader).take(MOST_LINE + 1).read_until(b'\n', &mut line);
            if let Err(error) = read {
                return Err(Error::new(ErrorKind::Input, "FILE", error.to_string()));
            }
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() as u64 > MOST_LINE {
                let what = format!("it has more than {MOST_LINE} bytes; put data into files");
                return Err(wrong(self.number, what));
            }
            // Some editors begin a file with a mark.
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
            if line.is_empty() {
                continue;
            }
            let fields = serde_json::from_slice(line);
            let job = fields.map_err(|error| error.to_string()).and_then(|fields| self.job(fields));
            let (name, job) = job.map_err(|what| wrong(self.number, what))?;
            let digest = digest(&[&self.options[..], line].concat());
            return Ok(Some((Id { name, job: digest, artifacts: job.artifacts.clone() }, job)));
        }
    }

    fn job(&self, fields: Fields) -> Result<(String, Job), String> {
        let name = fields.id.unwrap_or_else(|| self.number.to_string());
        check_id(&name)?;
        let mut job = match (fields.code, fields.command) {
            (Some(code), None) => {
                Job::source(fields.runtime.unwrap_or_else(|| "python".into()), code)
            }
            (None, Some(command)) if fields.runtime.is_none() => Job::command(command),
            _ => {
                return Err("give either code, with its runtime, or command".into());
            }
        };
        job = job::confine(job, self.limits, self.conditions).args(fields.args);
        for (name, value) in fields.env {
            job = job.env(name, value);
        }
        if let Some(stdin) = fields.stdin {
            job = job.stdin(self.content("stdin", stdin)?);
        }
        for (path, bytes) in fields.files {
            let content = self.content(&path, bytes)?;
            job = job.file(path, content);
        }
        for glob in &fields.artifacts {
            job = job.artifact(glob);
        }
        if let Some(tenant) = fields.tenant {
            job = job.tenant(tenant);
        }
        for (name, value) in fields.labels {
            job = job.label(name, value);
        }
        let job = fields.limits.apply(job)?.build().map_err(|error| error.to_string())?;
        Ok((name, job))
    }

    fn content(&self, name: &str, bytes: Bytes) -> Result<Content, String> {
        match bytes {
            Bytes::Text(text) => Ok(text.into()),
            Bytes::Base64 { base64 } => {
                let decoded = STANDARD.decode(base64);
                decoded.map(Content::from).map_err(|error| format!("{name}: no base64: {error}"))
            }
            Bytes::Path { path } => {
                let path = self.folder.join(path);
                match std::fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => Ok(path.into()),
                    Ok(_) => Err(format!("{name}: {} is not a file", path.display())),
                    Err(error) => Err(format!("{name}: {}: {error}", path.display())),
                }
            }
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<(Id, Job)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Limits {
    fn apply(self, job: JobBuilder) -> Result<JobBuilder, String> {
        let time = |name, text: Option<String>| {
            text.map(|text| args::time(&text).map_err(|why| format!("limits.{name}: {why}")))
                .transpose()
        };
        let size = |name, text: Option<String>| {
            text.map(|text| args::size(&text).map_err(|why| format!("limits.{name}: {why}")))
                .transpose()
        };
        let limits = LimitArgs {
            timeout: time("timeout", self.timeout)?,
            cpu_time: time("cpu_time", self.cpu_time)?,
            memory: size("memory", self.memory)?,
            processes: self.processes,
            open_files: self.open_files,
            file_size: size("file_size", self.file_size)?,
            disk: size("disk", self.disk)?,
            files: self.files,
            output: size("output", self.output)?,
            artifact_size: size("artifact_size", self.artifact_size)?,
            artifact_files: self.artifact_files,
        };
        Ok(job::limit(job, &limits))
    }
}

/// An id names a folder for files, and is on a line of a report.
fn check_id(id: &str) -> Result<(), String> {
    let is_name = !id.is_empty() && id != "." && id != ".." && id.len() <= MOST_ID;
    if is_name && !id.contains('/') && !id.contains(char::is_control) {
        return Ok(());
    }
    let short: String = id.chars().take(50).collect();
    Err(format!("id: {short:?} cannot name a folder; give 1 to {MOST_ID} bytes without /"))
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    // Sixteen bytes tell all jobs of the world apart.
    let digest = Sha256::digest(bytes);
    hex::encode(&digest[..16])
}
