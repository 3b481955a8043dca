//! One invocation, from its event to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambda_runtime::LambdaInvocation;
use sandbox_core::remote::frame::MAGIC;
use sandbox_core::remote::{Ask, Body, Failed, Request, Run, VERSION};
use sandbox_core::{Error, ErrorKind, Executor as _, Layer, LayerState, Outcome, Result};
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};

use crate::answer;
use crate::clock::Deadline;
use crate::describe::describe;
use crate::engine::Engine;
use crate::fetch::fetch;
use crate::live::Live;
use crate::respond::{RuntimeApi, STREAMING, Sent, WHOLE};

/// A connection that is silent for longer may be forgotten by what is between (350 s at a NAT
/// gateway).
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Serves one invocation. A failure of the job's or the runner's is an answer too; an error here
/// ends the process, so that the platform starts afresh.
pub(crate) async fn serve(
    engine: Arc<Engine>,
    api: RuntimeApi,
    invocation: LambdaInvocation,
) -> std::result::Result<(), lambda_runtime::Error> {
    let responder = api.responder(&invocation);
    let deadline = Deadline::at(invocation.context.deadline());
    let request = parse(&invocation.body);
    drop(invocation);
    let (sent, clean) = match request {
        Err(error) => {
            let body = Body::Failed(Failed::from(&error));
            let json = answer::encode("", body, None, deadline.for_uploads()).await;
            (responder.whole(json).await?, true)
        }
        Ok(Request { id, ask: Ask::Describe, .. }) => {
            let body = Body::Described(describe(&engine));
            let json = answer::encode(&id, body, None, deadline.for_uploads()).await;
            (responder.whole(json).await?, true)
        }
        Ok(Request { id, ask: Ask::Run(run), .. }) => {
            let (engine, id, run) = (&*engine, &*id, &*run);
            // JSON may begin with a blank.
            let (mode, first) = match run.live {
                true => (STREAMING, Bytes::from_static(&MAGIC)),
                false => (WHOLE, Bytes::from_static(b" ")),
            };
            let answering = |sender: mpsc::Sender<Bytes>| async move {
                let mut live = run.live.then(|| Live::new(sender.clone()));
                let (json, clean) = answer_to(engine, id, run, deadline, live.as_mut()).await;
                match live {
                    Some(live) => live.answer(json).await,
                    None => drop(sender.send(json).await),
                }
                clean
            };
            responder.begin(mode, first, answering).await?
        }
    };
    match (sent, clean) {
        (_, false) => Err("what the job left cannot be removed; starting afresh".into()),
        (Sent::Refused, _) => Err("a job answered in the runner's place; starting afresh".into()),
        (Sent::Taken, true) => Ok(()),
    }
}

fn parse(payload: &[u8]) -> Result<Request> {
    let invalid = |why: String| Error::new(ErrorKind::InvalidJob, "read request", why);
    // The version first: a later one may have fields that this one does not know.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } =
        serde_json::from_slice(payload).map_err(|error| invalid(error.to_string()))?;
    if version != VERSION {
        let message = format!(
            "the request has version {version}, this runner speaks {VERSION}; deploy the image \
             that belongs to the caller"
        );
        return Err(Error::new(ErrorKind::Unsupported, "read request", message));
    }
    serde_json::from_slice(payload).map_err(|error| invalid(error.to_string()))
}

/// Runs a job; returns the answer, and whether nothing of the job is left.
async fn answer_to(
    engine: &Engine,
    id: &str,
    run: &Run,
    deadline: Deadline,
    live: Option<&mut Live>,
) -> (Bytes, bool) {
    let by = deadline.for_uploads();
    let result = match engine.first_time(id) {
        true => run_job(engine, run, deadline, live).await,
        false => Err(Error::new(
            ErrorKind::Conflict,
            "read request",
            "this request was delivered before; ask with a new id",
        )
        .with_may_have_run()),
    };
    let mut clean;
    let mut body = match result {
        Ok(outcome) => {
            clean = !matches!(outcome.enforcement.state(Layer::Cleanup), LayerState::Degraded(_))
                || engine.shared.is_some();
            answer::finished(engine, run, outcome, by).await
        }
        Err(error) => {
            // A supervisor that does not report may hold the engine; the platform starts afresh.
            clean = error.operation() != SUPERVISE;
            Body::Failed(Failed::from(&error))
        }
    };
    // Also after errors, which may come from a job that killed its supervisor.
    if clean && let Err(left) = engine.local.sweep().await {
        clean = false;
        if let Body::Finished(finished) = &mut body {
            let state = LayerState::Degraded(left.message().to_owned());
            finished.enforcement.insert(Layer::Cleanup.name().to_owned(), state);
        }
    }
    (answer::encode(id, body, Some(run), by).await, clean)
}

async fn run_job(
    engine: &Engine,
    run: &Run,
    deadline: Deadline,
    live: Option<&mut Live>,
) -> Result<Outcome> {
    let too_late = || {
        let message = "too little is left of the function's timeout to run anything; raise it";
        Error::new(ErrorKind::PlatformTimeout, "start", message).with_retryable(true)
    };
    engine.check(run.required.iter().copied(), run.not_off.iter().copied())?;
    let uploads = run.upload.is_some();
    deadline.for_program(uploads).ok_or_else(too_late)?;
    let fetched = fetch(run, deadline.for_uploads()).await?;
    let time = deadline.for_program(uploads).ok_or_else(too_late)?;
    let limits = engine.fit(fetched.job.limits.clone(), time);
    let job = fetched.job.to_builder().limits(limits).build()?;
    let mut execution = engine.local.start(job).await?;
    drop(fetched);
    let end = async {
        if let Some(live) = live {
            loop {
                match timeout(HEARTBEAT, execution.next_event()).await {
                    Ok(Some(event)) => live.event(event).await,
                    Ok(None) => break,
                    Err(_) => live.heartbeat().await,
                }
                if live.is_gone() {
                    execution.cancel_handle().cancel();
                    break;
                }
            }
        }
        execution.outcome().await
    };
    // The engine holds the wall clock; this only notices an engine that a job has stopped.
    match timeout_at(deadline.for_uploads(), end).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = "the supervisor did not report in time; the job may have stopped it";
            Err(Error::new(ErrorKind::Lost, SUPERVISE, message).with_may_have_run())
        }
    }
}

/// The step at which nothing more is heard of a job.
const SUPERVISE: &str = "await supervisor";
