//! Output past its cap. A file of its own: it measures its process.

mod support;

use sandbox_core::{ExecutorExt as _, Job};
use support::executor;

#[tokio::test]
async fn output_past_its_cap_costs_no_memory() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("number")
    };
    let executor = executor().await;
    let flood = |bytes: u64| Job::command(["head", "-c", &bytes.to_string(), "/dev/zero"]).build();
    executor.run(flood(8 << 20).expect("job")).await.expect("warm-up");
    let before = resident();
    let outcome = executor.run(flood(1 << 30).expect("job")).await.expect("outcome");
    assert_eq!(outcome.stdout.total, 1 << 30);
    assert!(outcome.stdout.is_truncated());
    let grown = resident() - before;
    assert!(grown < 8 << 10, "grew by {grown} KiB");
}
