//! Nothing survives a job, and nothing accumulates.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox_core::{ErrorKind, Event, Executor as _, ExecutorExt as _, Job, Termination};
use support::{alive, children_named, eventually, executor, run};

/// A tree that tries to outlive its job: double fork, new sessions, ignored signals, a held pipe.
fn stubborn(marker: &str) -> String {
    format!(
        "trap '' TERM HUP INT\n\
         (setsid sh -c 'trap \"\" TERM HUP INT; exec sleep {marker}' &)\n\
         (sleep {marker} &)\n\
         setsid sleep {marker} </dev/null &\n\
         sleep 0.05\n\
         echo ready\n"
    )
}

#[tokio::test]
async fn the_tree_is_dead_when_the_job_has_ended() {
    let outcome = run(Job::bash(stubborn("910001"))).await;
    assert_eq!(outcome.stdout.text(), "ready\n", "the attack ran");
    assert_eq!(alive("910001"), [0; 0]);
}

#[tokio::test]
async fn the_tree_is_dead_after_a_timeout() {
    let script = stubborn("910002") + "kill -STOP $$";
    let since = Instant::now();
    let outcome = run(Job::bash(script).timeout(Duration::from_millis(300))).await;
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_eq!(alive("910002"), [0; 0]);
}

#[tokio::test]
async fn the_tree_is_dead_after_a_drop() {
    let job = Job::bash(stubborn("910003") + "sleep 910003").build().expect("job");
    let mut execution = executor().await.start(job).await.expect("started");
    while let Some(event) = execution.next_event().await {
        if matches!(event, Event::Stdout(_)) {
            break;
        }
    }
    assert!(!alive("910003").is_empty(), "the attack ran");
    drop(execution);
    assert!(eventually(|| alive("910003").is_empty()).await, "{:?}", alive("910003"));
}

#[tokio::test]
async fn the_tree_is_dead_after_the_runtime_is_shut_down() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let execution = runtime.block_on(async {
            let job = Job::bash("sleep 910004").build().expect("job");
            executor().await.start(job).await.expect("started")
        });
        assert!(!alive("910004").is_empty(), "the job runs");
        runtime.shutdown_background();
        drop(execution);
    })
    .join()
    .expect("thread");
    assert!(eventually(|| alive("910004").is_empty()).await, "{:?}", alive("910004"));
}

#[tokio::test]
async fn a_killed_supervisor_takes_the_tree_with_it() {
    let job = Job::bash(stubborn("910005") + "sleep 910005").build().expect("job");
    let mut execution = executor().await.start(job).await.expect("started");
    while let Some(event) = execution.next_event().await {
        if matches!(event, Event::Stdout(_)) {
            break;
        }
    }
    let supervisors = children_named("sandbox-supervisor");
    assert_eq!(supervisors.len(), 1, "{supervisors:?}");
    kill(Pid::from_raw(supervisors[0] as i32), Signal::SIGKILL).expect("own child");
    let error = execution.outcome().await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(error.may_have_run());
    assert!(error.to_string().contains("nothing of the job is left"), "{error}");
    assert_eq!(alive("910005"), [0; 0]);
}

#[tokio::test]
async fn a_chain_that_forks_and_exits_does_not_escape() {
    let hop = "import os, time\n\
               print('hopping', flush=True)\n\
               if os.fork() == 0:\n    \
                   while True:\n        \
                       if os.fork(): os._exit(0)\n        \
                       time.sleep(0.005)\n";
    let outcome = run(Job::python(hop).arg("910006")).await;
    assert_eq!(outcome.stdout.text(), "hopping\n");
    assert_eq!(alive("910006"), [0; 0]);
}

#[tokio::test]
async fn a_fork_bomb_meets_its_limit_and_ends() {
    let bomb = "import os\n\
                count = 0\n\
                try:\n    \
                    while True:\n        \
                        if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '910007'])\n        \
                        count += 1\n\
                except OSError as error: print(count, error.errno)\n";
    let outcome = run(Job::python(bomb).limit(|limits| limits.processes = 20)).await;
    assert_eq!(outcome.stdout.text(), "19 11\n", "{}", outcome.stderr.text());
    assert_eq!(alive("910007"), [0; 0]);
}

#[tokio::test]
async fn orphans_are_reaped_while_the_job_runs() {
    let code = "import os, time\n\
                for _ in range(300):\n    \
                    if os.fork() == 0:\n        \
                        if os.fork() == 0: os._exit(0)\n        \
                        os._exit(0)\n    \
                    os.wait()\n\
                time.sleep(0.1)\n\
                print(len([p for p in os.listdir('/proc') if p.isdigit()]))";
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.stdout.text(), "2\n", "{}", outcome.stderr.text());
}

/// Everything that could grow, by name.
fn counts() -> Vec<(&'static str, usize)> {
    let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    let lines = |path: &str| fs::read_to_string(path).unwrap_or_default().lines().count();
    let own = format!("sandbox-{}-", std::process::id());
    vec![
        ("descriptors", entries("/proc/self/fd")),
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
