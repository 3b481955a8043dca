//! The connections of all clients: so many and no more, and none is held open by half a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::mcp::surrogates;

/// Connections at once. A client holds one to listen and one for each call that runs.
const MOST: usize = 256;
/// How long a request's head may take, and then its body. A connection without a request is closed
/// after as long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait where nothing can be accepted, for example for want of descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of a body: a program in JSON, every character of it escaped.
pub(super) const MOST_BODY: usize = 8 << 20;

/// Serves until `stop`, and then what has begun.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MOST));
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
            let service = TowerToHyperService::new(router.clone());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // What goes wrong with a connection is its client's to see.
                let _ = connection.await;
                drop(place);
            });
        }
    };
    stop.run_until_cancelled(serving).await;
    graceful.shutdown().await;
}

/// Reads the whole body before anything is made of it.
pub(super) async fn whole(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let refused = |status: StatusCode, why: &'static str| (status, why).into_response();
    match timeout(PATIENCE, to_bytes(body, MOST_BODY)).await {
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
