//! A small web service that runs the code it is given.
//!
//! `cargo run -p hybrid` runs jobs in the local sandbox. With `SANDBOX_BACKEND=lambda` and the
//! variables of `LambdaExecutor::from_env` the same service, still on the developer's machine,
//! sends them to a shared development function; deployed, it does the same. Without an account,
//! as root: `scripts/emulator target/debug/hybrid`.
//!
//! ```console
//! $ curl -s localhost:8080/run -d '{"runtime": "python", "code": "print(6 * 7)"}'
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::wire::{OutcomeJson, RefusalJson};
use sandbox::{Error, ErrorKind, Executor, ExecutorExt as _, Job, LimitConcurrency, Size};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a client asks for. The limits are the service's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    runtime: String,
    code: String,
    #[serde(default)]
    tenant: Option<String>,
}

type Shared = Arc<LimitConcurrency<Arc<dyn Executor>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = sandbox::from_env().await?;
    let backend = executor.capabilities().backend.clone();
    // One user with a loop must not starve the others, nor empty the account.
    let executor: Shared = Arc::new(LimitConcurrency::new(executor, 16, Duration::from_secs(10)));
    let router = Router::new().route("/run", post(run)).with_state(executor);
    let address = std::env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:8080".into());
    let listener = tokio::net::TcpListener::bind(address.parse::<SocketAddr>()?).await?;
    say(&format!("running code on backend {backend} at http://{}/run", listener.local_addr()?));
    axum::serve(listener, router).await?;
    Ok(())
}

async fn run(
    State(executor): State<Shared>,
    Json(request): Json<Request>,
) -> (StatusCode, Json<Value>) {
    match outcome(&executor, request).await {
        Ok(outcome) => (StatusCode::OK, Json(outcome)),
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::InvalidJob | ErrorKind::UnknownRuntime => StatusCode::BAD_REQUEST,
                _ if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_GATEWAY,
            };
            (status, Json(json!(RefusalJson::new(&error))))
        }
    }
}

/// The outcome as JSON, with the bytes of small files.
async fn outcome(executor: &Shared, request: Request) -> Result<Value, Error> {
    let mut job = Job::source(request.runtime, request.code)
        .timeout(Duration::from_secs(10))
        .memory(Size::mib(256));
    if let Some(tenant) = request.tenant {
        job = job.tenant(tenant);
    }
    let outcome = executor.run(job.build()?).await?;
    let mut value = json!(OutcomeJson::new(&outcome, &Default::default()));
    for (index, artifact) in outcome.artifacts.iter().enumerate() {
        if artifact.size() <= 1 << 20 {
            let bytes = artifact.bytes().await?;
            value["artifacts"][index]["base64"] = STANDARD.encode(bytes).into();
        }
    }
    Ok(value)
}

fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}
