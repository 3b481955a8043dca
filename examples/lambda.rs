//! The quickstart's job in AWS Lambda.
//!
//! With an account: name the function and the bucket in `SANDBOX_LAMBDA_FUNCTIONS` and
//! `SANDBOX_LAMBDA_BUCKET`, and run `cargo run --example lambda --features lambda`. Without one,
//! as root: `cargo run --example lambda --features lambda -- --emulator` runs it on AWS's own
//! emulator, with the runner that an image holds.

use std::process::Command;

use sandbox::{Event, Executor, Job, LambdaExecutor, Size};

const PROGRAM: &str = include_str!("data/summarize.py");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|arg| arg == "--emulator") {
        // Starts the emulator and this program again, with variables that lead to it.
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/emulator");
        let status = Command::new(script).arg(std::env::current_exe()?).status()?;
        return if status.success() { Ok(()) } else { Err("the job failed".into()) };
    }
    let executor = LambdaExecutor::from_env().await?;
    let job = Job::python(PROGRAM)
        .file("sales.csv", include_str!("data/sales.csv"))
        .memory(Size::mib(256))
        .timeout(std::time::Duration::from_secs(10))
        .build()?;
    let mut execution = executor.start(job).await?;
    while let Some(event) = execution.next_event().await {
        if let Event::Stdout(bytes) = event {
            print!("{}", String::from_utf8_lossy(&bytes));
        }
    }
    let outcome = execution.outcome().await?;
    eprint!("{}", outcome.stderr.text());
    println!("ended: {:?}", outcome.termination);
    for artifact in &outcome.artifacts {
        let path = artifact.save_to("target/lambda").await?;
        println!("saved: {} ({} bytes)", path.display(), artifact.size());
    }
    match &outcome.cost {
        Some(cost) => println!("cost: ${:.9} for {}", cost.usd, cost.basis),
        None => println!("cost: unknown: {}", outcome.facts["cost_unknown"]),
    }
    println!("request {} of {}", outcome.facts["request_id"], outcome.facts["function"]);
    if outcome.is_success() { Ok(()) } else { Err("the program failed".into()) }
}
