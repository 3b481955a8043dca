//! The two ways to invoke a function.

use std::time::Duration;

use aws_sdk_lambda::operation::RequestId as _;
use aws_sdk_lambda::operation::invoke_with_response_stream::InvokeWithResponseStreamOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{InvokeWithResponseStreamResponseEvent as StreamEvent, LogType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sandbox_core::remote::frame::{Decoder, Frame, FrameError};
use sandbox_core::remote::{Answer, Ask, Body, Described, Request};
use sandbox_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, timeout, timeout_at};

use crate::executor::Shared;
use crate::function::FunctionSpec;
use crate::platform::FunctionError;
use crate::service;
use crate::trace;

/// Beyond the function's timeout: its init, and the way there and back.
const SLACK: Duration = Duration::from_secs(30);

/// How the platform says that an invocation ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) request_id: String,
    pub(crate) version: String,
    pub(crate) error: Option<FunctionError>,
    pub(crate) log: String,
}

/// What came of a buffered invocation.
#[derive(Debug)]
pub(crate) struct Buffered {
    pub(crate) body: Bytes,
    pub(crate) end: End,
}

fn log_text(base64: Option<&str>) -> String {
    let bytes = base64.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn no_answer(function: &FunctionSpec) -> Error {
    let message = format!(
        "{}: no answer {SLACK:?} after the function's timeout of {:?}",
        function.name, function.timeout
    );
    Error::new(ErrorKind::Lost, "invoke", message).with_may_have_run()
}

/// Invokes and waits for the whole answer.
pub(crate) async fn buffered(
    shared: &Shared,
    function: &FunctionSpec,
    tenant: Option<String>,
    payload: Bytes,
) -> Result<Buffered> {
    let sent = shared
        .lambda
        .invoke()
        .function_name(&function.name)
        .log_type(LogType::Tail)
        .set_tenant_id(tenant)
        .payload(Blob::new(payload))
        .send();
    let sent = trace::call(trace::lambda("Invoke", &shared.region, &function.name), sent);
    let answered =
        timeout(function.timeout + SLACK, sent).await.map_err(|_| no_answer(function))?;
    let output = answered.map_err(|error| service::describe("invoke", &function.name, error))?;
    let body = output.payload().map(|blob| Bytes::copy_from_slice(blob.as_ref()));
    let body = body.unwrap_or_default();
    let end = End {
        request_id: output.request_id().unwrap_or_default().to_owned(),
        version: output.executed_version().unwrap_or_default().to_owned(),
        error: output.function_error().map(|_| FunctionError::from_body(&body)),
        log: log_text(output.log_result()),
    };
    Ok(Buffered { body, end })
}

/// A live answer.
#[derive(Debug)]
pub(crate) struct Stream {
    output: InvokeWithResponseStreamOutput,
    decoder: Decoder,
    deadline: Instant,
    name: String,
    /// Bytes of the response so far, which Lambda bills.
    pub(crate) bytes: u64,
    end: Option<End>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    Frame(Frame),
    End(End),
}

impl Stream {
    /// Invokes; returns when the platform has let the request in.
    pub(crate) async fn open(
        shared: &Shared,
        function: &FunctionSpec,
        tenant: Option<String>,
        payload: Bytes,
    ) -> Result<Self> {
        let deadline = Instant::now() + function.timeout + SLACK;
        let sent = shared
            .lambda
            .invoke_with_response_stream()
            .function_name(&function.name)
            .log_type(LogType::Tail)
            .set_tenant_id(tenant)
            .payload(Blob::new(payload))
            .send();
        let span = trace::lambda("InvokeWithResponseStream", &shared.region, &function.name);
        let sent = trace::call(span, sent);
        let output = timeout_at(deadline, sent).await.map_err(|_| no_answer(function))?;
        let output = output.map_err(|error| service::describe("invoke", &function.name, error))?;
        let name = function.name.clone();
        Ok(Self { output, decoder: Decoder::new(), deadline, name, bytes: 0, end: None })
    }

    /// The next frame, or the end. Cancel-safe: what was received stays in the decoder.
    pub(crate) async fn next(&mut self) -> Result<Next> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(|error| self.untrusted(error))? {
                return Ok(Next::Frame(frame));
            }
            if let Some(end) = self.end.take() {
                return Ok(Next::End(end));
            }
            // A caller that reads slowly may be past the deadline with all of it on the way.
            let deadline = self.deadline.max(Instant::now() + SLACK);
            let event = timeout_at(deadline, self.output.event_stream.recv()).await;
            let event = event.map_err(|_| {
                let message = format!("{}: the stream did not end in time", self.name);
                Error::new(ErrorKind::Lost, "invoke", message).with_may_have_run()
            })?;
            let event = event.map_err(|error| {
                let causes = service::causes(&error);
                let message = format!("{}: the stream broke: {causes}", self.name);
                Error::new(ErrorKind::Lost, "invoke", message).with_may_have_run()
            })?;
            match event {
                Some(StreamEvent::PayloadChunk(chunk)) => {
                    let payload = chunk.payload().map(AsRef::as_ref).unwrap_or_default();
                    self.bytes += payload.len() as u64;
                    self.decoder.push(payload);
                }
                Some(StreamEvent::InvokeComplete(complete)) => {
                    let error = complete
                        .error_code()
                        .map(|code| FunctionError::from_stream(code, complete.error_details()));
                    self.end = Some(End {
                        request_id: self.output.request_id().unwrap_or_default().to_owned(),
                        version: self.output.executed_version().unwrap_or_default().to_owned(),
                        error,
                        log: log_text(complete.log_result()),
                    });
                }
                Some(_) => {}
                None => {
                    let message = format!("{}: the stream ended before the invocation", self.name);
                    return Err(Error::new(ErrorKind::Lost, "invoke", message).with_may_have_run());
                }
            }
        }
    }

    fn untrusted(&self, error: FrameError) -> Error {
        let message = format!("{}: {error}", self.name);
        Error::new(ErrorKind::Untrusted, "read answer", message).with_may_have_run()
    }
}

/// Asks a function's runner what it can do.
pub(crate) async fn describe(shared: &Shared, function: &FunctionSpec) -> Result<Described> {
    let id = uuid::Uuid::new_v4().to_string();
    let request = Request::new(id.clone(), Ask::Describe);
    let payload = serde_json::to_vec(&request)
        .map_err(|error| Error::new(ErrorKind::Backend, "write request", error.to_string()))?;
    let tenant = function.tenant_isolation.then(|| "sandbox-describe".to_owned());
    let Buffered { body, end } = buffered(shared, function, tenant, payload.into()).await?;
    if let Some(error) = &end.error {
        return Err(error.verdict(&end.log, None).error(&function.name, error));
    }
    match serde_json::from_slice::<Answer>(&body) {
        Ok(Answer { version, id: of, body: Body::Described(described) })
            if version == sandbox_core::remote::VERSION && of == id =>
        {
            Ok(described)
        }
        Ok(Answer { body: Body::Failed(failed), .. }) => Err(failed.into()),
        _ => {
            let message = format!(
                "{} does not answer as a runner of this version; its image's entrypoint must be \
                 sandbox-runner",
                function.name
            );
            Err(Error::new(ErrorKind::Misconfigured, "describe", message))
        }
    }
}
