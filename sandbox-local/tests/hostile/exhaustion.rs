//! A program that takes all there is meets its limit, by name, and nobody else notices.

use std::time::Duration;

use sandbox_core::{
    Event, Executor as _, ExecutorExt as _, Job, JobBuilder, Layer, LimitKind, Limits, Outcome,
    Size, Termination,
};
use sandbox_local::LocalExecutor;

use crate::support::{alive, eventually, executor, outside, run};

/// Runs Python under changed limits.
async fn limited(code: &str, change: impl FnOnce(&mut Limits)) -> Outcome {
    run(Job::python(code).limit(change)).await
}

/// Runs a job where a layer is left out.
async fn without(layer: Layer, job: JobBuilder) -> Outcome {
    let executor = LocalExecutor::builder().without(layer).build().await.expect("executor");
    executor.run(job.allow_degraded(layer).build().expect("job")).await.expect("outcome")
}

const THREADS: &str = "
import threading, time
count, stop = 0, threading.Event()
try:
    for _ in range(200):
        threading.Thread(target=stop.wait, daemon=True).start()
        count += 1
    print('started', count)
except RuntimeError as error:
    print('refused at', count, error)
stop.set()
";

#[tokio::test]
async fn threads_count_as_processes() {
    let outcome = limited(THREADS, |limits| limits.processes = 20).await;
    let text = outcome.stdout.text();
    assert!(text.starts_with("refused at 19 can't start new thread"), "{text}");
    assert!(outcome.limits_hit.contains(&LimitKind::Processes), "{:?}", outcome.limits_hit);
    let control = limited(THREADS, |limits| limits.processes = 300).await;
    assert_eq!(control.stdout.text(), "started 200\n");
}

#[tokio::test]
async fn a_fork_bomb_hurts_nobody_else() {
    let bomb = "import os, time\n\
                while True:\n    \
                    try: os.fork()\n    \
                    except OSError: print('x', end='', flush=True); time.sleep(0.01)";
    let executor = executor().await;
    let job = Job::python(bomb).arg("910020").timeout(Duration::from_millis(800));
    let bomb = executor.run(job.build().expect("job"));
    let neighbour = async {
        let mut done = 0;
        for _ in 0..10 {
            let job = Job::bash("true | true && echo fine").build().expect("job");
            done += usize::from(executor.run(job).await.expect("outcome").is_success());
        }
        done
    };
    let (bomb, neighbour) = tokio::join!(bomb, neighbour);
    let bomb = bomb.expect("outcome");
    assert!(bomb.stdout.total > 0 && bomb.limits_hit.contains(&LimitKind::Processes), "it ran");
    assert_eq!(neighbour, 10);
    assert_eq!(alive("910020"), [0; 0]);
}

const TOUCH: &str = "
blocks = []
for step in range(16):
    blocks.append(b'x' * (16 << 20))
    print(step, flush=True)
";

#[tokio::test]
async fn a_memory_bomb_is_ended_by_name() {
    let outcome = limited(TOUCH, |limits| limits.memory = Size::mib(128)).await;
    let Termination::Memory(evidence) = &outcome.termination else { panic!("{outcome:?}") };
    assert!(evidence.oom_kills >= 1 && evidence.peak <= Some(Size::mib(128)), "{evidence:?}");
    assert!(outcome.stdout.text().starts_with("0\n1\n"), "it ran");
    let job = Job::python(TOUCH).memory(Size::mib(128));
    let control = without(Layer::Memory, job).await;
    assert!(control.stdout.text().ends_with("15\n"), "{control:?}");
}

/// Memory that is not any process's: (name, program that holds 60 MiB of it).
const HIDDEN: [(&str, &str); 5] = [
    ("tmpfs", "open('/tmp/fill', 'wb').write(b'x' * (60 << 20))"),
    ("shared memory", "open('/dev/shm/fill', 'wb').write(b'x' * (60 << 20))"),
    ("memfd", "fd = os.memfd_create('x')\nfor _ in range(60): os.write(fd, b'x' * (1 << 20))"),
    (
        "pipes",
        "held = []\n\
         for _ in range(960):\n    \
             ends = os.pipe(); os.set_blocking(ends[1], False); held.append(ends)\n    \
             os.write(ends[1], b'x' * (64 << 10))",
    ),
    (
        "unix sockets",
        "held = []\n\
         for _ in range(400):\n    \
             pair = socket.socketpair(); pair[0].setblocking(False); held.append(pair)\n    \
             try:\n        \
                 while True: pair[0].send(b'x' * (32 << 10))\n    \
             except BlockingIOError: pass",
    ),
];

#[tokio::test]
async fn memory_that_no_process_maps_is_counted() {
    for (name, fill) in HIDDEN {
        let code =
            format!("import os, socket\nprint('filling', flush=True)\n{fill}\nprint('held')");
        let with = |memory| {
            limited(&code, move |limits| {
                limits.memory = memory;
                limits.open_files = 4096;
                limits.workspace = Some(Size::mib(256));
            })
        };
        let outcome = with(Size::mib(32)).await;
        let ended = matches!(outcome.termination, Termination::Memory(_));
        assert!(ended, "{name}: {:?} {}", outcome.termination, outcome.stderr.text());
        assert_eq!(outcome.stdout.text(), "filling\n", "{name}");
        let control = with(Size::mib(256)).await;
        assert_eq!(control.stdout.text(), "filling\nheld\n", "{name}: {}", control.stderr.text());
    }
}

/// Prints how many MiB connections on loopback hold that nobody reads.
const BUFFERS: &str = "
import socket
server = socket.create_server(('127.0.0.1', 0), backlog=512)
held, total = [], 0
for _ in range(240):
    try:
        client = socket.create_connection(server.getsockname(), 1)
        held += [client, server.accept()[0]]
        client.settimeout(0.01)
        while True: total += client.send(b'x' * (1 << 16))
    except OSError: pass
print(total >> 20)
";

#[tokio::test]
async fn network_buffers_are_bounded() {
    let held = async |memory| {
        let outcome = limited(BUFFERS, move |limits| {
            limits.memory = memory;
            limits.open_files = 4096;
        });
        let outcome = outcome.await;
        let text = outcome.stdout.text();
        text.trim().parse::<u64>().unwrap_or_else(|_| panic!("{outcome:?}"))
    };
    let (small, large) = (held(Size::mib(48)).await, held(Size::gib(2)).await);
    assert!(small <= 48, "{small} MiB of buffers in a job of 48");
    assert!(large > small + 8, "the control holds more: {large} against {small} MiB");
}

#[tokio::test]
async fn huge_pages_are_refused() {
    let code = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
def attempt(huge):
    address = libc.mmap(None, 1 << 21, 3, 0x22 | huge, -1, 0)
    file = libc.memfd_create(b'x', 4 if huge else 0)
    print(address not in (None, 2 ** 64 - 1), file >= 0, ctypes.get_errno())
attempt(0)
attempt(0x40000)
";
    // The first line is the control; outside, the second is about the pool, if at all.
    let outcome = limited(code, |_| {}).await;
    assert_eq!(outcome.stdout.text(), "True True 0\nFalse False 1\n");
}

const OPEN: &str = "
import os
count = 0
try:
    while count < 1000:
        os.open('/dev/null', os.O_RDONLY)
        count += 1
except OSError as error:
    print(error.strerror, end=' ')
print(count)
";

#[tokio::test]
async fn descriptors_end_and_the_application_still_opens() {
    let outcome = limited(OPEN, |limits| limits.open_files = 100).await;
    assert_eq!(outcome.stdout.text(), "Too many open files 97\n");
    assert!(std::fs::File::open("/dev/null").is_ok());
    let control = limited(OPEN, |limits| limits.open_files = 2000).await;
    assert_eq!(control.stdout.text(), "1000\n");
}

#[tokio::test]
async fn two_floods_at_once_are_cut_and_counted() {
    let code = "
import os, threading
def flood(fd):
    for _ in range(32): os.write(fd, b'x' * (1 << 20))
threads = [threading.Thread(target=flood, args=(fd,)) for fd in (1, 2)]
[t.start() for t in threads]; [t.join() for t in threads]
";
    let outcome = limited(code, |limits| limits.output = Size::kib(64)).await;
    assert!(outcome.is_success(), "{:?}", outcome.termination);
    for stream in [&outcome.stdout, &outcome.stderr] {
        // A write to a pipe may be short, so the sum is at most what was written.
        assert!(stream.total > 1 << 20 && stream.is_truncated(), "{}", stream.total);
        assert_eq!(stream.bytes().len(), 64 << 10);
    }
    assert!(outcome.limits_hit.contains(&LimitKind::Output));
}

#[tokio::test]
async fn a_line_without_an_end_comes_in_pieces() {
    let job = Job::command(["head", "-c", "67108864", "/dev/zero"]).build().expect("job");
    let mut execution = executor().await.start(job).await.expect("started");
    let (mut total, mut largest) = (0, 0);
    while let Some(event) = execution.next_event().await {
        if let Event::Stdout(bytes) = event {
            total += bytes.len();
            largest = largest.max(bytes.len());
        }
    }
    assert_eq!(total, 64 << 20);
    assert!(largest <= 1 << 20, "a piece of {largest} bytes");
    assert_eq!(execution.outcome().await.expect("outcome").stdout.total, 64 << 20);
}

#[tokio::test]
async fn a_drip_comes_drop_by_drop() {
    let code = "import os, time\nfor _ in range(100): os.write(1, b'.'); time.sleep(0.01)";
    let job = Job::python(code).build().expect("job");
    let mut execution = executor().await.start(job).await.expect("started");
    let mut drops = 0;
    while let Some(event) = execution.next_event().await {
        if let Event::Stdout(bytes) = event {
            assert!(!bytes.is_empty(), "an event about nothing");
            drops += 1;
        }
    }
    assert!((10..=100).contains(&drops), "{drops} events");
    assert_eq!(execution.outcome().await.expect("outcome").stdout.total, 100);
}

const FILL: &str = "
import sys
written = 0
try:
    for number in range(int(sys.argv[1])):
        with open(f'f{number}', 'wb', 0) as file:
            for _ in range(int(sys.argv[2])): written += file.write(b'x' * (1 << 16))
except OSError as error: print(error.strerror, end=' ')
print(written >> 10)
";

#[tokio::test]
async fn the_disk_is_full_for_one_file_and_for_many() {
    for (files, blocks) in [("1", "128"), ("128", "1")] {
        let job = |size| {
            let job = Job::python(FILL).arg(files).arg(blocks).artifact("*.none");
            job.limit(move |limits| limits.workspace = Some(size))
        };
        let outcome = run(job(Size::mib(4))).await;
        let text = outcome.stdout.text();
        let kib = text.strip_prefix("No space left on device ").map(str::trim);
        let kib: u64 = kib.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text}"));
        assert!((3000..=4096).contains(&kib), "{kib} KiB");
        assert!(outcome.limits_hit.contains(&LimitKind::Workspace));
        assert_eq!(run(job(Size::mib(16))).await.stdout.text(), "8192\n", "the control");
    }
}

#[tokio::test]
async fn files_are_counted() {
    let code = "
count = 0
try:
    for _ in range(20000):
        open(f'f{count}', 'w').close(); count += 1
except OSError as error: print(error.strerror, end=' ')
print(count)
";
    let job =
        |files| Job::python(code).artifact("*.none").limit(move |limits| limits.files = files);
    let outcome = run(job(10_000)).await;
    let text = outcome.stdout.text();
    assert!(text.starts_with("No space left on device 100"), "{text}");
    assert!(outcome.limits_hit.contains(&LimitKind::Files));
    assert_eq!(run(job(30_000)).await.stdout.text(), "20000\n", "the control");
}

#[tokio::test]
async fn a_hole_of_64_gib_is_neither_made_nor_read() {
    let code = "
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try: open('hole', 'w').truncate(64 << 30); print('made')
except OSError as error: print(error.strerror)
";
    assert_eq!(limited(code, |_| {}).await.stdout.text(), "File too large\n");
    // Made on purpose, it is judged by its length: reading it would take minutes.
    let outcome = limited(code, |limits| limits.file_size = Some(Size::gib(128))).await;
    assert_eq!(outcome.stdout.text(), "made\n");
    assert!(outcome.artifacts.is_empty());
    assert!(outcome.skipped[0].reason.contains("68719476736 bytes"), "{:?}", outcome.skipped);
}

#[tokio::test]
async fn sleeping_costs_no_cpu_time_and_ends_all_the_same() {
    let job = Job::bash("echo asleep; exec sleep 1000000000").timeout(Duration::from_millis(300));
    let outcome = run(job.limit(|limits| limits.cpu = Some(Duration::from_millis(250)))).await;
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.text(), "asleep\n");
}

#[tokio::test]
async fn no_signal_that_can_be_ignored_matters() {
    let code = "
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.fork()
print('blocked', flush=True)
time.sleep(910021)
";
    let job = Job::python(code).arg("910021").timeout(Duration::from_millis(300));
    let outcome = run(job).await;
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.text().matches("blocked").count(), 2, "both processes");
    assert_eq!(alive("910021"), [0; 0]);
}

/// A process that has vforked waits in the kernel for its child.
#[tokio::test]
async fn a_held_vfork_does_not_hold_the_timeout() {
    let code = "
import ctypes
print('forking', flush=True)
libc = ctypes.CDLL(None)
CLONE, CLONE_VFORK, SIGCHLD, NANOSLEEP = 56, 0x4000, 17, 35
if libc.syscall(CLONE, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) == 0:
    libc.syscall(NANOSLEEP, (ctypes.c_long * 2)(910022, 0), 0)
print('not held')
";
    let job = Job::python(code).arg("910022").timeout(Duration::from_millis(400));
    let outcome = run(job).await;
    assert!(matches!(outcome.termination, Termination::WallTime(_)), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.text(), "forking\n");
    assert_eq!(alive("910022"), [0; 0]);
}

const SCHEDULE: &str = "
import os
def attempt(name, what):
    try: what(); print(name, 'done')
    except OSError as error: print(name, error.strerror)
attempt('fifo', lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt('nice', lambda: os.nice(-1))
attempt('affinity', lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)))
";

#[tokio::test]
async fn no_priority_above_the_others() {
    let outcome = limited(SCHEDULE, |_| {}).await;
    let refused = "Operation not permitted";
    assert_eq!(outcome.stdout.text(), format!("fifo {refused}\nnice {refused}\naffinity done\n"));
    // The control, as root, in a process that ends at once.
    let control = outside(SCHEDULE);
    assert!(control.ends_with("nice done\naffinity done\n"), "{control}");
}

/// Below the limit everything may be set: that is the control. Above it nothing, although lowered
/// only a moment ago.
const RAISE: &str = "
import resource
set, raised = [], []
for name in ('CPU', 'FSIZE', 'NOFILE', 'NPROC', 'MEMLOCK', 'STACK', 'SIGPENDING', 'MSGQUEUE'):
    kind = getattr(resource, 'RLIMIT_' + name)
    soft, hard = resource.getrlimit(kind)
    assert soft == hard, name
    resource.setrlimit(kind, (soft - 1, hard)); resource.setrlimit(kind, (soft, hard)); set.append(name)
    for limits in ((soft, hard + 1), (hard + 1, hard + 1), (-1, -1)):
        try: resource.setrlimit(kind, limits); raised.append(name)
        except (OSError, ValueError): pass
print(len(set), 'set, raised', raised)
";

#[tokio::test]
async fn no_limit_can_be_raised() {
    let outcome = limited(RAISE, |_| {}).await;
    assert_eq!(outcome.stdout.text(), "8 set, raised []\n", "{}", outcome.stderr.text());
}

#[tokio::test]
async fn input_that_nobody_reads_holds_nothing_up() {
    let input = vec![b'x'; 64 << 20];
    let outcome = run(Job::command(["true"]).stdin(input.clone())).await;
    assert!(outcome.is_success());
    let outcome = run(Job::bash("exec <&-; echo closed").stdin(input.clone())).await;
    assert_eq!(outcome.stdout.text(), "closed\n");
    let outcome = run(Job::bash("head -c 10 | wc -c").stdin(input)).await;
    assert_eq!(outcome.stdout.text().trim(), "10");
}

#[tokio::test]
async fn what_was_written_before_the_end_arrives() {
    let code = "import os\nfor _ in range(16): os.write(1, b'x' * (1 << 16))\nos._exit(7)";
    let outcome = limited(code, |limits| limits.output = Size::mib(4)).await;
    assert_eq!(outcome.termination, Termination::Exited(7));
    assert_eq!(outcome.stdout.total, 1 << 20);
}

/// Objects in the kernel of which any number would be held by no limit.
const UNCOUNTED: &str = r#"
import ctypes, os, socket, struct, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, what):
    try: what(); print(name, "done")
    except OSError as error: print(name, error.errno)
def call(number, *args):
    if libc.syscall(number, *args) < 0: raise OSError(ctypes.get_errno(), "")
path = tempfile.mkstemp(dir="/dev/shm")[1]
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in
    ((1, 7, 2**32 - 1), (4, 7, 2**32 - 1), (32, 7, 2**32 - 1)))
attempt("access list", lambda: os.setxattr(path, "system.posix_acl_access", acl))
attempt("read attribute", lambda: os.listxattr(path))
libc.mmap.restype = ctypes.c_void_p
page = ctypes.c_void_p(libc.mmap(None, 4096, 3, 0x22, -1, 0))
attempt("policy", lambda: call(237, page, ctypes.c_ulong(4096), 2, ctypes.byref(ctypes.c_ulong(1)), ctypes.c_ulong(64), 0))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(("127.0.0.1", 9))
    attempt("half a datagram", lambda: one.send(b"x", socket.MSG_MORE))
    attempt("buffers", lambda: one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22))
with open(path, "wb") as file:
    attempt("fsync", lambda: os.fsync(file.fileno()))
os.unlink(path)
watches = 0
try:
    while watches < 60:
        call(294, 0); watches += 1
except OSError: pass
print("inotify", watches)
"#;

#[tokio::test]
async fn what_no_limit_counts_is_refused() {
    let (enosys, eopnotsupp, eperm) = (38, 95, 1);
    let outcome = limited(UNCOUNTED, |_| {}).await;
    assert_eq!(
        outcome.stdout.text(),
        format!(
            "access list {eopnotsupp}\nread attribute done\npolicy {enosys}\n\
             half a datagram {eopnotsupp}\nbuffers {eperm}\nfsync done\ninotify 16\n"
        ),
        "{}",
        outcome.stderr.text()
    );
    let control = outside(UNCOUNTED);
    assert_eq!(control.matches("done").count(), 6, "{control}");
    assert!(control.ends_with("inotify 60\n"), "{control}");
}

/// Connections that wait for a listener that never accepts.
#[tokio::test]
async fn few_connections_wait_and_each_holds_little() {
    let code = "
import socket
server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen(4096)
waiting = total = 0
for _ in range(100):
    one = socket.socket(); one.settimeout(0.02)
    try:
        one.connect(server.getsockname()); waiting += 1
        while True: total += one.send(b'x' * 65536)
    except OSError: pass
print(waiting <= 66, total <= 66 << 20, waiting > 40 and total > 1 << 20)
";
    let outcome = limited(code, |limits| limits.open_files = 512).await;
    assert_eq!(outcome.stdout.text(), "True True True\n", "{}", outcome.stderr.text());
}

/// A session of its own must not be a share of the processors of its own.
#[tokio::test]
async fn all_sessions_of_a_job_have_one_share_of_the_processors() {
    let job = Job::bash("setsid sleep 910026 & setsid sleep 910026 & echo started; wait");
    let job = job.build().expect("job");
    let mut execution = executor().await.start(job).await.expect("started");
    while let Some(event) = execution.next_event().await {
        if matches!(event, Event::Stdout(_)) {
            break;
        }
    }
    assert!(eventually(|| alive("sleep\u{0}910026").len() == 2).await, "two sessions");
    for pid in alive("sleep\u{0}910026") {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
        let has = |line: &&str| {
            line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "cpu"))
        };
        let of_cpu = groups.lines().find(has);
        // Version 2 has one group for all controllers.
        let group = of_cpu.or(groups.lines().find(|line| line.starts_with("0::")));
        assert!(group.is_some_and(|group| group.contains("/sandbox-")), "{groups}");
    }
}
