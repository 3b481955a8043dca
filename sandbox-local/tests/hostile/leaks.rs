//! What one job, or the application, could tell another, and what could be forged.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use sandbox_core::{
    Event, Executor as _, ExecutorExt as _, Job, Network, Outcome, Runtime, Termination, printable,
};
use sandbox_local::LocalExecutor;

use crate::support::{METADATA, alive, eventually, executor, in_a_network, outside, python, run};

#[tokio::test]
async fn unix_sockets_of_the_host_are_out_of_reach() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("socket");
    let _by_path = UnixListener::bind(&path).expect("listener");
    let name = format!("hostile-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("name");
    let _by_name = UnixListener::bind_addr(&address).expect("listener");
    let code = format!(
        "
import glob, socket
def attempt(address):
    try:
        with socket.socket(socket.AF_UNIX) as one: one.connect(address)
        return 'connected'
    except OSError as error: return error.strerror
print(attempt({path:?}), '-', attempt('\\0{name}'))
print([p for p in ('/run', '/var/run') for _ in glob.glob(p + '/*')])
"
    );
    let printed = python(&code).await;
    let refused = ["Connection refused", "Operation not permitted"];
    let expected = refused.map(|why| format!("No such file or directory - {why}\n[]\n"));
    assert!(expected.contains(&printed), "{printed}");
    assert!(outside(&code).starts_with("connected - connected\n"), "the control");
}

#[tokio::test]
async fn nobody_can_hand_in_a_descriptor() {
    let code = "
import os, stat
kinds = {fd: stat.S_IFMT(os.fstat(fd).st_mode) == stat.S_IFIFO for fd in (0, 1, 2)}
print(kinds, os.listdir('/proc/self/fdinfo')[:0])
";
    assert_eq!(python(code).await, "{0: True, 1: True, 2: True} []\n", "pipes, which carry none");
}

/// A metadata service that answers, in a network of this test's own.
#[test]
fn the_metadata_service_and_names_are_out_of_reach() {
    in_a_network(|| async {
        let metadata = TcpListener::bind((METADATA, 80)).expect("listener");
        let code = "
import socket
def attempt(what):
    try: what(); return 'reached'
    except OSError as error: return error.strerror or 'no answer'
print(attempt(lambda: socket.create_connection(('169.254.169.254', 80), 2)))
print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))))
print(len(open('/proc/net/route').read().splitlines()) - 1)
";
        let job = |network| Job::python(code).network(network);
        let outcome = run(job(Network::Denied)).await;
        let unreachable = "Network is unreachable";
        assert_eq!(outcome.stdout.text(), format!("{unreachable}\n{unreachable}\n0\n"));
        let control = run(job(Network::Host)).await;
        assert_eq!(control.stdout.text(), "reached\nreached\n1\n", "{}", control.stderr.text());
        drop(metadata);
    });
}

/// Files, memory, queues and keys that an earlier job leaves.
#[tokio::test]
async fn ipc_of_an_earlier_job_is_gone() {
    let leave = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.shmget(0x5eed, 4096, 0o1666) >= 0, libc.semget(0x5eed, 1, 0o1666) >= 0,
      libc.msgget(0x5eed, 0o1666) >= 0, libc.syscall(250, 0, -3, 1))
";
    let find = leave.replace("0o1666", "0").replace("4096", "0");
    // In one job both work, which is the control.
    assert_eq!(python(&format!("{leave}{find}")).await, "True True True -1\nTrue True True -1\n");
    assert_eq!(python(leave).await, "True True True -1\n");
    assert_eq!(python(&find).await, "False False False -1\n");
}

#[tokio::test]
async fn a_secret_of_one_job_is_nowhere_else() {
    let secret = "canary-5ec4e7";
    let executor = executor().await;
    // Refusals and outcomes.
    let missing = Job::command(["no-such-program"]).env("TOKEN", secret).build().expect("job");
    let error = executor.run(missing).await.expect_err("missing");
    assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    let job = Job::bash("echo running; sleep 910023").env("TOKEN", secret);
    let mut execution = executor.start(job.build().expect("job")).await.expect("started");
    while let Some(event) = execution.next_event().await {
        if matches!(event, Event::Stdout(_)) {
            break;
        }
    }
    // Command lines can be read by everybody on the machine; nothing but the job has its variables.
    assert!(eventually(|| !alive("910023").is_empty()).await, "the job runs");
    assert_eq!(alive(secret), [0; 0]);
    let holders = std::fs::read_dir("/proc").expect("/proc").flatten().filter(|entry| {
        let mut environ = Vec::new();
        let file = std::fs::File::open(entry.path().join("environ"));
        let _ = file.and_then(|mut file| file.read_to_end(&mut environ));
        String::from_utf8_lossy(&environ).contains(secret)
    });
    let names: Vec<_> = holders
        .map(|entry| std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default())
        .collect();
    assert!(!names.is_empty(), "the control: root sees the job's");
    assert!(names.iter().all(|name| ["bash\n", "sleep\n"].contains(&name.as_str())), "{names:?}");
    assert!(!format!("{execution:?} {executor:?}").contains(secret));
    drop(execution);
    // The next job finds nothing.
    let look = format!("grep -rsl {secret} /proc/[0-9]*/environ /tmp /dev/shm /work; echo done");
    let look = look.replace("canary-", "canar[y]-");
    assert_eq!(run(Job::bash(look)).await.stdout.text(), "done\n");
}

#[tokio::test]
async fn a_verdict_cannot_be_forged() {
    let code = r#"
import json, os, struct
frame = struct.pack("16Q", 4, 2, 1, 0, *[0] * 12)
outcome = json.dumps({"version": 1, "termination": {"reason": "memory", "code": 0}})
written = []
for fd in range(256):
    try: os.write(fd, frame); os.write(fd, outcome.encode()); written.append(fd)
    except OSError: pass
os.write(2, f"wrote to {written}".encode())
os._exit(5)
"#;
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.termination, Termination::Exited(5));
    assert!(outcome.stderr.text().ends_with("wrote to [1, 2]"), "{}", outcome.stderr.text());
    assert_eq!(outcome.stdout.total, 128 + 62, "{:?}", outcome.stdout.text());
}

#[tokio::test]
async fn output_is_kept_byte_for_byte() {
    let code = r#"
import os, time
os.write(1, b"\x00\xff\x1b[31m\xe2\x82")
time.sleep(0.05)
os.write(1, b"\xac\r\n\xc3")
"#;
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.stdout.bytes().as_ref(), b"\x00\xff\x1b[31m\xe2\x82\xac\r\n\xc3");
    // For people: nothing that steers a terminal is left.
    let text = outcome.stdout.text();
    let shown = printable(&text);
    assert!(!shown.contains('\x1b') && !shown.contains('\0') && shown.contains('€'), "{shown:?}");
}

#[tokio::test]
async fn arguments_are_data() {
    let odd = ["-c", "--version", "-e", "--", "$(id)", "a b", "", "\u{202e}x"];
    let job = Job::python("import sys; print(sys.argv[1:])").args(odd);
    let expected = "['-c', '--version', '-e', '--', '$(id)', 'a b', '', '\\u202ex']\n";
    assert_eq!(run(job).await.stdout.text(), expected);
    let job = Job::bash("printf '%s|' \"$@\"").args(odd);
    assert_eq!(run(job).await.stdout.text(), "-c|--version|-e|--|$(id)|a b||\u{202e}x|");
    let job = Job::node("console.log(JSON.stringify(process.argv.slice(2)))").args(odd);
    let text = run(job).await.stdout.text();
    assert!(text.starts_with("[\"-c\",\"--version\",\"-e\",\"--\",\"$(id)\""), "{text}");
    // A file that is named like an option, and a program that names another interpreter.
    let job = Job::bash("#!/usr/bin/env node\ncat -- -c").file("-c", "data");
    assert_eq!(run(job).await.stdout.text(), "data");
}

#[tokio::test]
async fn tools_cannot_be_replaced() {
    let code = "
import os
open('python3', 'w').write('#!/bin/sh\\necho replaced\\n'); os.chmod('python3', 0o755)
written = []
for folder in ('/usr/bin', '/usr/local/bin', '/bin', '/usr/lib/python3', '/etc'):
    try: open(folder + '/python3', 'w').close(); written.append(folder)
    except OSError: pass
print(written, '.' in os.environ['PATH'].split(':'))
";
    assert_eq!(python(code).await, "[] False\n");
    assert_eq!(python("print('real')").await, "real\n");
}

#[tokio::test]
async fn a_clock_that_jumps_bends_no_deadline() {
    // The program's own idea of time is its own.
    let code = "
import time
try: time.clock_settime(time.CLOCK_REALTIME, 0); print('set')
except OSError as error: print(error.strerror, flush=True)
time.sleep(60)
";
    let outcome = run(Job::python(code).timeout(Duration::from_millis(300))).await;
    assert_eq!(outcome.stdout.text(), "Operation not permitted\n");
    let Termination::WallTime(evidence) = &outcome.termination else { panic!("{outcome:?}") };
    assert!(evidence.used >= evidence.limit && evidence.used < Duration::from_secs(30));
}

/// A module of the program's own folder shadows the library's: that is Python's rule, and stays
/// within the job. What the host has planted beside its own programs is not there.
#[tokio::test]
async fn planted_start_files_have_no_effect_on_the_next_job() {
    let plant = "
import os
for name in ('sitecustomize.py', '.bashrc', '.profile', '.Rprofile', '.npmrc', '.pythonrc'):
    for folder in (os.environ['HOME'], '.', '/tmp'):
        open(f'{folder}/{name}', 'w').write('echo planted')
print('planted')
";
    assert_eq!(python(plant).await, "planted\n");
    assert_eq!(run(Job::bash("echo fine; ls -A ~")).await.stdout.text(), "fine\n");
    let module = Job::python("import json; print(json)").file("json.py", "print('shadow')");
    let text = run(module).await.stdout.text();
    assert!(text.starts_with("shadow\n") && text.contains("/work/json.py"), "{text}");
}

#[tokio::test]
async fn an_interpreter_that_is_a_link_out_brings_no_more_than_its_own_folder() {
    let dir = tempfile::tempdir().expect("tempdir");
    let bin = dir.path().join("tool/bin");
    std::fs::create_dir_all(&bin).expect("mkdir");
    std::fs::write(dir.path().join("secret"), "canary").expect("write");
    std::os::unix::fs::symlink("/usr/bin/python3", bin.join("python3")).expect("link");
    let runtime = Runtime::python().with_interpreter(bin.join("python3"));
    let executor = LocalExecutor::builder().runtime(runtime).build().await.expect("executor");
    let code = format!("import os; print(os.path.exists({:?}))", dir.path().join("secret"));
    let outcome = executor.run(Job::python(code).build().expect("job")).await.expect("outcome");
    assert_eq!(outcome.stdout.text(), "False\n", "{}", outcome.stderr.text());
}

/// Inodes that a job reaches and that are not files of the host.
const INODES: &str = "
import os
places = ['/dev/' + name for name in ('null', 'zero', 'full', 'random', 'urandom', 'shm')]
places += ['/proc/self/ns/' + name for name in os.listdir('/proc/self/ns')]
places += ['/proc', '/proc/locks', '/proc/sys/fs', '/tmp', '/work', '/', '/etc/passwd', '/etc/hosts']
for place in places:
    found = os.stat(place)
    print(found.st_dev, found.st_ino, place)
";

/// Whoever shares an inode can talk by locks on it.
#[tokio::test]
async fn jobs_share_no_inode_but_files_of_the_host() {
    let executor = executor().await;
    let slow = format!("{INODES}\nimport time; time.sleep(1)");
    let job = |code: &str| Job::python(code).build().expect("job");
    let (one, other) = tokio::join!(executor.run(job(&slow)), executor.run(job(&slow)));
    let inodes = |outcome: Outcome| -> BTreeSet<String> {
        assert!(outcome.is_success(), "{}", outcome.stderr.text());
        outcome.stdout.text().lines().map(str::to_owned).collect()
    };
    let (one, other) = (inodes(one.expect("outcome")), inodes(other.expect("outcome")));
    assert!(one.len() > 20, "{one:?}");
    let shared: Vec<_> = one.intersection(&other).collect();
    assert!(shared.is_empty(), "{shared:?}");
}

#[tokio::test]
async fn proc_tells_nothing_of_locks_and_counters_of_the_host() {
    let code = "
import os
for name in ('locks', 'interrupts', 'diskstats', 'vmstat', 'cgroups', 'key-users', 'sys/fs/file-nr'):
    try: size = len(open('/proc/' + name).read())
    except FileNotFoundError: size = 0
    print(name, size)
print(len(os.listdir('/proc/sys/fs')), len(open('/proc/meminfo').read()) > 0)
";
    let inside = python(code).await;
    let (files, rest) = inside.trim_end().rsplit_once('\n').expect("lines");
    assert!(files.lines().all(|line| line.ends_with(" 0")), "{inside}");
    assert_eq!(rest, "0 True");
    let control = outside(code);
    assert!(control.lines().filter(|line| !line.ends_with(" 0")).count() >= 6, "{control}");
}

#[tokio::test]
async fn ids_of_jobs_do_not_count_them() {
    let code = "print([l for l in open('/proc/self/mountinfo') if ' /work ' in l][0])";
    let mut ids = Vec::new();
    for _ in 0..3 {
        let line = python(code).await;
        let (_, rest) = line.split_once(",uid=").expect("uid of the workspace");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        ids.push(digits.parse::<i64>().expect("number"));
    }
    let steps: Vec<_> = ids.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(steps[0] != steps[1] && steps.iter().all(|step| step.abs() > 1), "{ids:?}");
}
