//! Gets what travels outside the request.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use bytes::Bytes;
use sandbox_core::remote::{Payload, Run, RunProgram};
use sandbox_core::{Content, Error, ErrorKind, Job, Result};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::http;

/// A job with its inputs at hand. The files have no names, so wiping the scratch folder does not
/// concern them, and they are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) job: Job,
    _files: Vec<File>,
}

/// Fetches the payloads and builds the job.
pub(crate) async fn fetch(run: &Run, deadline: Instant) -> Result<Fetched> {
    let mut kept = Vec::new();
    let code = match &run.program {
        RunProgram::Command(_) => None,
        RunProgram::Source { code, .. } => {
            match content("code", code, deadline, &mut kept).await? {
                Content::Bytes(bytes) => Some(bytes),
                Content::Path(path) => Some(read(path).await?),
            }
        }
    };
    let stdin = match &run.stdin {
        None => None,
        Some(payload) => Some(content("stdin", payload, deadline, &mut kept).await?),
    };
    let mut files = Vec::new();
    for (path, payload) in &run.files {
        files.push((path.clone(), content(path, payload, deadline, &mut kept).await?));
    }
    Ok(Fetched { job: run.to_job(code, stdin, files)?, _files: kept })
}

async fn read(path: PathBuf) -> Result<Bytes> {
    let read = tokio::fs::read(path).await;
    read.map(Bytes::from).map_err(|error| {
        Error::new(ErrorKind::HostExhausted, "read program", error.to_string()).with_source(error)
    })
}

async fn content(
    name: &str,
    payload: &Payload,
    deadline: Instant,
    kept: &mut Vec<File>,
) -> Result<Content> {
    match payload {
        Payload::Inline(bytes) => Ok(Content::Bytes(bytes.clone())),
        Payload::Staged { url, size, sha256 } => {
            let file = timeout_at(deadline, download(name, url, *size, sha256)).await;
            let file = file.map_err(|_| {
                let message = format!("{name} did not arrive before the function's deadline");
                Error::new(ErrorKind::Storage, "fetch input", message).with_retryable(true)
            })??;
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            kept.push(file);
            Ok(Content::Path(path.into()))
        }
    }
}

async fn download(name: &str, url: &str, size: u64, sha256: &str) -> Result<File> {
    let failed = |why: String, retryable: bool| {
        let message = format!("{name}: {why}");
        Error::new(ErrorKind::Storage, "fetch input", message).with_retryable(retryable)
    };
    let disk = |error: std::io::Error| {
        let message = format!("{name}: {error}; the function's ephemeral storage is too small");
        Error::new(ErrorKind::HostExhausted, "fetch input", message).with_retryable(false)
    };
    let mut response = http::client()?
        .get(url)
        .send()
        .await
        .map_err(|error| failed(http::describe(error), true))?;
    if !response.status().is_success() {
        let again = response.status().is_server_error();
        return Err(failed(http::refusal(response).await, again));
    }
    let mut file = tempfile::tempfile().map_err(disk)?;
    let (mut digest, mut received) = (Sha256::new(), 0u64);
    loop {
        let chunk = response.chunk().await.map_err(|error| failed(http::describe(error), true))?;
        let Some(chunk) = chunk else { break };
        received += chunk.len() as u64;
        if received > size {
            return Err(failed(format!("more than the {size} bytes that were announced"), false));
        }
        digest.update(&chunk);
        file.write_all(&chunk).map_err(disk)?;
    }
    if received != size || hex::encode(digest.finalize()) != sha256 {
        let why = format!("{received} of {size} bytes arrived, or others than were announced");
        return Err(failed(why, received < size));
    }
    Ok(file)
}
