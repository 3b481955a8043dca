//! From an outcome to an answer that fits.

use bytes::Bytes;
use sandbox_core::remote::{Answer, Body, Failed, Finished, Run};
use sandbox_core::{Error, ErrorKind, Outcome, Skipped};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::store;

/// Describes an outcome, with its artifacts on their way.
pub(crate) async fn finished(
    engine: &Engine,
    run: &Run,
    mut outcome: Outcome,
    deadline: Instant,
) -> Body {
    outcome.enforcement = engine.enforcement(&outcome.enforcement);
    let artifacts = std::mem::take(&mut outcome.artifacts);
    let stored = store::artifacts(artifacts, run.upload.as_ref(), run.answer_limit, deadline).await;
    let lost = stored.lost.into_iter().map(|(path, reason)| Skipped { path, reason });
    outcome.skipped.extend(lost);
    Body::Finished(Box::new(Finished::new(&outcome, stored.files)))
}

/// The answer as JSON, within the limit that the request gives.
pub(crate) async fn encode(id: &str, body: Body, run: Option<&Run>, deadline: Instant) -> Bytes {
    let json = json(id, body);
    let Some(run) = run else { return json };
    if json.len() as u64 <= run.answer_limit {
        return json;
    }
    let stored = match &run.upload {
        Some(upload) => store::answer(upload, json.clone(), deadline).await,
        None => Err("no store was given".to_owned()),
    };
    let body = match stored {
        Ok(object) => Body::Staged(object),
        Err(why) => {
            let message = format!("the answer has {} bytes, and {why}", json.len());
            let error = Error::new(ErrorKind::AnswerTooLarge, "answer", message);
            Body::Failed(Failed::from(&error.with_may_have_run()))
        }
    };
    self::json(id, body)
}

fn json(id: &str, body: Body) -> Bytes {
    match serde_json::to_vec(&Answer::new(id, body)) {
        Ok(json) => json.into(),
        // Cannot happen to these types; an answer that does not parse is refused by the caller.
        Err(error) => error.to_string().into_bytes().into(),
    }
}
