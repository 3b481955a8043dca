//! The entrypoint of the Lambda image.
//!
//! It asks Lambda's Runtime API for one invocation after the other. Each is a
//! [`Request`](sandbox_core::remote::Request): the job runs with `sandbox-local`'s engine, with
//! whatever layers the environment gives, and the answer says which. Inputs come from URLs and
//! artifacts go to a form that the caller has signed; the function's own role needs no rights.
//!
//! Install it root-owned with mode 0711: the kernel then keeps its memory, environment and
//! descriptors from the job, which has the same user.

mod answer;
mod clock;
mod describe;
mod engine;
mod fetch;
mod handler;
mod hidden;
mod http;
mod live;
mod respond;
mod store;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use lambda_runtime::tower::layer::layer_fn;
use lambda_runtime::{Error, LambdaEvent, LambdaInvocation, Runtime, service_fn};
use serde_json::Value;

use crate::engine::Engine;
use crate::respond::RuntimeApi;

/// For files and for waiting.
const BLOCKING_THREADS: usize = 4;

fn main() -> ExitCode {
    let since = Instant::now();
    // One thread: the job needs the processors, and threads count against its user's limit.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(serve(since)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sandbox-runner: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(since: Instant) -> Result<(), Error> {
    let Ok(address) = std::env::var("AWS_LAMBDA_RUNTIME_API") else {
        return Err(
            "AWS_LAMBDA_RUNTIME_API is not set; this is the entrypoint of a Lambda image, \
                    use the sandbox command elsewhere"
                .into(),
        );
    };
    let engine = Arc::new(Engine::new().await?);
    let api = RuntimeApi::new(address);
    // The only line that the runner writes: what a job writes never gets here.
    let report = engine.init_report(since.elapsed());
    let _ = writeln!(std::io::stdout(), "{report}");
    let serve = move |invocation: LambdaInvocation| {
        handler::serve(Arc::clone(&engine), api.clone(), invocation)
    };
    // The layer answers by itself, so nothing gets to the handler that it is around.
    Runtime::new(service_fn(unreached))
        .layer(layer_fn(move |_| service_fn(serve.clone())))
        .run()
        .await
}

async fn unreached(_: LambdaEvent<Value>) -> Result<Value, Error> {
    Err("the layer around this handler answers".into())
}
