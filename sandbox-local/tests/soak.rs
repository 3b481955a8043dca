//! Nothing accumulates. A file of its own: it counts what its process holds.

mod support;

use std::fs;
use std::time::Duration;

use sandbox_core::{ErrorKind, ExecutorExt as _, Job};
use support::{alive, children_named, eventually, executor};

/// Everything that could grow, by name.
fn counts() -> Vec<(&'static str, usize)> {
    let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    let lines = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().count();
    let own = format!("sandbox-{}-", std::process::id());
    vec![
        ("descriptors", entries("/proc/self/fd")),
        ("temporary files", count_named(&std::env::temp_dir(), "sandbox-", 1)),
        ("mounts", lines("/proc/self/mountinfo")),
        ("children", children_named("sandbox").len()),
        ("cgroups", count_named(std::path::Path::new("/sys/fs/cgroup"), &own, 6)),
    ]
}

fn count_named(folder: &std::path::Path, prefix: &str, depth: usize) -> usize {
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    let mut count = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count += usize::from(entry.file_name().to_string_lossy().starts_with(prefix));
            count += count_named(&entry.path(), prefix, depth);
        }
    }
    count
}

/// `SANDBOX_SOAK=2000` makes it long.
#[tokio::test]
async fn many_jobs_leave_no_trace() {
    let jobs = std::env::var("SANDBOX_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let executor = executor().await;
    let job = |number: usize| match number % 4 {
        0 => Job::command(["true"]),
        1 => Job::bash("sleep 910008 & echo x > file"),
        2 => Job::bash("sleep 910008").timeout(Duration::from_millis(20)),
        _ => Job::command(["no-such-program"]),
    };
    let run = |count: usize| {
        let jobs: Vec<_> = (0..count).map(|n| job(n).build().expect("job")).collect();
        let outcomes = executor.run_all(jobs, 64);
        async move {
            use futures_util::StreamExt as _;
            let refused = |result: &sandbox_core::Result<_>| {
                result.as_ref().is_err_and(|e| e.kind() == ErrorKind::ProgramNotFound)
            };
            let results: Vec<_> = outcomes.collect().await;
            for (number, result) in &results {
                assert_eq!(refused(result), number % 4 == 3, "{number}: {result:?}");
            }
            results.len()
        }
    };
    run(64).await;
    assert!(eventually(|| children_named("sandbox").is_empty()).await);
    let before = counts();
    assert_eq!(run(jobs).await, jobs);
    assert!(eventually(|| counts() == before).await, "{before:?} became {:?}", counts());
    assert_eq!(alive("910008"), [0; 0]);
}
