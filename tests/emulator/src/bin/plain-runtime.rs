//! A bare `lambda_runtime` handler: what anybody would write first.
//!
//! `{"command": [...]}` is run and its output is the answer, or goes to the log with
//! `"inherit": true`; anything else is the answer itself.
//! The job inherits everything, and nothing is cleaned up. Attacks that the runner withstands are
//! shown here to work.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let Some(command) = event.payload["command"].as_array() else { return Ok(event.payload) };
    let argv: Vec<_> = command.iter().filter_map(Value::as_str).collect();
    let (program, args) = argv.split_first().ok_or("an empty command")?;
    let mut command = tokio::process::Command::new(program);
    command.args(args);
    if event.payload["inherit"] == true {
        let status = command.status().await?;
        return Ok(json!({ "status": status.code() }));
    }
    let output = command.output().await?;
    Ok(json!({
        "status": output.status.code(),
        "stdout": String::from_utf8_lossy(&output.stdout),
        "stderr": String::from_utf8_lossy(&output.stderr),
    }))
}
