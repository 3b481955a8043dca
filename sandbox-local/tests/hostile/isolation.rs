//! What a job can see and touch. Every denial has a control that succeeds outside.

use std::net::TcpListener;
use std::process::Command;

use crate::support::{executor, python, run};
use sandbox_core::{ErrorKind, ExecutorExt as _, Job, Layer, LayerState, Network, Termination};

#[tokio::test]
async fn a_job_sees_its_own_processes_and_not_its_supervisor() {
    let printed = python(
        "import os\n\
         print(sorted(p for p in os.listdir('/proc') if p.isdigit()), os.getpid(), os.getppid())",
    )
    .await;
    assert_eq!(printed, "['1', '2'] 2 0\n");
}

#[tokio::test]
async fn pid_1_has_no_environment_no_descriptors_and_no_open_memory() {
    let code = r#"
import os
def attempt(name, what):
    try: print(name, what())
    except OSError as error: print(name, error.strerror)
attempt("environ", lambda: open("/proc/1/environ").read())
attempt("fd", lambda: os.listdir("/proc/1/fd"))
attempt("mem", lambda: open("/proc/1/mem", "rb").read(1))
attempt("exe", lambda: os.readlink("/proc/1/exe"))
attempt("own environ", lambda: len(open("/proc/self/environ").read()) > 0)
"#;
    let printed = python(code).await;
    let refused = "Permission denied";
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            format!("environ {refused}"),
            format!("fd {refused}"),
            format!("mem {refused}"),
            format!("exe {refused}"),
            "own environ True".to_owned(),
        ]
    );
}

#[tokio::test]
async fn no_descriptor_of_the_application_reaches_the_job() {
    // Without close-on-exec, as a careless library would open it.
    let leaked = nix::fcntl::open(
        "/etc/hostname",
        nix::fcntl::OFlag::O_RDONLY,
        nix::sys::stat::Mode::empty(),
    )
    .expect("open");
    let listing = "import os; print(sorted(os.readlink(f'/proc/self/fd/{n}') for n in \
                   os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')))";
    let plain = Command::new("/usr/bin/python3").args(["-c", listing]).output().expect("python3");
    let plain = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(plain.contains("/etc/hostname"), "the control does not see it: {plain}");
    let printed = python(
        "import os\n\
         for fd in range(4096):\n    \
             try: os.fstat(fd)\n    \
             except OSError: continue\n    \
             print(fd)",
    )
    .await;
    assert_eq!(printed, "0\n1\n2\n");
    drop(leaked);
}

#[tokio::test]
async fn the_environment_is_built_from_empty() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the control has none");
    let code = "import os; print(sorted(name for name in os.environ if 'THREADS' not in name))";
    assert_eq!(python(code).await, "['HOME', 'LANG', 'PATH', 'TMPDIR', 'USER']\n");
    let pools = "import os; print(os.environ['OMP_NUM_THREADS'] == str(os.cpu_count()))";
    assert_eq!(python(pools).await, "True\n", "as many threads as processors");
}

#[tokio::test]
async fn host_files_are_absent_and_the_rest_is_read_only() {
    let code = r#"
import os
print([p for p in ("/root", "/home", "/run", "/sys", "/etc/shadow", "/dev/tty", "/dev/kmsg",
                   "/dev/mem", "/dev/ptmx", "/boot", "/opt") if os.path.exists(p)])
def attempt(path):
    try: open(path, "w").close(); return "written"
    except OSError as error: return type(error).__name__
for path in ("/x", "/usr/x", "/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/self/comm",
             "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/dev/x"):
    assert attempt(path) != "written", path
for path in ("/tmp/x", "/work/x", "/dev/shm/x", "/dev/null"):
    assert attempt(path) == "written", path
print("done")
"#;
    assert_eq!(python(code).await, "[]\ndone\n");
}

#[tokio::test]
async fn a_job_has_nobodys_rights() {
    let code = r#"
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines()
              if ":\t" in line)
for key in ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
            "Seccomp"):
    print(key, *status[key].split())
print("groups", status["Groups"].split())
"#;
    let zero = "0000000000000000";
    let expected = format!(
        "Uid 1000 1000 1000 1000\nGid 1000 1000 1000 1000\nCapInh {zero}\nCapPrm {zero}\n\
         CapEff {zero}\nCapBnd {zero}\nCapAmb {zero}\nNoNewPrivs 1\nSeccomp 2\n"
    );
    let printed = python(code).await;
    assert!(printed.starts_with(&expected), "{printed}");
}

#[tokio::test]
async fn the_network_is_the_jobs_own_unless_the_host_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listener");
    let port = listener.local_addr().expect("address").port();
    let code = format!(
        "import socket\n\
         try:\n    socket.create_connection(('127.0.0.1', {port}), 2); print('connected')\n\
         except OSError as error: print(type(error).__name__)\n\
         print([line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line])"
    );
    assert_eq!(python(&code).await, "ConnectionRefusedError\n['lo']\n");
    let outcome = run(Job::python(code).network(Network::Host)).await;
    assert!(outcome.stdout.text().starts_with("connected\n"), "{}", outcome.stdout.text());
    assert_eq!(*outcome.enforcement.state(Layer::Network), LayerState::Off);
}

#[tokio::test]
async fn servers_within_the_job_work() {
    let code = r#"
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=lambda: server.accept()[0].sendall(b"hi")).start()
print(socket.create_connection(server.getsockname()).recv(2))
"#;
    assert_eq!(python(code).await, "b'hi'\n");
}

#[tokio::test]
async fn the_network_layer_cannot_be_required_and_given_up() {
    let job = Job::python("1").network(Network::Host).require(Layer::Network).build().expect("job");
    let error = executor().await.run(job).await.expect_err("contradiction");
    assert_eq!(error.kind(), ErrorKind::InvalidJob);
}

#[tokio::test]
async fn jobs_leave_nothing_for_the_next() {
    let write = "for path in ('/tmp/x', '/dev/shm/x', '/work/x'): open(path, 'w').close()";
    python(write).await;
    let look = "import os; print(os.listdir('/tmp'), os.listdir('/dev/shm'), os.listdir('/work'))";
    assert_eq!(python(look).await, "[] [] ['main.py']\n");
}

#[tokio::test]
async fn an_abort_dumps_no_core() {
    let code = "import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE)); os.abort()";
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.termination, Termination::Signaled(6));
    assert_eq!(outcome.stdout.text(), "(1, 1)\n");
    assert!(outcome.artifacts.is_empty(), "{:?}", outcome.artifacts);
}
