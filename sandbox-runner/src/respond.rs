//! Sends answers to the Runtime API.
//!
//! `lambda_runtime` could do that too, but leaves Nagle's algorithm on, which holds the end of a
//! live answer back for 40 ms, and does not tell whether the answer was taken: when it was not,
//! somebody else has answered, and that can only have been the job.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lambda_runtime::{Error, LambdaInvocation};
use tokio::sync::mpsc;

type Body = BoxBody<Bytes, Infallible>;

/// Pieces of an answer that wait for the platform to take them.
const QUEUE: usize = 4;

/// How a live answer is announced.
pub(crate) const STREAMING: Option<&str> = Some("streaming");
/// How an answer that comes at once is announced.
pub(crate) const WHOLE: Option<&str> = None;

/// The Runtime API, for answers.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeApi {
    http: Client<HttpConnector, Body>,
    /// `host:port`.
    address: String,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Taken,
    /// The invocation has an answer already.
    Refused,
}

/// Where the answer to one invocation goes.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    api: RuntimeApi,
    request_id: String,
    invocation_id: Option<http::HeaderValue>,
}

impl RuntimeApi {
    pub(crate) fn new(address: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { http: Client::builder(TokioExecutor::new()).build(connector), address }
    }

    pub(crate) fn responder(&self, invocation: &LambdaInvocation) -> Responder {
        Responder {
            api: self.clone(),
            request_id: invocation.context.request_id.clone(),
            invocation_id: invocation.parts.headers.get("lambda-runtime-invocation-id").cloned(),
        }
    }
}

impl Responder {
    /// Sends a whole answer.
    pub(crate) async fn whole(&self, json: Bytes) -> Result<Sent, Error> {
        self.post(Full::new(json).boxed(), None).await
    }

    /// Sends an answer as it is made: what is sent into the channel, until that is closed.
    ///
    /// The platform takes one answer for each invocation, and gives no event to anybody while it
    /// is under way. So it begins before a job does, which can then neither answer in the runner's
    /// place nor ask for the next caller's event.
    fn piecewise(
        self,
        mode: Option<&'static str>,
    ) -> (mpsc::Sender<Bytes>, impl Future<Output = Result<Sent, Error>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let frames = stream::unfold(receiver, |mut receiver| async move {
            let bytes: Bytes = receiver.recv().await?;
            Some((Ok(hyper::body::Frame::data(bytes)), receiver))
        });
        let sending = async move { self.post(StreamBody::new(frames).boxed(), mode).await };
        (sender, sending)
    }

    /// Begins an answer with `first`, has `make` finish it while it is sent, and returns what
    /// became of it with what `make` returned.
    pub(crate) async fn begin<T, F>(
        self,
        mode: Option<&'static str>,
        first: Bytes,
        make: impl FnOnce(mpsc::Sender<Bytes>) -> F,
    ) -> Result<(Sent, T), Error>
    where
        F: Future<Output = T>,
    {
        let (sender, sending) = self.piecewise(mode);
        let making = async move {
            let _ = sender.send(first).await;
            // When the queue is empty again the connection has taken it, and the head of the
            // request is on its way. An error means that nobody takes it: `make` sees that too.
            drop(sender.reserve_many(QUEUE).await);
            make(sender).await
        };
        let (sent, made) = tokio::join!(sending, making);
        Ok((sent?, made))
    }

    async fn post(&self, body: Body, mode: Option<&str>) -> Result<Sent, Error> {
        let path = format!("/2018-06-01/runtime/invocation/{}/response", self.request_id);
        let mut request = http::Request::post(format!("http://{}{path}", self.api.address));
        if let Some(mode) = mode {
            request = request
                .header("Lambda-Runtime-Function-Response-Mode", mode)
                .header("Content-Type", "application/octet-stream");
        }
        if let Some(id) = &self.invocation_id {
            request = request.header("Lambda-Runtime-Invocation-Id", id);
        }
        let response = self.api.http.request(request.body(body)?).await?;
        Ok(match response.status().as_u16() {
            400 | 403 => Sent::Refused,
            // Too large is the platform's to report.
            _ => Sent::Taken,
        })
    }
}
