//! Hostile programs in a function, in the worst case that Lambda may be: what namespaces and
//! filters would hold is held by limits of processes, a watcher, and the end of everything that the
//! user runs. `hygiene.rs` has the attacks on the runner itself.

mod support;

use std::time::Duration;

use sandbox_core::{ExecutorExt as _, Job, JobBuilder, LimitKind, Outcome, Size, Termination};
use sandbox_lambda::LambdaExecutor;
use support::{Cloud, bash, run};

/// Runs a job, then a plain one in the same environment, which must be as good as new.
async fn and_next(executor: &LambdaExecutor, job: JobBuilder) -> Outcome {
    let outcome = run(executor, job).await.expect("outcome");
    let look = "ls -A $TMPDIR; ps -eo args= 2>/dev/null | grep -c '[9]2030' ; echo fine";
    assert_eq!(bash(executor, look).await, "0\nfine\n");
    outcome
}

fn limited(code: &str, change: impl FnOnce(&mut sandbox_core::Limits)) -> JobBuilder {
    Job::python(code).limit(change).artifact("*.none")
}

#[tokio::test]
async fn forks_and_threads_meet_their_limit() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let forks = "import os, time\n\
                 count = 0\n\
                 try:\n    \
                     while count < 80:\n        \
                         if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '92030'])\n        \
                         count += 1\n\
                 except OSError as error: print(error.strerror, end=' ')\n\
                 print(count)";
    let outcome = and_next(&executor, limited(forks, |l| l.processes = 20)).await;
    let text = outcome.stdout.text();
    let count =
        text.strip_prefix("Resource temporarily unavailable ").unwrap_or_else(|| panic!("{text}"));
    assert!(count.trim().parse::<u32>().expect("number") < 40, "{text}");
    let control = and_next(&executor, limited(forks, |l| l.processes = 200)).await;
    assert_eq!(control.stdout.text(), "80\n");

    let threads = "import threading\n\
                   count, stop = 0, threading.Event()\n\
                   try:\n    \
                       while count < 80:\n        \
                           threading.Thread(target=stop.wait, daemon=True).start(); count += 1\n\
                   except RuntimeError as error: print(error, end=' ')\n\
                   print(count, flush=True); stop.set()";
    let outcome = and_next(&executor, limited(threads, |l| l.processes = 20)).await;
    assert!(outcome.stdout.text().starts_with("can't start new thread"), "{outcome:?}");
    let control = and_next(&executor, limited(threads, |l| l.processes = 200)).await;
    assert_eq!(control.stdout.text(), "80\n");
}

#[tokio::test]
async fn memory_is_the_trees_and_ends_by_name() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let one = "blocks = []\n\
               for step in range(16): blocks.append(b'x' * (16 << 20)); print(step, flush=True)";
    let outcome = and_next(&executor, limited(one, |l| l.memory = Size::mib(96))).await;
    // The watcher ends it, or an allocation is refused first: both are about memory.
    let refused = outcome.stderr.text().contains("MemoryError");
    let ended = matches!(outcome.termination, Termination::Memory(_));
    assert!(ended || refused, "{:?} {}", outcome.termination, outcome.stderr.text());
    assert!(outcome.stdout.text().starts_with("0\n"), "it ran");
    let control = and_next(&executor, limited(one, |l| l.memory = Size::mib(512))).await;
    assert!(control.stdout.text().ends_with("15\n"), "{:?}", control.termination);

    let spread = "import os, time\n\
                  for _ in range(4):\n    \
                      if os.fork() == 0: block = b'x' * (40 << 20); time.sleep(92030)\n\
                  time.sleep(2); print('survived')";
    let outcome = and_next(&executor, limited(spread, |l| l.memory = Size::mib(96))).await;
    assert!(matches!(outcome.termination, Termination::Memory(_)), "{:?}", outcome.termination);
    let control = and_next(&executor, limited(spread, |l| l.memory = Size::mib(400))).await;
    assert_eq!(control.stdout.text(), "survived\n");
}

#[tokio::test]
async fn descriptors_disk_and_rlimits_hold() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let open = "import os\n\
                count = 0\n\
                try:\n    \
                    while count < 500: os.open('/dev/null', 0); count += 1\n\
                except OSError as error: print(error.strerror, end=' ')\n\
                print(count)";
    let outcome = and_next(&executor, limited(open, |l| l.open_files = 100)).await;
    assert_eq!(outcome.stdout.text(), "Too many open files 97\n");
    let control = and_next(&executor, limited(open, |l| l.open_files = 900)).await;
    assert_eq!(control.stdout.text(), "500\n");

    let fill = "for n in range(64):\n    open(f'f{n}', 'wb').write(b'x' * (1 << 20))\nprint('full')\n\
                import time; time.sleep(1); print('left alone')";
    let outcome = and_next(&executor, limited(fill, |l| l.workspace = Some(Size::mib(16)))).await;
    assert!(matches!(outcome.termination, Termination::Disk(_)), "{:?}", outcome.termination);
    let control = and_next(&executor, limited(fill, |l| l.workspace = Some(Size::mib(128)))).await;
    assert_eq!(control.stdout.text(), "full\nleft alone\n");

    let sparse = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n\
                  try: open('hole', 'w').truncate(64 << 30); print('made')\n\
                  except OSError as error: print(error.strerror)";
    let outcome = and_next(&executor, limited(sparse, |_| {})).await;
    assert_eq!(outcome.stdout.text(), "File too large\n");

    let raise = "import resource\nhard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
                 try: resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1)); print('raised')\n\
                 except (OSError, ValueError): print('not raised')\n\
                 resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)); print('lowered')\n\
                 import os\n\
                 try: os.nice(-1); print('nicer')\n\
                 except OSError as error: print(error.strerror)";
    let outcome = and_next(&executor, limited(raise, |_| {})).await;
    assert_eq!(outcome.stdout.text(), "not raised\nlowered\nOperation not permitted\n");
}

/// Twenty thousand files and three hundred nested folders are gone before the next job.
#[tokio::test]
async fn many_files_and_deep_folders_are_wiped() {
    let (cloud, executor) = Cloud::with_runner().await;
    let many = "import os\n\
                for n in range(20000): open(f'f{n}', 'w').close()\n\
                for _ in range(300): os.mkdir('d' * 60); os.chdir('d' * 60)\n\
                os.mkdir('locked', 0o000); print('made')";
    let outcome = and_next(&executor, limited(many, |_| {})).await;
    assert_eq!(outcome.stdout.text(), "made\n", "{}", outcome.stderr.text());
    assert_eq!(bash(&executor, "find /tmp -mindepth 3 | wc -l").await, "1\n", "its own program");
    assert_eq!(cloud.lambda.environments("sandbox").await, 1, "in one environment");
}

#[tokio::test]
async fn time_is_up_for_spinners_sleepers_and_the_deaf() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let job = Job::bash("while :; do :; done & while :; do :; done")
        .limit(|limits| limits.cpu = Some(Duration::from_millis(500)));
    let outcome = and_next(&executor, job).await;
    assert!(matches!(outcome.termination, Termination::CpuTime(_)), "{:?}", outcome.termination);
    let deaf = "import os, signal, time\n\
                signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n\
                if os.fork(): os.kill(os.getpid(), signal.SIGSTOP)\n\
                print('deaf', flush=True); time.sleep(92030)";
    let job = Job::python(deaf).timeout(Duration::from_millis(600));
    let outcome = and_next(&executor, job).await;
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.text(), "deaf\n");
    let vfork = "import ctypes\nprint('forking', flush=True)\nlibc = ctypes.CDLL(None)\n\
                 if libc.syscall(56, 0x4011, 0, 0, 0, 0) == 0: libc.syscall(35, (ctypes.c_long * 2)(92030, 0), 0)\n\
                 print('not held')";
    let outcome = and_next(&executor, Job::python(vfork).timeout(Duration::from_millis(600))).await;
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.text(), "forking\n");
}

#[tokio::test]
async fn floods_are_cut_and_input_is_not_waited_for() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let flood = "head -c 33554432 /dev/zero & head -c 33554432 /dev/zero >&2; wait";
    let outcome = and_next(&executor, Job::bash(flood).limit(|l| l.output = Size::kib(64))).await;
    assert_eq!((outcome.stdout.total, outcome.stderr.total), (32 << 20, 32 << 20));
    assert!(outcome.limits_hit.contains(&LimitKind::Output));
    let outcome = and_next(&executor, Job::command(["true"]).stdin(vec![b'x'; 16 << 20])).await;
    assert!(outcome.is_success());
    let last = "import os\nfor _ in range(16): os.write(1, b'x' * (1 << 16))\nos._exit(7)";
    let outcome = and_next(&executor, Job::python(last).limit(|l| l.output = Size::mib(4))).await;
    assert_eq!((outcome.termination, outcome.stdout.total), (Termination::Exited(7), 1 << 20));
}

#[tokio::test]
async fn orphans_and_held_pipes_hold_nothing_up() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let orphans = "import os\n\
                   for _ in range(300):\n    \
                       if os.fork() == 0:\n        \
                           if os.fork() == 0: os._exit(0)\n        \
                           os._exit(0)\n    \
                       os.wait()\n\
                   print('orphaned')";
    let outcome = and_next(&executor, Job::python(orphans)).await;
    assert_eq!(outcome.stdout.text(), "orphaned\n", "{}", outcome.stderr.text());
    let outcome = and_next(&executor, Job::bash("setsid sleep 92030 & echo started; exit 4")).await;
    assert_eq!(outcome.termination, Termination::Exited(4));
}

/// The exit status is the runner's own knowledge, whatever a job writes.
#[tokio::test]
async fn a_verdict_cannot_be_forged_by_output() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let code = r#"
import json, os
frame = b"\x00\x00\x00\x10SBX1" + json.dumps({"finished": {"reason": "memory"}}).encode()
for fd in range(64):
    try: os.write(fd, frame)
    except OSError: pass
print(json.dumps({"version": 1, "termination": {"reason": "exited", "code": 0}}))
os.kill(os.getpid(), 9)
"#;
    let outcome = and_next(&executor, Job::python(code)).await;
    assert_eq!(outcome.termination, Termination::Signaled(9));
    let outcome = and_next(&executor, Job::bash("exit 137")).await;
    assert_eq!(outcome.termination, Termination::Exited(137));
}

#[tokio::test]
async fn files_that_are_no_files_are_skipped_by_name() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let code = r#"
import os, socket
os.symlink("/etc/passwd", "link"); os.symlink("/", "root"); os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
open("twice", "w").close(); os.link("twice", "twice2")
open(b"bad\xff", "w").close(); open("good", "w").write("x")
os.chmod("good", 0o6777)
"#;
    let outcome = run(&executor, Job::python(code)).await.expect("outcome");
    let kept: Vec<_> = outcome.artifacts.iter().map(|artifact| artifact.path()).collect();
    assert_eq!(kept, ["good"], "{}", outcome.stderr.text());
    let skipped: Vec<_> = outcome.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
    for name in ["link", "root", "fifo", "socket", "twice", "twice2", "bad\\xff"] {
        assert!(skipped.contains(&name), "{name}: {skipped:?}");
    }
}

/// Attempts that need rights are refused to an ordinary user by the kernel itself.
#[tokio::test]
async fn what_needs_rights_is_refused_without_any_filter() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let code = r#"
import ctypes, os, stat
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    return 0 if libc.syscall(number, *[ctypes.c_long(a) for a in args]) >= 0 else ctypes.get_errno()
print([call(n, *a) for n, a in ((272, (0x10000000,)), (165, (0, 0, 0, 0, 0)), (161, (0,)), (308, (-1, 0)),
       (101, (16, 1, 0, 0)), (310, (1, 0, 0, 0, 0, 0)), (170, (0, 0)), (164, (0, 1)))])
try: os.mknod("char", 0o600 | stat.S_IFCHR, os.makedev(1, 3)); print("made")
except OSError as error: print(error.strerror)
status = dict(l.split(":\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\t" in l)
print({status[k].strip() for k in ("CapInh", "CapPrm", "CapEff", "CapAmb")}, os.getuid() != 0)
print([p for p in ("/dev/kmsg", "/dev/mem", "/dev/tty", "/dev/shm") if os.path.exists(p)])
written = []
for folder, _, names in os.walk("/proc/sys"):
    # Everybody may open the last one; to write it takes a capability.
    for name in set(names) - {"ns_last_pid"}:
        try: os.close(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_NONBLOCK)); written.append(name)
        except OSError: pass
print(written)
"#;
    let outcome = run(&executor, Job::python(code)).await.expect("outcome");
    let text = outcome.stdout.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "[1, 1, 1, 1, 1, 1, 1, 14]",
            "Operation not permitted",
            "{'0000000000000000'} True",
            "[]",
            "[]"
        ],
        "{}",
        outcome.stderr.text()
    );
    let _ = executor.run(Job::bash("true").build().expect("job")).await.expect("next");
}
