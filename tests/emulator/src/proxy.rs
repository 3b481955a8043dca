//! The Runtime API that the runtime sees.
//!
//! Everything is the emulator's, but for a streamed response: the emulator keeps it until its
//! end, and up to 6 MB. Here its pieces go to the waiting caller as they come, and the emulator
//! gets a short stand-in, so that it goes on to the next event.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{any, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use crate::invocation::Slot;

pub(crate) type Http = Client<HttpConnector, Body>;

pub(crate) fn client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Small pieces must not wait for each other's acknowledgement.
pub(crate) fn no_delay(stream: &mut tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
}

#[derive(Clone)]
struct Proxy {
    slot: Arc<Slot>,
    /// `host:port` of the emulator's own Runtime API.
    behind: String,
    http: Http,
}

/// Serves the Runtime API on a port of its own; returns `host:port`.
pub(crate) async fn serve(slot: Arc<Slot>, behind: String) -> (String, tokio::task::AbortHandle) {
    let proxy = Proxy { slot, behind, http: client() };
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .fallback(any(pass))
        .with_state(proxy);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("address").to_string();
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener.tap_io(no_delay), router).await;
    });
    (address, task.abort_handle())
}

impl Proxy {
    async fn forward(&self, mut request: Request) -> Response<Body> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("http://{}{path}", self.behind).parse().expect("uri");
        *request.uri_mut() = uri;
        request.headers_mut().remove("host");
        match self.http.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(_) => answer(StatusCode::BAD_GATEWAY, ""),
        }
    }

    async fn post(&self, path: String, headers: &HeaderMap, body: Bytes) -> Response<Body> {
        let mut request = axum::http::Request::post(path).body(Body::from(body)).expect("request");
        for name in ["content-type", "lambda-runtime-function-error-type"] {
            if let Some(value) = headers.get(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        self.forward(request).await
    }
}

fn answer(status: StatusCode, body: &'static str) -> Response<Body> {
    Response::builder().status(status).body(Body::from(body)).expect("response")
}

/// What the emulator says to an answer while there is one.
fn not_now() -> Response<Body> {
    let state = r#"{"errorMessage":"State transition is not allowed","errorType":"InvalidStateTransition"}"#;
    answer(StatusCode::FORBIDDEN, state)
}

/// A body that is forwarded in one piece; longer than any that the emulator takes.
async fn whole(request: Request) -> Result<Bytes, Response<Body>> {
    let body = to_bytes(request.into_body(), 16 << 20).await;
    body.map_err(|_| answer(StatusCode::BAD_REQUEST, ""))
}

async fn pass(State(proxy): State<Proxy>, request: Request) -> Response<Body> {
    proxy.forward(request).await
}

async fn response(
    State(proxy): State<Proxy>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let mode = headers.get("lambda-runtime-function-response-mode");
    if proxy.slot.is_answered(&id) {
        return not_now();
    }
    if mode.is_none_or(|mode| mode != "streaming") {
        // The emulator sees it piece by piece, as it would without this proxy: what it refuses
        // depends on what is under way.
        let copy = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&copy);
        let (parts, body) = request.into_parts();
        let pieces = body.into_data_stream().inspect(move |piece| {
            if let Ok(piece) = piece {
                sink.lock().expect("copy").extend_from_slice(piece);
            }
        });
        let request = Request::from_parts(parts, Body::from_stream(pieces));
        let response = proxy.forward(request).await;
        if response.status() == StatusCode::ACCEPTED
            && let Some(live) = proxy.slot.answer(&id)
        {
            let body = Bytes::from(std::mem::take(&mut *copy.lock().expect("copy")));
            if let Some(live) = live {
                let _ = live.send(body.clone()).await;
            }
            proxy.slot.keep(&id, body);
        }
        return response;
    }
    let Some(live) = proxy.slot.answer(&id) else { return not_now() };
    let mut pieces = request.into_body().into_data_stream();
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { return answer(StatusCode::BAD_REQUEST, "") };
        match &live {
            // A caller that has gone does not stop the function.
            Some(live) => drop(live.send(piece).await),
            None => whole.extend_from_slice(&piece),
        }
    }
    let stand_in = match live {
        Some(_) => Bytes::from_static(b"streamed"),
        None => Bytes::from(whole),
    };
    proxy.slot.keep(&id, stand_in.clone());
    drop(live);
    proxy.post(path, &headers, stand_in).await
}

async fn error(
    State(proxy): State<Proxy>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let body = match whole(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    proxy.slot.fail(&id, body.clone());
    proxy.post(path, &headers, body).await
}
