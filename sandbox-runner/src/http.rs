//! The one way out: signed URLs of an object store.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, Response};
use sandbox_core::{Error, ErrorKind, Result};

/// Longest wait for a connection, and for the next byte.
const CONNECT: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(10);
/// Bytes of an error's body that are read.
const ERROR_BODY: usize = 4096;

/// The client, made when it is first needed: most jobs need none.
pub(crate) fn client() -> Result<Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let client = build()
        .map_err(|error| Error::new(ErrorKind::Storage, "make HTTP client", error.to_string()))?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

fn build() -> std::result::Result<Client, Box<dyn std::error::Error>> {
    // The certificates are in the program: images without any work, and so do those in which
    // somebody added one.
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .build()?)
}

/// Why a request failed, with its causes and without its URL: that is signed.
pub(crate) fn describe(error: reqwest::Error) -> String {
    use std::error::Error as _;
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// What the store says about a request that it refused.
pub(crate) async fn refusal(mut response: Response) -> String {
    let status = response.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ERROR_BODY {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body);
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(text, _)| text.to_owned())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("{status}: {code}: {message}"),
        (Some(code), None) => format!("{status}: {code}"),
        _ => status.to_string(),
    }
}
