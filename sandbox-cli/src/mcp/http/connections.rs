//! The connections of all clients: so many and no more, and none is held open by half a request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::mcp::surrogates;

/// Connections at once. A client holds one to listen and one for each call that runs.
const MOST: usize = 256;
/// How long a request's head may take, and then its body. A connection without a request is closed
/// after as long, or earlier when others need its place.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait where nothing can be accepted, for example for want of descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of a body: a program in JSON, every character of it escaped.
pub(super) const MOST_BODY: usize = 8 << 20;

/// Values in a body, each of which the parser makes some hundred bytes of.
const MOST_VALUES: usize = 100_000;

/// Whether a connection has made a request that was let in.
#[derive(Clone, Debug, Default)]
pub(super) struct Proof(Arc<AtomicBool>);

impl Proof {
    pub(super) fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connections that hold a place. Those that have proven nothing make room for new ones.
#[derive(Debug, Default)]
struct Guests(VecDeque<(Proof, AbortHandle)>);

impl Guests {
    /// Takes a new one. Closes the oldest without proof when there are too many.
    fn admit(&mut self, proof: Proof, handle: AbortHandle) {
        self.0.retain(|(_, handle)| !handle.is_finished());
        if self.0.len() >= MOST
            && let Some(oldest) =
                self.0.iter().position(|(proof, _)| !proof.0.load(Ordering::Relaxed))
            && let Some((_, handle)) = self.0.remove(oldest)
        {
            handle.abort();
        }
        self.0.push_back((proof, handle));
    }
}

/// Serves until `stop`, and then what has begun.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    // One more than guests at once: a new one is taken before an older one goes.
    let places = Arc::new(Semaphore::new(MOST + 1));
    let mut guests = Guests::default();
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let serving = async {
        // Nobody closes the semaphore.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let proof = Proof::default();
            let router = router.clone().layer(Extension(proof.clone()));
            let service = TowerToHyperService::new(router);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            let guest = tokio::spawn(async move {
                // What goes wrong with a connection is its client's to see.
                let _ = connection.await;
                drop(place);
            });
            guests.admit(proof, guest.abort_handle());
        }
    };
    stop.run_until_cancelled(serving).await;
    graceful.shutdown().await;
}

/// At most how many values JSON has: each but the first is behind one of these, outside of strings.
fn values(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' | b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Reads the whole body before anything is made of it.
pub(super) async fn whole(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let refused = |status: StatusCode, why: &'static str| (status, why).into_response();
    match timeout(PATIENCE, to_bytes(body, MOST_BODY)).await {
        Ok(Ok(bytes)) if values(&bytes) > MOST_VALUES => refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body has more than 100,000 values; send less",
        ),
        Ok(Ok(bytes)) => {
            let mended = surrogates::mend(&mut Vec::new(), bytes);
            next.run(Request::from_parts(head, Body::from(mended))).await
        }
        Ok(Err(_)) => refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body did not arrive whole, or has more than 8 MiB; send less",
        ),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in 20 seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(values(b"1"), 1);
        assert_eq!(values(br#"{"a,[{":"\",[","b":[1,2]}"#), 7);
        assert_eq!(values(&[b'['; 50]), 51);
    }
}
