//! Puts files where the caller's signed form allows.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::multipart::{Form, Part};
use sandbox_core::Artifact;
use sandbox_core::remote::{File, FileContent, ObjectRef, Upload};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout_at};

use crate::http;

/// Uploads at once.
const CONCURRENCY: usize = 8;
/// Attempts for each object; the wait before the next doubles.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Files up to this size travel in the answer, as long as half of it is left for the rest.
const INLINE: u64 = 64 << 10;
/// The object that a long answer becomes; artifacts count from one.
const ANSWER_INDEX: u32 = 0;

/// Where each artifact went, or why it went nowhere.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) files: Vec<File>,
    pub(crate) lost: Vec<(String, String)>,
}

/// Places every artifact: small ones into the answer, the others into the store.
pub(crate) async fn artifacts(
    artifacts: Vec<Artifact>,
    upload: Option<&Upload>,
    answer_limit: u64,
    deadline: Instant,
) -> Stored {
    let mut room = answer_limit / 2;
    let mut number = ANSWER_INDEX;
    let places = artifacts.into_iter().map(|artifact| {
        // Base64 takes four bytes for three, the entry itself some hundred.
        let cost = artifact.size() / 3 * 4 + artifact.path().len() as u64 + 128;
        let inline = artifact.size() <= INLINE && cost <= room;
        if inline {
            room -= cost;
        } else {
            number += 1;
        }
        (artifact, if inline { None } else { Some(number) })
    });
    let places: Vec<_> = places.collect();
    let placed = stream::iter(places.into_iter().map(|(artifact, object)| async move {
        let path = artifact.path().to_owned();
        let content = match (object, upload) {
            (None, _) => {
                let bytes = artifact.bytes().await;
                bytes.map(FileContent::Inline).map_err(|error| error.message().to_owned())
            }
            (Some(index), Some(upload)) => {
                let reference =
                    ObjectRef { index, size: artifact.size(), sha256: artifact.sha256() };
                let body = Content::Artifact(&artifact);
                let sent = post(upload, index, artifact.size(), body, deadline).await;
                sent.map(|()| FileContent::Object(reference))
            }
            (Some(_), None) => Err("it is too large for the answer, and no store was given".into()),
        };
        (path, content)
    }));
    let mut placed = placed.buffered(CONCURRENCY);
    let mut stored = Stored::default();
    while let Some((path, content)) = placed.next().await {
        match content {
            Ok(content) => stored.files.push(File { path, content }),
            Err(why) => stored.lost.push((path, why)),
        }
    }
    stored
}

/// Stores an answer that is too long to be sent.
pub(crate) async fn answer(
    upload: &Upload,
    json: Bytes,
    deadline: Instant,
) -> Result<ObjectRef, String> {
    let size = json.len() as u64;
    let sha256 = hex::encode(Sha256::digest(&json));
    post(upload, ANSWER_INDEX, size, Content::Bytes(&json), deadline).await?;
    Ok(ObjectRef { index: ANSWER_INDEX, size, sha256 })
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Artifact(&'a Artifact),
    Bytes(&'a Bytes),
}

/// Posts one object. A store makes it visible whole or not at all, so trying again is safe.
async fn post(
    upload: &Upload,
    index: u32,
    size: u64,
    content: Content<'_>,
    deadline: Instant,
) -> Result<(), String> {
    if size > upload.object_limit {
        return Err(format!(
            "{size} bytes, over the {} that an upload may have",
            upload.object_limit
        ));
    }
    let mut wait = FIRST_WAIT;
    let mut attempt = 1;
    loop {
        let late = || "it was not stored before the function's deadline".to_owned();
        let (why, again) = match timeout_at(deadline, once(upload, index, size, content)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure,
            Err(_) => return Err(late()),
        };
        if !again || attempt == ATTEMPTS || Instant::now() + wait >= deadline {
            return Err(format!("it was not stored: {why}"));
        }
        sleep(wait).await;
        wait *= 2;
        attempt += 1;
    }
}

/// One attempt; its failure says whether another may help.
async fn once(
    upload: &Upload,
    index: u32,
    size: u64,
    content: Content<'_>,
) -> Result<(), (String, bool)> {
    let body = match content {
        Content::Bytes(bytes) => reqwest::Body::from(bytes.clone()),
        Content::Artifact(artifact) => reqwest::Body::wrap_stream(artifact.stream()),
    };
    let mut form = Form::new().text("key", format!("{}{index}", upload.prefix));
    for (name, value) in &upload.fields {
        form = form.text(name.clone(), value.clone());
    }
    // The store ignores what follows the file.
    let form = form.part("file", Part::stream_with_length(body, size).file_name("object"));
    let client = http::client().map_err(|error| (error.to_string(), false))?;
    let response = client
        .post(&upload.url)
        .multipart(form)
        .send()
        .await
        .map_err(|error| (http::describe(error), true))?;
    if response.status().is_success() {
        return Ok(());
    }
    let again = response.status().is_server_error() || response.status().as_u16() == 429;
    Err((http::refusal(response).await, again))
}
