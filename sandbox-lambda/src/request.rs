//! A request, ready to be sent.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sandbox_core::remote::{Ask, Request};
use sandbox_core::{Error, ErrorKind, Limits, Result};

use crate::drive::Call;
use crate::form::Form;

/// Bytes of a request or a response that Lambda takes.
pub(crate) const MAX_PAYLOAD: u64 = 6 << 20;
/// Bytes that a buffered answer may have, well below Lambda's bound.
const ANSWER_LIMIT: u64 = 5 << 20;
/// How long signed requests live beyond the function's timeout.
const SIGNED_SLACK: Duration = Duration::from_secs(120);
/// The largest object that S3 takes in one piece.
const MAX_OBJECT: u64 = 5 << 30;

/// One attempt to run a job. Each has an id of its own, and with it a prefix of its own.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: String,
    pub(crate) prefix: String,
}

/// Bytes that an answer to a job with these limits may have when it goes through the bucket.
pub(crate) fn longest_answer(limits: &Limits) -> u64 {
    // Two streams in base64, and as much again for everything else as a buffered answer has.
    limits.output.as_u64().saturating_mul(4).saturating_add(64 << 20)
}

/// Stages the inputs, signs the upload and writes the request; returns it with its payload.
pub(crate) async fn prepare(call: &Call) -> Result<(Prepared, Bytes)> {
    let shared = &call.shared;
    let id = uuid::Uuid::new_v4().to_string();
    let life = call.function.timeout + SIGNED_SLACK;
    let prefix = shared.store.job_prefix(&id);
    let limits = &call.job.limits;
    // An answer that is too long is uploaded too.
    let answer = longest_answer(limits);
    let form = Form {
        url: &shared.upload_url,
        bucket: &shared.store.bucket,
        prefix: prefix.clone(),
        object_limit: limits.artifacts.as_u64().max(answer).min(MAX_OBJECT),
        life,
        region: &shared.region,
    };
    let upload = form.sign(&shared.signer(life).await?, SystemTime::now())?;
    let mut inline_limit = shared.settings.inline_limit;
    loop {
        let mut run = call.items.stage(&call.job, &shared.store, inline_limit, life).await?;
        run.required.clone_from(&call.required);
        // These two are not the runner's to have.
        for layer in [sandbox_core::Layer::MicroVm, sandbox_core::Layer::Vpc] {
            run.required.remove(&layer);
        }
        run.not_off.clone_from(&call.not_off);
        run.live = shared.settings.streaming;
        run.answer_limit = ANSWER_LIMIT;
        run.upload = Some(upload.clone());
        let request = Request::new(id.clone(), Ask::Run(Box::new(run)));
        let payload = serde_json::to_vec(&request)
            .map_err(|error| Error::new(ErrorKind::Backend, "write request", error.to_string()))?;
        if payload.len() as u64 <= MAX_PAYLOAD {
            return Ok((Prepared { id, prefix }, payload.into()));
        }
        if inline_limit == 0 {
            let message = format!(
                "arguments, variables and paths make a request of {} bytes, and Lambda takes \
                 {MAX_PAYLOAD}; put data into files",
                payload.len()
            );
            return Err(Error::new(ErrorKind::InvalidJob, "write request", message));
        }
        // Base64 and many entries can take more than was reckoned with.
        inline_limit = if inline_limit > 1 << 20 { inline_limit / 2 } else { 0 };
    }
}
