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
    pub(crate) fn live(self) -> (mpsc::Sender<Bytes>, impl Future<Output = Result<Sent, Error>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let frames = stream::unfold(receiver, |mut receiver| async move {
            let bytes: Bytes = receiver.recv().await?;
            Some((Ok(hyper::body::Frame::data(bytes)), receiver))
        });
        let sending =
            async move { self.post(StreamBody::new(frames).boxed(), Some("streaming")).await };
        (sender, sending)
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
