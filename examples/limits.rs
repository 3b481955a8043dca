//! One program for every way to end, and what the outcome says about it.
//! `cargo run --example limits`

use std::time::Duration;

use sandbox::wire::OutcomeJson;
use sandbox::{Executor, Job, JobBuilder, LocalExecutor, Size};
use serde_json::Value;

fn programs() -> Vec<(&'static str, JobBuilder)> {
    let dd = ["dd", "if=/dev/zero", "of=big", "bs=1M", "count=64", "status=none"];
    vec![
        ("exits with 3", Job::bash("exit 3")),
        ("exits with 137", Job::bash("exit 137")),
        ("kills itself", Job::bash("kill -KILL $$")),
        ("sleeps too long", Job::bash("sleep 60").timeout(Duration::from_millis(300))),
        (
            "spins in two processes",
            Job::bash("while :; do :; done & while :; do :; done")
                .limit(|limits| limits.cpu = Some(Duration::from_millis(400))),
        ),
        ("a child eats memory", Job::bash("tail /dev/zero & wait; sleep 60").memory(Size::mib(64))),
        (
            "prints without end",
            Job::bash("yes").limit(|limits| limits.output = Size::kib(64)).stop_at_output_limit(),
        ),
        (
            "writes a file too large",
            Job::command(dd).limit(|limits| limits.file_size = Some(Size::mib(8))),
        ),
        ("is cancelled", Job::bash("echo started; sleep 60")),
    ]
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = LocalExecutor::new().await?;
    println!("{:<26} {:<11} {:>6} {:>8}  evidence", "program", "reason", "code", "ms");
    for (what, job) in programs() {
        let execution = executor.start(job.build()?).await?;
        if what == "is cancelled" {
            let cancel = execution.cancel_handle();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                cancel.cancel();
            });
        }
        let outcome = execution.outcome().await?;
        let json = serde_json::to_value(OutcomeJson::new(&outcome, &Default::default()))?;
        let end = &json["termination"];
        let code = [&end["code"], &end["signal"]].into_iter().find(|value| !value.is_null());
        println!(
            "{what:<26} {:<11} {:>6} {:>8.1}  {}",
            outcome.termination.reason(),
            code.map(Value::to_string).unwrap_or_default(),
            outcome.usage.wall.as_secs_f64() * 1e3,
            end["evidence"],
        );
    }
    Ok(())
}
