//! A data-analysis job as a model would write it: reads an input file, prints a result, leaves
//! a file. `cargo run --example quickstart`

use sandbox::{ExecutorExt, Job, LocalExecutor, Size};

const PROGRAM: &str = include_str!("data/summarize.py");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = LocalExecutor::new().await?;
    let job = Job::python(PROGRAM)
        .file("sales.csv", include_str!("data/sales.csv"))
        .memory(Size::mib(128))
        .timeout(std::time::Duration::from_secs(10))
        .build()?;
    let outcome = executor.run(job).await?;

    print!("{}", outcome.stdout.text());
    eprint!("{}", outcome.stderr.text());
    println!("ended: {:?}", outcome.termination);
    for artifact in &outcome.artifacts {
        let path = artifact.save_to("target/quickstart").await?;
        println!(
            "saved: {} ({} bytes, {})",
            path.display(),
            artifact.size(),
            artifact.media_type()
        );
    }
    println!(
        "took {:.1} ms to start and {:.1} ms to run; peak memory {}",
        outcome.timing.startup.as_secs_f64() * 1e3,
        outcome.timing.run.as_secs_f64() * 1e3,
        outcome.usage.peak_memory.unwrap_or_default(),
    );
    if outcome.is_success() { Ok(()) } else { Err("the program failed".into()) }
}
