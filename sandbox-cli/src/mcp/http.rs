//! Many clients, over streamable HTTP.

mod connections;
pub(crate) mod origins;
mod sessions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use origins::Origins;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use sandbox::{Error, ErrorKind};
use sessions::Sessions;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::Tools;
use super::server::Server;
use crate::run::{Signals, say};

/// A shorter token can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// How long a stop waits for connections.
const GRACE: Duration = Duration::from_secs(2);
const SCHEME: &[u8] = b"Bearer ";
/// After how long without a message or a call that runs a client's files are gone.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Serves until a signal comes.
pub(crate) async fn serve(
    tools: Tools,
    address: SocketAddr,
    token: Option<String>,
    origins: &[String],
    mut signals: Signals,
) -> Result<(), Error> {
    let token = check(address, token)?;
    let failed = |error: io::Error| {
        Error::new(ErrorKind::Backend, "--http", format!("{address}: {error}")).with_source(error)
    };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let origins = Origins::new(address, origins);
    let stop = CancellationToken::new();
    let mut config = StreamableHttpServerConfig::default()
        .with_cancellation_token(stop.clone())
        .with_max_request_body_bytes(connections::MOST_BODY)
        // A page that a browser shows must not reach it, unless it is named.
        .with_allowed_origins(origins.all())
        .enforce_origin_validation();
    if !address.ip().is_loopback() {
        // The token is what counts; the names of this machine are not known.
        config = config.disable_allowed_hosts();
    }
    let sessions = Arc::new(Sessions::new(IDLE));
    let factory = factory(tools, stop.clone());
    let service = StreamableHttpService::new(factory, Arc::clone(&sessions), config);
    let mut router =
        Router::new().nest_service("/mcp", service).layer(middleware::from_fn(connections::whole));
    router = match token {
        None => router.layer(middleware::from_fn(prove)),
        Some(token) => {
            let expected = Sha256::digest(token).into();
            router.layer(middleware::from_fn(move |request, next| admit(expected, request, next)))
        }
    };
    let router = router
        .layer(middleware::from_fn(move |request, next| origins.clone().serve(request, next)));
    say(&format!("serving MCP at http://{address}/mcp"));
    let serving = connections::serve(listener, router, stop.clone());
    let stopped = async {
        signals.any().await;
        stop.cancel();
        // Programs are being killed. A client that only holds a connection does not count.
        tokio::select! {
            () = tokio::time::sleep(GRACE) => {}
            () = signals.any() => {}
        }
    };
    tokio::select! {
        () = serving => {}
        () = sessions.end_idle() => {}
        () = stopped => {}
    }
    Ok(())
}

/// An address that others reach needs a token, and a token must be one.
fn check(address: SocketAddr, token: Option<String>) -> Result<Option<String>, Error> {
    let wrong = |message: String| Err(Error::new(ErrorKind::InvalidJob, "--token", message));
    match token {
        None if address.ip().is_loopback() => Ok(None),
        None => wrong(format!(
            "{address} can be reached from other machines; give a token in SANDBOX_MCP_TOKEN, or \
             serve at 127.0.0.1"
        )),
        Some(token) if token.len() < SHORTEST_TOKEN => wrong(format!(
            "it has {} characters and can be guessed; give at least {SHORTEST_TOKEN} random ones",
            token.len()
        )),
        Some(token) => Ok(Some(token)),
    }
}

/// Makes a server for each session.
fn factory(tools: Tools, stop: CancellationToken) -> impl Fn() -> io::Result<Server> {
    move || {
        let tool = tools.make().map_err(io::Error::other)?;
        Ok(Server::new(tool).for_session(stop.child_token()))
    }
}

/// Lets a request in: its connection keeps its place.
async fn prove(request: Request, next: Next) -> Response {
    if let Some(proof) = request.extensions().get::<connections::Proof>() {
        proof.give();
    }
    next.run(request).await
}

/// Lets only those in who have the token. Digests are compared, so that the time it takes says
/// nothing about the token.
async fn admit(expected: [u8; 32], request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    // The scheme's case does not count.
    let given = given.and_then(|value| value.as_bytes().split_at_checked(SCHEME.len()));
    let token = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME));
    let digest = token.map(|(_, token)| <[u8; 32]>::from(Sha256::digest(token)));
    match digest {
        Some(given) if given == expected => prove(request, next).await,
        _ => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, "give the token as a bearer token")
                .into_response()
        }
    }
}
