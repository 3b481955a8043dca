//! An application that runs out of descriptors. A file of its own: it takes all that its process has.

mod support;

use std::fs::File;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sandbox_core::{ErrorKind, Executor as _, ExecutorExt as _, Job, Size};
use support::executor;

/// Leaves 240 MiB that nobody asked for, and artifacts too large to be read at once.
const FILES: &str = "
import os
for n in range(60): open(f'junk-{n}', 'wb').write(os.urandom(1 << 20) * 4)
os.makedirs('a/b')
for n in range(40): open(f'a/b/kept-{n}.bin', 'wb').write(bytes([n]) * 17000)
";

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("descriptors").count()
}

fn shared_memory() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("Shmem:")).expect("Shmem");
    line.trim().trim_end_matches(" kB").parse().expect("number")
}

/// Takes every descriptor that this process may have.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[tokio::test]
async fn want_of_descriptors_loses_no_file_and_artifacts_hold_few() {
    let executor = executor().await;
    let job = || {
        let job = Job::python(FILES).artifact("a/**").limit(|limits| limits.memory = Size::gib(1));
        job.build().expect("job")
    };
    let _ = executor.run(job()).await.expect("warm-up");

    // Kept outcomes hold a descriptor each, and of the workspace nothing but their artifacts.
    let (before, memory) = (descriptors(), shared_memory());
    let mut kept = Vec::new();
    for _ in 0..3 {
        let outcome = executor.run(job()).await.expect("outcome");
        assert_eq!(outcome.artifacts.len(), 40, "{:?}", outcome.skipped);
        kept.push(outcome);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(descriptors() <= before + 3, "{} and {before}", descriptors());
    let grown = shared_memory() - memory;
    assert!(grown < 60 << 10, "three outcomes hold {grown} KiB of memory");
    for (number, artifact) in kept[1].artifacts.iter().enumerate() {
        let bytes = artifact.bytes().await.expect("bytes");
        assert!(artifact.path().starts_with("a/b/kept-") && bytes.len() == 17000, "{number}");
    }
    drop(kept);

    // The soft limit is this process's own to lower and to raise again.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limit");
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(512), hard).expect("lowered");
    let slow = |seconds: &str| {
        let code =
            format!("{FILES}\nimport time; print('done', flush=True); time.sleep({seconds})");
        Job::python(code).artifact("a/**").limit(|limits| limits.memory = Size::gib(1)).build()
    };
    // As long as nothing is given back, the job's files are unknown, and said to be.
    let execution = executor.start(slow("1.5").expect("job")).await.expect("started");
    let taken = take_all();
    let error = execution.outcome().await.expect_err("no descriptor is left");
    drop(taken);
    assert_eq!(error.kind(), ErrorKind::HostExhausted, "{error}");
    assert!(error.may_have_run(), "{error}");
    // When others give some back in time, nothing is lost.
    let execution = executor.start(slow("0.5").expect("job")).await.expect("started");
    let taken = take_all();
    let outcome = tokio::spawn(execution.outcome());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(taken);
    let outcome = outcome.await.expect("joined").expect("outcome");
    assert_eq!((outcome.artifacts.len(), outcome.skipped.len()), (40, 0));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("raised");
}
