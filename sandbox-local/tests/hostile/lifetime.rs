//! Nothing survives a job.

use std::time::{Duration, Instant};

use crate::support::{alive, eventually, executor, run, stubborn};
use sandbox_core::{Event, Executor as _, ExecutorExt as _, Job, Layer, Termination};
use sandbox_local::LocalExecutor;

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
        assert!(runtime.block_on(eventually(|| !alive("910004").is_empty())), "the job runs");
        runtime.shutdown_background();
        drop(execution);
    })
    .join()
    .expect("thread");
    assert!(eventually(|| alive("910004").is_empty()).await, "{:?}", alive("910004"));
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
                    while count < 40:\n        \
                        if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '910007'])\n        \
                        count += 1\n\
                except OSError as error: print(count, error.errno)\n\
                else: print(count)\n";
    let outcome = run(Job::python(bomb).limit(|limits| limits.processes = 20)).await;
    assert_eq!(outcome.stdout.text(), "19 11\n", "{}", outcome.stderr.text());
    let control = run(Job::python(bomb).limit(|limits| limits.processes = 60)).await;
    assert_eq!(control.stdout.text(), "40\n", "{}", control.stderr.text());
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

/// The outcome waits for the program, not for the end of its output.
#[tokio::test]
async fn a_grandchild_that_holds_the_output_open_holds_nothing_up() {
    let script = "setsid sleep 910024 & echo started; exit 4";
    let outcome = run(Job::bash(script).timeout(Duration::from_secs(20))).await;
    assert_eq!(outcome.termination, Termination::Exited(4), "and not the wall clock");
    assert_eq!(outcome.stdout.text(), "started\n");
    assert_eq!(alive("910024"), [0; 0]);
}

#[tokio::test]
async fn a_stopped_tree_is_killed_all_the_same() {
    let script = "sleep 910025 & kill -STOP $!; (sleep 910025 & kill -STOP $!; kill -STOP $BASHPID) & \
                  echo stopping; kill -STOP $$";
    let outcome = run(Job::bash(script).timeout(Duration::from_millis(400))).await;
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.text(), "stopping\n");
    assert_eq!(alive("910025"), [0; 0]);
}

/// Zombies of the supervisor, which the first process of their namespace waits for.
const FOR_THE_PARENT: &str = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
made = 0
for _ in range(20):
    pid = libc.syscall(56, 0x8000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(7)
    made += pid > 0
print(made, flush=True)
";

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn children_made_for_the_supervisor_are_reaped() {
    // The filter refuses them; without it they are made, and hold nothing up.
    let outcome = run(Job::python(FOR_THE_PARENT)).await;
    assert_eq!(outcome.stdout.text(), "0\n");
    let open = LocalExecutor::builder().without(Layer::Seccomp).build().await.expect("executor");
    let since = Instant::now();
    let job = Job::python(FOR_THE_PARENT).allow_degraded(Layer::Seccomp).build().expect("job");
    let outcome = open.run(job).await.expect("outcome");
    assert_eq!(outcome.termination, Termination::Exited(0));
    assert_eq!(outcome.stdout.text(), "20\n");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_low_priority_does_not_delay_the_end() {
    let code = "
import os
os.setpriority(os.PRIO_PROCESS, 0, 19)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(os.getpriority(os.PRIO_PROCESS, 0), len(os.sched_getaffinity(0)), flush=True)
for _ in range(30):
    if os.fork() == 0:
        while True: pass
while True: pass
";
    let outcome = run(Job::python(code).timeout(Duration::from_secs(1))).await;
    assert_eq!(outcome.stdout.text(), "19 1\n");
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert!(outcome.timing.collect < Duration::from_secs(5), "{:?}", outcome.timing);
}
