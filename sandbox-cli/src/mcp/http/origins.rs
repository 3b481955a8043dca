//! Pages in browsers that may use the server, and answers as clients want them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// What a page may send besides what every page may.
const SENT: &str = "authorization, content-type, accept, last-event-id, mcp-protocol-version, \
                    mcp-session-id, mcp-method, mcp-name";
const READ: &str = "mcp-session-id, mcp-protocol-version";

/// The origins of pages that may use the server.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    /// Those that the command line names: only these are pages of somebody's.
    named: Arc<[String]>,
    all: Vec<String>,
}

impl Origins {
    /// Those that are named, and this machine's own names for the server, which clients send that
    /// are no pages.
    pub(super) fn new(address: SocketAddr, named: &[String]) -> Self {
        let hosts = ["127.0.0.1", "localhost", "[::1]"];
        let own = hosts.iter().map(|host| format!("http://{host}:{}", address.port()));
        let own = own.filter(|_| address.ip().is_loopback());
        Self { named: named.into(), all: own.chain(named.iter().cloned()).collect() }
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.all.clone()
    }

    /// Answers a page's questions, and lets it read what is answered.
    pub(super) async fn serve(self, request: Request, next: Next) -> Response {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let origin =
            origin.filter(|origin| self.named.iter().any(|named| origin == named.as_str()));
        let asks = request.method() == Method::OPTIONS;
        let deletes = request.method() == Method::DELETE;
        let mut response = match (&origin, asks) {
            (Some(_), true) => StatusCode::NO_CONTENT.into_response(),
            _ => next.run(request).await,
        };
        if deletes && response.status() == StatusCode::ACCEPTED {
            // The session is gone when this is sent.
            response = StatusCode::NO_CONTENT.into_response();
        }
        let Some(origin) = origin else { return response };
        let headers = response.headers_mut();
        let mut say = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        say(header::VARY, "origin");
        say(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE");
        say(header::ACCESS_CONTROL_ALLOW_HEADERS, SENT);
        say(header::ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response
    }
}

/// Reads `SCHEME://HOST[:PORT]`, as browsers send it.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let wrong = || "not an origin; give SCHEME://HOST[:PORT], such as http://localhost:6274".into();
    let host = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_host = |host: &str| {
        !host.is_empty()
            && !host.contains(['/', '*', '?', '#', '@'])
            && !host.contains(char::is_whitespace)
            && !host.contains(char::is_uppercase)
    };
    if host.is_some_and(is_host) { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for good in ["http://localhost:6274", "https://app.example.com", "http://[::1]:80"] {
            assert_eq!(origin(good).as_deref(), Ok(good));
        }
        for bad in ["", "localhost", "http://", "http://a/", "https://*", "null", "http://A.com"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
