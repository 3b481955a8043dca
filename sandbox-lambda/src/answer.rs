//! From an answer to an outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sandbox_core::remote::{Answer, Body, File, FileContent, Finished, ObjectRef, VERSION};
use sandbox_core::{ArtifactContent, Error, ErrorKind, Result, Skipped};
use sha2::{Digest as _, Sha256};

use crate::content::Object;
use crate::executor::Shared;

/// Looks at objects at once.
const CONCURRENCY: usize = 16;

/// Kinds of error that a runner has before it knows a request's id.
const UNREAD: [&str; 2] = ["invalid_job", "unsupported"];

fn untrusted(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Untrusted, "read answer", why).with_may_have_run()
}

/// Reads the answer to the request `id`, from the bucket where it was too long, but not `most`.
pub(crate) async fn read(
    shared: &Shared,
    id: &str,
    prefix: &str,
    json: &Bytes,
    most: u64,
) -> Result<Body> {
    let body = parse(id, json)?;
    let Body::Staged(object) = body else { return Ok(body) };
    if object.size > most {
        return Err(untrusted(format!("it claims {} bytes", object.size)));
    }
    let key = format!("{prefix}{}", object.index);
    let staged = shared.store.get(&key, object.size).await;
    let staged = staged.map_err(Error::with_may_have_run)?;
    let staged = staged.ok_or_else(|| untrusted("it names an object that does not exist"))?;
    let digest: [u8; 32] = Sha256::digest(&staged).into();
    if object.digest() != Some(digest) {
        return Err(untrusted("the object that it names is not the one that was stored"));
    }
    match parse(id, &staged)? {
        Body::Staged(_) => Err(untrusted("it names an object that names another")),
        body => Ok(body),
    }
}

fn parse(id: &str, json: &[u8]) -> Result<Body> {
    let answer: Answer =
        serde_json::from_slice(json).map_err(|error| untrusted(format!("it is none: {error}")))?;
    if answer.version != VERSION {
        return Err(untrusted(format!("it has version {}, not {VERSION}", answer.version)));
    }
    // A runner that cannot read a request does not know its id.
    let unread = answer.id.is_empty()
        && matches!(&answer.body, Body::Failed(failed) if UNREAD.contains(&failed.kind.as_str()));
    if answer.id != id && !unread {
        return Err(untrusted("it belongs to another request"));
    }
    Ok(answer.body)
}

/// Makes handles to the objects beneath a job's own prefix, and nowhere else.
pub(crate) fn objects(
    shared: &Shared,
    prefix: &str,
) -> impl Fn(&ObjectRef) -> Result<Arc<dyn ArtifactContent>> {
    let (store, prefix) = (shared.store.clone(), prefix.to_owned());
    move |object| {
        let key = format!("{prefix}{}", object.index);
        Ok(Arc::new(Object { store: store.clone(), key }))
    }
}

/// Takes out artifacts that are not in the bucket, or not in the size that the answer claims.
pub(crate) async fn drop_missing(
    shared: &Shared,
    prefix: &str,
    finished: &mut Finished,
) -> Result<()> {
    let object = |file: &File| match &file.content {
        FileContent::Object(object) => Some(object.clone()),
        FileContent::Inline(_) => None,
    };
    let objects: Vec<_> = finished.artifacts.iter().filter_map(object).collect();
    let looks = stream::iter(objects).map(|object| async move {
        let key = format!("{prefix}{}", object.index);
        Ok::<_, Error>((object.index, shared.store.has(&key, object.size).await?))
    });
    let there: BTreeMap<_, _> = looks
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(Error::with_may_have_run)?;
    let skipped = &mut finished.skipped;
    finished.artifacts.retain(|file| {
        let FileContent::Object(object) = &file.content else { return true };
        if there.get(&object.index) == Some(&true) {
            return true;
        }
        let reason = "it is not in the bucket in the size that the answer claims".to_owned();
        skipped.push(Skipped { path: file.path.clone(), reason });
        false
    });
    Ok(())
}
