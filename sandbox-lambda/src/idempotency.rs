//! One result for each key: stored once, by a write that only the first wins, and replayed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::remote::{Finished, Run};
use sandbox_core::{Error, ErrorKind, Event, Execution, Job, Layer, LayerState, Outcome, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::answer;
use crate::executor::Shared;
use crate::store::{Store, Written};

/// Conditional writes before giving up, and the wait between two.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// A stored result is as long as an answer may be.
const MOST: u64 = 1 << 30;

/// An idempotency key, and what it may be used for.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    object: String,
    /// Digest of everything that the job is.
    fingerprint: String,
}

/// A result as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    version: u32,
    fingerprint: String,
    /// Where its artifacts are.
    pub(crate) prefix: String,
    pub(crate) request_id: String,
    pub(crate) function: String,
    pub(crate) finished: Finished,
}

impl Key {
    pub(crate) fn new(
        store: &Store,
        key: &str,
        tenant: Option<&str>,
        outline: &Run,
    ) -> Result<Self> {
        let json = serde_json::to_vec(&(tenant, outline))
            .map_err(|error| Error::new(ErrorKind::Backend, "digest job", error.to_string()))?;
        // A NUL is in neither, so no two pairs are the same text.
        let name = format!("{}\0{key}", tenant.unwrap_or_default());
        let object = store.result_key(&hex::encode(Sha256::digest(name)));
        Ok(Self { object, fingerprint: hex::encode(Sha256::digest(json)) })
    }

    /// The stored result.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when it is another job's.
    pub(crate) async fn look_up(&self, store: &Store) -> Result<Option<Stored>> {
        let Some(bytes) = store.get(&self.object, MOST).await? else { return Ok(None) };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("s3://{}/{}: {error}", store.bucket, self.object);
            Error::new(ErrorKind::Storage, "read result", message).with_retryable(false)
        })?;
        if stored.fingerprint != self.fingerprint {
            let message = "the idempotency key was used for another job; use a new key";
            return Err(Error::new(ErrorKind::Conflict, "idempotency_key", message));
        }
        Ok(Some(stored))
    }

    /// Stores a result; returns the one that was first.
    pub(crate) async fn store(
        &self,
        store: &Store,
        finished: Finished,
        prefix: String,
        request_id: String,
        function: String,
    ) -> Result<Option<Stored>> {
        let fingerprint = self.fingerprint.clone();
        let stored = Stored { version: 1, fingerprint, prefix, request_id, function, finished };
        let json = serde_json::to_vec(&stored)
            .map_err(|error| Error::new(ErrorKind::Backend, "store result", error.to_string()))?;
        let json = Bytes::from(json);
        for _ in 0..ATTEMPTS {
            if store.put_first(&self.object, json.clone()).await? == Written::First {
                return Ok(None);
            }
            match self.look_up(store).await? {
                // Ours: a write that was repeated found what it had written.
                Some(first) if first.prefix == stored.prefix => return Ok(None),
                Some(first) => return Ok(Some(first)),
                // Another's write was under way, and came to nothing.
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        let message = format!("s3://{}/{}: another write is under way", store.bucket, self.object);
        Err(Error::new(ErrorKind::Storage, "store result", message))
    }
}

/// An execution of what was executed before.
pub(crate) async fn replay(shared: &Arc<Shared>, job: &Job, stored: Stored) -> Result<Execution> {
    let outcome = outcome(shared, job, stored).await?;
    let (execution, driver) = Execution::channel();
    let (events, mut stop, finish) = driver.into_parts();
    tokio::spawn(async move {
        let output = async {
            events.send(Event::Started).await;
            for (bytes, event) in [
                (outcome.stdout.bytes(), Event::Stdout as fn(_) -> _),
                (outcome.stderr.bytes(), Event::Stderr),
            ] {
                if !bytes.is_empty() {
                    events.send(event(bytes)).await;
                }
            }
        };
        // What is stored is whole: there is nothing to stop, only somebody to stop waiting for.
        tokio::select! {
            () = output => {}
            _ = stop.requested() => {}
        }
        drop(events);
        finish.finish(Ok(outcome));
    });
    Ok(execution)
}

/// The outcome of a stored result. It costs nothing: nothing ran.
pub(crate) async fn outcome(shared: &Arc<Shared>, job: &Job, stored: Stored) -> Result<Outcome> {
    let Stored { prefix, request_id, function, mut finished, .. } = stored;
    // The bucket may have let them expire meanwhile.
    answer::drop_missing(shared, &prefix, &mut finished).await?;
    let mut outcome = finished.into_outcome(job, [], answer::objects(shared, &prefix))?;
    let known = shared.functions.iter().find(|known| known.name == function);
    for layer in [Layer::MicroVm, Layer::Vpc] {
        outcome.enforcement = outcome.enforcement.with(layer, LayerState::Off);
    }
    for (layer, state) in known.map(|known| shared.platform(known)).into_iter().flatten() {
        outcome.enforcement = outcome.enforcement.with(layer, state);
    }
    outcome.facts.insert("replayed".into(), "true".into());
    outcome.facts.insert("request_id".into(), request_id);
    outcome.facts.insert("function".into(), function);
    outcome.facts.insert("cost_unknown".into(), "the result was stored; nothing ran".into());
    Ok(outcome)
}
