//! Gets a job's bytes ready to travel: small ones in the request, others by way of the bucket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::remote::{Payload, Run, RunProgram};
use sandbox_core::{Content, Error, ErrorKind, Job, Program, Result};
use sha2::{Digest as _, Sha256};

use crate::store::{Input, Store};

/// Bytes with their size and digest.
#[derive(Clone, Debug)]
struct Item {
    content: Content,
    size: u64,
    sha256: String,
}

/// Everything of a job that has bytes.
#[derive(Clone, Debug)]
pub(crate) struct Items {
    code: Option<Item>,
    stdin: Option<Item>,
    files: BTreeMap<String, Item>,
}

impl Items {
    /// Reads every source once, so that a missing one is an error before anything is sent.
    pub(crate) async fn read(job: &Job) -> Result<Self> {
        let code = match &job.program {
            Program::Source { code, .. } => {
                Some(Item::read("code", &Content::Bytes(code.clone())).await?)
            }
            _ => None,
        };
        let stdin = match &job.stdin {
            Some(content) => Some(Item::read("stdin", content).await?),
            None => None,
        };
        let mut files = BTreeMap::new();
        for (path, content) in &job.files {
            files.insert(path.to_string(), Item::read(path.as_str(), content).await?);
        }
        Ok(Self { code, stdin, files })
    }

    /// The request without the bytes themselves: equal for equal jobs.
    pub(crate) fn outline(&self, job: &Job) -> Run {
        let payload = |item: &Item| Payload::Staged {
            url: String::new(),
            size: item.size,
            sha256: item.sha256.clone(),
        };
        let files = self.files.iter().map(|(path, item)| (path.clone(), payload(item)));
        let program = program(job, self.code.as_ref().map(payload));
        Run::new(job, program, self.stdin.as_ref().map(payload), files.collect())
    }

    /// The request, with at most `inline_limit` bytes in it and the rest in the bucket behind
    /// URLs of that life.
    pub(crate) async fn stage(
        &self,
        job: &Job,
        store: &Store,
        inline_limit: u64,
        life: Duration,
    ) -> Result<Run> {
        let mut room = inline_limit;
        let code = match &self.code {
            Some(item) => Some(item.place(store, &mut room, life).await?),
            None => None,
        };
        let stdin = match &self.stdin {
            Some(item) => Some(item.place(store, &mut room, life).await?),
            None => None,
        };
        let mut files = BTreeMap::new();
        for (path, item) in &self.files {
            files.insert(path.clone(), item.place(store, &mut room, life).await?);
        }
        Ok(Run::new(job, program(job, code), stdin, files))
    }
}

fn program(job: &Job, code: Option<Payload>) -> RunProgram {
    match (&job.program, code) {
        (Program::Source { runtime, .. }, Some(code)) => {
            RunProgram::Source { runtime: runtime.clone(), code }
        }
        (Program::Command(argv), _) => RunProgram::Command(argv.clone()),
        // No other kind of program exists in this version.
        _ => RunProgram::Command(Vec::new()),
    }
}

impl Item {
    async fn read(name: &str, content: &Content) -> Result<Self> {
        match content {
            Content::Bytes(bytes) => {
                let sha256 = hex::encode(Sha256::digest(bytes));
                Ok(Self { content: content.clone(), size: bytes.len() as u64, sha256 })
            }
            Content::Path(path) => {
                let source = path.clone();
                let digested = tokio::task::spawn_blocking(move || digest(&source)).await;
                let digested = digested.unwrap_or_else(|error| Err(std::io::Error::other(error)));
                let (size, sha256) = digested.map_err(|error| {
                    let message = format!("cannot read {} for {name}: {error}", path.display());
                    Error::new(ErrorKind::Input, "read input", message).with_source(error)
                })?;
                Ok(Self { content: content.clone(), size, sha256 })
            }
        }
    }

    async fn place(&self, store: &Store, room: &mut u64, life: Duration) -> Result<Payload> {
        if self.size <= *room {
            *room -= self.size;
            return Ok(Payload::Inline(self.bytes().await?));
        }
        let key = store.input_key(&self.sha256);
        if !store.has(&key, self.size).await? {
            let mut sha256 = [0; 32];
            // It was written by this module.
            let _ = hex::decode_to_slice(&self.sha256, &mut sha256);
            let (size, content) = (self.size, &self.content);
            store.put_input(Input { key: &key, size, sha256, content }).await?;
        }
        let url = store.presign(&key, life).await?;
        Ok(Payload::Staged { url, size: self.size, sha256: self.sha256.clone() })
    }

    async fn bytes(&self) -> Result<Bytes> {
        let path = match &self.content {
            Content::Bytes(bytes) => return Ok(bytes.clone()),
            Content::Path(path) => path,
        };
        let input = |why: String| {
            Error::new(ErrorKind::Input, "read input", format!("{}: {why}", path.display()))
        };
        let bytes = tokio::fs::read(path).await.map_err(|error| input(error.to_string()))?;
        if hex::encode(Sha256::digest(&bytes)) != self.sha256 {
            return Err(input("it changed while it was read".into()));
        }
        Ok(bytes.into())
    }
}

fn digest(path: &PathBuf) -> std::io::Result<(u64, String)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // O_NONBLOCK, so that a FIFO without a writer is an error and not a hang.
    const O_NONBLOCK: i32 = 0o4000;
    let mut file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let (mut digest, mut size) = (Sha256::new(), 0);
    let mut chunk = vec![0; 256 << 10];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok((size, hex::encode(digest.finalize())));
        }
        digest.update(&chunk[..length]);
        size += length as u64;
    }
}
