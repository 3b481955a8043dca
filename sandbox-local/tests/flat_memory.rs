//! Output past its cap. A file of its own: it measures its process.

mod support;

use sandbox_core::{Event, Executor as _, ExecutorExt as _, Job};
use support::executor;

fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("field");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("number")
}

/// Each piece that an application keeps costs what it weighs.
async fn tiny_pieces_cost_what_they_weigh() {
    let code = "import os\nfor _ in range(100_000): os.write(1, b'x')";
    let before = resident("VmRSS:");
    let mut execution =
        executor().await.start(Job::python(code).build().expect("job")).await.expect("started");
    let (mut kept, mut bytes) = (Vec::new(), 0);
    while let Some(event) = execution.next_event().await {
        if let Event::Stdout(piece) = &event {
            bytes += piece.len();
        }
        kept.push(event);
    }
    let grown = resident("VmRSS:").saturating_sub(before);
    assert_eq!(bytes, 100_000);
    assert!(grown < 8 << 10, "{} events cost {grown} KiB", kept.len());
}

#[tokio::test]
async fn output_past_its_cap_costs_no_memory() {
    let executor = executor().await;
    let flood = |bytes: u64| Job::command(["head", "-c", &bytes.to_string(), "/dev/zero"]).build();
    let _ = executor.run(flood(8 << 20).expect("job")).await.expect("warm-up");
    let before = resident("VmHWM:");
    let outcome = executor.run(flood(1 << 30).expect("job")).await.expect("outcome");
    assert_eq!(outcome.stdout.total, 1 << 30);
    assert!(outcome.stdout.is_truncated());
    let grown = resident("VmHWM:") - before;
    assert!(grown < 8 << 10, "grew by {grown} KiB");
    // One after the other: both measure this process.
    tiny_pieces_cost_what_they_weigh().await;
}
