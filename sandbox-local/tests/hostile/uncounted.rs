//! What no limit of processes counts: kernel memory, and the host's disk.

use sandbox_core::{ErrorKind, Executor as _, ExecutorExt as _, Job, Size, Termination};
use sandbox_local::LocalExecutor;

use crate::support::{alive, eventually, executor, python, run};

/// A client that connects, fills and closes has its descriptor back; what it sent waits.
const UNACCEPTED: &str = r#"
import socket
listeners = []
for _ in range(120):
    listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(64)
    listeners.append(listener)
    for _ in range(64):
        client = socket.socket(); client.setblocking(False)
        try: client.connect(listener.getsockname())
        except BlockingIOError: pass
        try:
            while client.send(b"x" * 65536): pass
        except OSError: pass
        client.close()
print("made", len(listeners), flush=True)
"#;

#[tokio::test]
async fn connections_that_nobody_accepts_are_bounded_together() {
    let job =
        |memory| Job::python(UNACCEPTED).limit(move |limits| limits.memory = memory).file("x", "1");
    let outcome = run(job(Size::mib(64))).await;
    let Termination::Memory(evidence) = &outcome.termination else {
        panic!("{:?} {}", outcome.termination, outcome.stdout.text());
    };
    assert!(evidence.peak > Some(Size::mib(64)), "{evidence:?}");
    let control = run(job(Size::gib(4))).await;
    assert_eq!(control.stdout.text(), "made 120\n", "{:?}", control.termination);
}

/// Errors of datagrams that nobody reads are in no cgroup.
#[tokio::test]
async fn errors_that_nobody_reads_are_bounded_together() {
    let code = r#"
import socket, time
nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
nobody.bind(("127.0.0.1", 0))
there = nobody.getsockname()
nobody.close()
kept = []
for _ in range(600):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.IPPROTO_IP, 11, 1)
    for _ in range(40):
        try: client.sendto(b"x" * 8000, there)
        except OSError: pass
    kept.append(client)
print("made", len(kept), flush=True)
time.sleep(1)
"#;
    let job = |memory| {
        Job::python(code).limit(move |limits| (limits.memory, limits.open_files) = (memory, 1024))
    };
    let outcome = run(job(Size::mib(64))).await;
    assert!(matches!(outcome.termination, Termination::Memory(_)), "{:?}", outcome.termination);
    let control = run(job(Size::mib(512))).await;
    assert_eq!(control.stdout.text(), "made 600\n", "{:?}", control.termination);
}

/// Memory that the kernel holds for a process, where only a watcher looks.
#[tokio::test]
async fn the_watcher_counts_what_the_kernel_holds() {
    let tables = r#"
import mmap
file = open("/tmp/hole", "w+b"); file.truncate(48 << 20)
kept = []
for _ in range(900):
    memory = mmap.mmap(file.fileno(), 48 << 20, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    for at in range(0, 48 << 20, 2 << 20): memory[at]
    kept.append(memory)
print("done", flush=True)
"#;
    let buffers = r#"
import socket
kept = []
for _ in range(400):
    for end in (pair := socket.socketpair()):
        end.setblocking(False)
        try:
            while end.send(b"x" * 32768): pass
        except OSError: pass
    kept.append(pair)
print("done", flush=True)
"#;
    let watched = LocalExecutor::builder().without_cgroups().build().await.expect("executor");
    for code in [tables, buffers] {
        let job = |memory| {
            let job = Job::python(code).limit(move |limits| {
                limits.memory = memory;
                limits.open_files = 1024;
            });
            job.build().expect("job")
        };
        let outcome = watched.run(job(Size::mib(64))).await.expect("outcome");
        let Termination::Memory(evidence) = &outcome.termination else {
            panic!("{:?}: {code}", outcome.termination);
        };
        // Alone on a machine below 96 MiB; other tests keep the watcher from its turn.
        assert!(evidence.peak < Some(Size::mib(192)), "{evidence:?}");
        let control = watched.run(job(Size::gib(2))).await.expect("outcome");
        assert_eq!(control.stdout.text(), "done\n", "{:?}", control.termination);
    }
}

/// The application writes them into the workspace, which is memory.
/// Pages that stay when nobody maps them any more, and of which only a cgroup knows.
#[tokio::test]
async fn memory_that_nobody_maps_cannot_be_had_where_only_a_watcher_looks() {
    let code = r#"
import ctypes, mmap, os, time
def attempt(what):
    try: return what() or "done"
    except OSError as error: return error.errno
libc = ctypes.CDLL(None, use_errno=True)
def splice():
    reader, writer = os.pipe()
    text = ctypes.create_string_buffer(b"x")
    part = (ctypes.c_size_t * 2)(ctypes.addressof(text), 1)
    ctypes.set_errno(0)
    libc.vmsplice(writer, part, 1, 0)
    if ctypes.get_errno(): raise OSError(ctypes.get_errno(), "")
print(attempt(lambda: mmap.mmap(-1, 4096) and None), attempt(splice))
zeros = os.open("/dev/zero", os.O_RDWR)
private = mmap.mmap(zeros, 4096, flags=mmap.MAP_PRIVATE)
time.sleep(0.3)
print("mapped", flush=True)
shared = mmap.mmap(zeros, 4096, flags=mmap.MAP_SHARED)
time.sleep(0.3)
print("shared")
"#;
    let watched = LocalExecutor::builder().without_cgroups().build().await.expect("executor");
    let outcome = watched.run(Job::python(code).build().expect("job")).await.expect("outcome");
    assert_eq!(outcome.stdout.text(), "1 1\nmapped\n", "{}", outcome.stderr.text());
    assert!(matches!(outcome.termination, Termination::Memory(_)), "{:?}", outcome.termination);
    let control = run(Job::python(code)).await;
    assert_eq!(control.stdout.text(), "done done\nmapped\nshared\n");
}

#[tokio::test]
async fn inputs_count_as_the_jobs_memory() {
    let job = |memory| {
        let input = vec![7u8; 40 << 20];
        Job::python("b = b\"x\" * (40 << 20); print(len(b))")
            .file("input", input)
            .limit(move |limits| limits.memory = memory)
    };
    let outcome = run(job(Size::mib(64))).await;
    let Termination::Memory(evidence) = &outcome.termination else {
        panic!("{:?}", outcome.termination);
    };
    assert_eq!(evidence.limit, Size::mib(64));
    assert!(evidence.peak > Some(Size::mib(40)), "{evidence:?}");
    let control = run(job(Size::mib(128))).await;
    assert_eq!(control.stdout.text(), "41943040\n", "{:?}", control.termination);
    let refused = executor().await.run(job(Size::mib(41)).build().expect("job")).await;
    let error = refused.expect_err("no room for the program");
    assert_eq!(error.kind(), ErrorKind::InvalidJob);
    assert!(error.message().contains("raise limits.memory"), "{error}");
}

/// The group of the running job, in the hierarchy that bounds reads of disks.
#[tokio::test]
async fn reads_of_the_hosts_disk_are_bounded_where_that_can_be() {
    let bounds = |mark: &str| -> Option<String> {
        let pid = *alive(mark).first()?;
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = |name: &str| {
            groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let own = parts.next()?.split(',').any(|one| one == name);
                own.then(|| parts.next().map(str::to_owned))?
            })
        };
        let v1 = path("blkio")
            .map(|path| format!("/sys/fs/cgroup/blkio{path}/blkio.throttle.read_bps_device"));
        std::fs::read_to_string(
            v1.or_else(|| path("").map(|path| format!("/sys/fs/cgroup{path}/io.max")))?,
        )
        .ok()
    };
    let blkio = std::path::Path::new("/sys/fs/cgroup/blkio").exists();
    let executor = executor().await;
    let code = "import time; print('up', flush=True); time.sleep(30)  # mark-913377";
    let job = Job::command(["python3", "-c", code]).build().expect("job");
    let mut execution = executor.start(job).await.expect("started");
    assert!(eventually(|| !alive("mark-913377").is_empty()).await);
    let found = bounds("mark-913377");
    execution.cancel_handle().cancel();
    while execution.next_event().await.is_some() {}
    // Hosts without the controller run jobs at the lowest disk priority instead.
    if blkio {
        let found = found.expect("the group's file");
        assert!(found.contains("104857600"), "{found:?}");
    }
    let priority = python("import ctypes; print(ctypes.CDLL(None).syscall(252, 1, 0) >> 13)").await;
    assert_eq!(priority, if blkio { "2\n" } else { "3\n" });
}
