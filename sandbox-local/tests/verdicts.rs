//! Every way to end, told apart, with its evidence.

mod support;

use std::time::Duration;

use futures_util::StreamExt as _;
use sandbox_core::{ExecutorExt as _, Job, JobBuilder, LimitKind, Size, Termination};
use support::{executor, run};

#[tokio::test]
async fn every_exit_code_is_itself() {
    let executor = executor().await;
    let jobs: Vec<_> =
        (0..=255).map(|code| Job::bash(format!("exit {code}")).build().expect("job")).collect();
    let ends: Vec<_> = executor.run_all(jobs, 8).collect().await;
    assert_eq!(ends.len(), 256);
    for (code, outcome) in ends {
        let end = outcome.expect("outcome").termination;
        assert_eq!(end, Termination::Exited(code as i32));
    }
}

#[tokio::test]
async fn every_fatal_signal_is_itself_and_no_limit() {
    // Those whose default is to ignore, stop or continue do not end a process.
    let harmless = [17, 18, 19, 20, 21, 22, 23, 28];
    let executor = executor().await;
    for signal in (1..32).chain(34..=64).filter(|signal| !harmless.contains(signal)) {
        let code = format!(
            "import os, signal, time\n\
             if {signal} not in (9,): signal.signal({signal}, signal.SIG_DFL)\n\
             os.kill(os.getpid(), {signal}); time.sleep(5)"
        );
        let job = Job::python(code).build().expect("job");
        let outcome = executor.run(job).await.expect("outcome");
        assert_eq!(outcome.termination, Termination::Signaled(signal), "signal {signal}");
    }
}

#[tokio::test]
async fn an_ignored_signal_of_the_application_is_not_inherited() {
    // Rust programs ignore SIGPIPE; a job that inherited that would print an error instead.
    let outcome = run(Job::bash("yes | head -1; echo ${PIPESTATUS[0]}")).await;
    assert_eq!(outcome.stdout.text(), "y\n141\n");
}

async fn ends(job: JobBuilder) -> Termination {
    run(job).await.termination
}

#[tokio::test]
async fn memory_is_the_trees() {
    let spread = "import os, time\n\
                  for _ in range(4):\n    \
                      if os.fork() == 0:\n        \
                          block = bytearray(40 << 20); time.sleep(10)\n\
                  time.sleep(10)";
    let end = ends(Job::python(spread).memory(Size::mib(128))).await;
    let Termination::Memory(evidence) = end else { panic!("{end:?}") };
    assert_eq!(evidence.limit, Size::mib(128));
    assert!(evidence.peak > Some(Size::mib(100)), "{evidence:?}");
    assert!(evidence.oom_kills >= 1);
}

#[tokio::test]
async fn memory_behind_files_counts() {
    let fill = "block = b'x' * (1 << 20)\n\
                with open('/dev/shm/fill', 'wb') as file:\n    \
                    for _ in range(60): file.write(block)\n\
                print('filled')";
    let outcome = run(Job::python(fill).memory(Size::mib(40))).await;
    assert!(matches!(outcome.termination, Termination::Memory(_)), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.total, 0);
}

#[tokio::test]
async fn a_file_too_large_and_a_full_workspace_are_named() {
    let dd = |count: &str| {
        Job::command(["dd", "if=/dev/zero", "of=big", "bs=1M", &format!("count={count}")])
    };
    let end = ends(dd("4").limit(|limits| limits.file_size = Some(Size::mib(2)))).await;
    let Termination::Disk(evidence) = end else { panic!("{end:?}") };
    assert_eq!((evidence.limit_kind, evidence.signal), (LimitKind::FileSize, 25));

    // A full workspace is an error that the program can handle, so its exit is its own.
    let full = run(dd("8").limit(|limits| limits.workspace = Some(Size::mib(4)))).await;
    assert_eq!(full.termination, Termination::Exited(1));
    assert!(full.limits_hit.contains(&LimitKind::Workspace), "{:?}", full.limits_hit);
    assert!(full.stderr.text().contains("No space left"), "{}", full.stderr.text());

    let mapped = "import mmap\n\
                  file = open('big', 'w+b'); file.truncate(32 << 20)\n\
                  view = mmap.mmap(file.fileno(), 32 << 20)\n\
                  for at in range(0, 32 << 20, 4096): view[at] = 1";
    let end = ends(Job::python(mapped).limit(|limits| limits.workspace = Some(Size::mib(4)))).await;
    let Termination::Disk(evidence) = end else { panic!("{end:?}") };
    assert_eq!((evidence.limit_kind, evidence.signal), (LimitKind::Workspace, 7));
}

#[tokio::test]
async fn limits_that_end_nothing_are_reported() {
    let many = "for n in $(seq 50); do : > f$n || exit 7; done";
    let outcome = run(Job::bash(many).limit(|limits| limits.files = 20)).await;
    assert_eq!(outcome.termination, Termination::Exited(7));
    assert!(outcome.limits_hit.contains(&LimitKind::Files), "{:?}", outcome.limits_hit);

    let forks = "for n in 1 2 3 4 5 6; do sleep 1 & done 2>/dev/null; exit 0";
    let outcome = run(Job::bash(forks).limit(|limits| limits.processes = 3)).await;
    assert!(outcome.limits_hit.contains(&LimitKind::Processes), "{:?}", outcome.limits_hit);
}

#[tokio::test]
async fn cpu_time_is_the_trees() {
    let job = Job::bash("while :; do :; done & while :; do :; done")
        .limit(|limits| limits.cpu = Some(Duration::from_millis(400)));
    let outcome = run(job).await;
    let Termination::CpuTime(evidence) = &outcome.termination else { panic!("{outcome:?}") };
    assert!(evidence.used >= Duration::from_millis(400), "{evidence:?}");
    assert!(outcome.usage.cpu >= evidence.limit);
}

#[tokio::test]
async fn processes_that_nobody_waits_for_cost_cpu_time_too() {
    // The kernel reaps them at once and adds their time to nobody's.
    let code = "import os, signal, time\n\
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n\
                while True:\n    \
                    if os.fork() == 0:\n        \
                        end = time.process_time() + 0.05\n        \
                        while time.process_time() < end: pass\n        \
                        os._exit(0)\n    \
                    time.sleep(0.05)";
    let limits = |limits: &mut sandbox_core::Limits| {
        limits.cpu = Some(Duration::from_millis(500));
        limits.wall = Duration::from_secs(10);
    };
    let end = ends(Job::python(code).limit(limits)).await;
    assert!(matches!(end, Termination::CpuTime(_)), "{end:?}");
}

#[tokio::test]
async fn memory_that_no_process_maps_cannot_hide_from_the_watcher() {
    let code = "import ctypes\n\
                libc = ctypes.CDLL(None, use_errno=True)\n\
                print(libc.shmget(0, 1 << 20, 0o1600), ctypes.get_errno())\n\
                print(libc.memfd_create(b'x', 0), ctypes.get_errno())";
    let watched = sandbox_local::LocalExecutor::builder().without_cgroups();
    let executor = watched.build().await.expect("executor");
    let outcome = executor.run(Job::python(code).build().expect("job")).await.expect("outcome");
    assert_eq!(outcome.stdout.text(), "-1 1\n-1 1\n", "{}", outcome.stderr.text());
    // The control: with a cgroup that counts them, both work.
    let counted = run(Job::python(code)).await;
    assert!(!counted.stdout.text().contains("-1"), "{}", counted.stdout.text());
}

#[tokio::test]
async fn a_limit_of_a_millisecond_is_a_limit() {
    let end = ends(Job::bash("sleep 5").timeout(Duration::from_millis(1))).await;
    assert!(matches!(end, Termination::WallTime(_)), "{end:?}");
}

#[tokio::test]
async fn processors_are_bounded_where_that_is_asked() {
    use sandbox_core::ErrorKind;
    use sandbox_local::LocalExecutor;
    let spin = "import time\nuntil = time.monotonic() + 1\nwhile time.monotonic() < until: pass";
    let used = async |builder: sandbox_local::LocalBuilder| {
        let executor = builder.build().await.expect("executor");
        let outcome = executor.run(Job::python(spin).build().expect("job")).await.expect("outcome");
        assert!(outcome.is_success());
        outcome.usage.cpu.as_secs_f64() / outcome.usage.wall.as_secs_f64()
    };
    // More cannot be had, however idle the machine is; the control has less when it is busy.
    let bounded = used(LocalExecutor::builder().processors(0.2)).await;
    let free = used(LocalExecutor::builder()).await;
    assert!(bounded < 0.3, "{bounded}");
    assert!(free > bounded, "{free} without a bound, {bounded} with");
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        let error = LocalExecutor::builder().processors(wrong).build().await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidJob, "{wrong}: {error}");
    }
    // Without cgroups there is nothing to bound them with.
    let builder = LocalExecutor::builder().without_cgroups().processors(0.5);
    let error = builder.build().await.expect_err("refused");
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Refused, "processors"), "{error}");
}
