//! Hosts that take something away, made by a launcher with a seccomp filter: each layer that is
//! missing is a refusal that names it, or degraded where the caller accepts that by name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use serde_json::Value;

/// Fails system calls with an errno, then executes the rest of its arguments.
const LAUNCHER: &str = r#"
import ctypes, os, struct, sys
errno = int(sys.argv[2])
code = []
for call in sys.argv[1].split(","):
    # "319&16" means call 319 when its second argument has bit 16.
    number, _, bits = call.partition("&")
    code += [(0x20, 0, 0, 0), (0x15, 0, 3 if bits else 1, int(number))]
    code += [(0x20, 0, 0, 24), (0x45, 0, 1, int(bits))] if bits else []
    code += [(0x06, 0, 0, 0x00050000 | errno)]
code += [(0x06, 0, 0, 0x7fff0000)]
packed = b"".join(struct.pack("HBBI", *one) for one in code)
buffer = ctypes.create_string_buffer(packed)
program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[3], sys.argv[3:])
"#;

const EPERM: u32 = 1;
const EACCES: u32 = 13;
const ENOSYS: u32 = 38;

const MEMFD_CREATE_EXEC: &str = "319&16";
const UNSHARE: &str = "272";
const SECCOMP: &str = "317";
const LANDLOCK: &str = "444,445,446";
const FSOPEN: &str = "430";

fn launcher(calls: &str, errno: u32, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", LAUNCHER, calls, &errno.to_string(), program]).args(args);
    command
}

fn on_weak_host(calls: &str, errno: u32, args: &[&str]) -> Output {
    launcher(calls, errno, env!("CARGO_BIN_EXE_sandbox"), args).output().expect("python3")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

const RUN: [&str; 2] = ["run", "--json"];
const PROGRAM: [&str; 2] = ["-c", "print(6 * 7)"];

fn refused(calls: &str, errno: u32, layer: &str, cause: &str) {
    let output = on_weak_host(calls, errno, &[RUN, PROGRAM].concat());
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let refusal = json(&output);
    assert_eq!(refusal["error"]["kind"], "refused", "{refusal}");
    assert_eq!(refusal["error"]["layer"], layer, "{refusal}");
    assert_eq!(refusal["error"]["may_have_run"], false);
    let message = refusal["error"]["message"].as_str().expect("message");
    assert!(message.contains(cause), "{message}");
    let doctor = on_weak_host(calls, errno, &["doctor", "--json"]);
    assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
}

fn degraded(calls: &str, errno: u32, layer: &str) {
    let allow = ["--allow-degraded", layer];
    let output = on_weak_host(calls, errno, &[RUN, allow, PROGRAM].concat());
    let outcome = json(&output);
    assert_eq!(outcome["stdout"]["text"], "42\n", "{outcome}");
    assert_eq!(outcome["enforcement"][layer]["state"], "degraded", "{outcome}");
    let others = outcome["enforcement"].as_object().expect("layers").iter();
    for (name, state) in others.filter(|(name, _)| *name != layer) {
        assert_ne!(state["state"], "degraded", "{name} too");
    }
}

#[test]
fn the_launcher_takes_nothing_that_is_not_asked_for() {
    let output = on_weak_host("999", EPERM, &[RUN, PROGRAM].concat());
    assert_eq!(json(&output)["stdout"]["text"], "42\n");
}

#[test]
fn without_landlock() {
    refused(LANDLOCK, ENOSYS, "landlock", "no Landlock");
    degraded(LANDLOCK, ENOSYS, "landlock");
}

#[test]
fn without_seccomp() {
    refused(SECCOMP, EPERM, "seccomp", "seccomp filter of an outer container");
    degraded(SECCOMP, EPERM, "seccomp");
}

#[test]
fn without_namespaces() {
    refused(UNSHARE, EPERM, "mount_namespace", "seccomp filter of an outer container");
}

/// Every layer that needs namespaces, given up by name.
const NAMESPACED: &str = "user_namespace,mount_namespace,pid_namespace,network_namespace,\
                          ipc_namespace,uts_namespace,processes,disk,private_tmp,cleanup,\
                          supervisor_hidden";

fn without_namespaces_by_consent(args: &[&str]) -> Value {
    let allow = ["--allow-degraded", NAMESPACED];
    json(&on_weak_host(UNSHARE, EPERM, &[RUN.as_slice(), &allow, args].concat()))
}

#[test]
fn without_namespaces_what_a_process_can_give_up_still_holds() {
    let code = r#"
import os, socket
def attempt(what):
    try: what(); return "done"
    except OSError as error: return type(error).__name__
print(attempt(lambda: open("/etc/shadow").read()), attempt(lambda: os.listdir("/root")),
      attempt(lambda: open("/tmp/x", "w")), attempt(lambda: open("/proc/1/environ").read()),
      attempt(lambda: socket.create_connection(("127.0.0.1", 9))),
      attempt(lambda: os.kill(os.getppid(), 0)),
      attempt(lambda: open(os.environ["TMPDIR"] + "/x", "w")), os.getuid() != 0)
open("made.txt", "w").write("kept")
"#;
    let outcome = without_namespaces_by_consent(&["-c", code]);
    let denied = "PermissionError";
    let expected = format!("{}done True\n", format!("{denied} ").repeat(6));
    assert_eq!(outcome["stdout"]["text"], expected, "{outcome}");
    assert_eq!(outcome["artifacts"][0]["path"], "made.txt");
    for layer in NAMESPACED.split(',') {
        assert_eq!(outcome["enforcement"][layer]["state"], "degraded", "{layer}");
    }
    for layer in ["seccomp", "landlock", "capabilities", "no_new_privs", "rlimits", "memory"] {
        assert_eq!(outcome["enforcement"][layer]["state"], "enforced", "{layer}");
    }
}

#[test]
fn without_namespaces_an_ordinary_user_is_confined_too() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let copy = dir.path().join("sandbox");
    fs::copy(env!("CARGO_BIN_EXE_sandbox"), &copy).expect("copy");
    let code = "import os; print(os.getuid(), open('/proc/self/status').read().count('CapEff:\\t0000000000000000'))\n\
                try: open('/etc/passwd')\n\
                except OSError as error: print(type(error).__name__)";
    let args = ["run", "--json", "--allow-degraded", NAMESPACED, "-c", code];
    let output = launcher(UNSHARE, EPERM, copy.to_str().expect("text"), &args)
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .output()
        .expect("python3");
    let outcome = json(&output);
    assert_eq!(outcome["stdout"]["text"], "65534 1\nPermissionError\n", "{outcome}");
}

#[test]
fn without_namespaces_the_tree_is_killed_all_the_same() {
    let script = "(setsid sleep 930001 &); sleep 930001 & trap '' TERM; echo ready; sleep 930001";
    let args = ["--timeout", "400ms", "--runtime", "bash", "-c", script];
    let outcome = without_namespaces_by_consent(&args);
    assert_eq!(outcome["termination"]["reason"], "wall_time", "{outcome}");
    assert_eq!(outcome["stdout"]["text"], "ready\n", "the attack ran");
    let ended = ["--runtime", "bash", "-c", "(setsid sleep 930001 &); echo ready"];
    assert_eq!(without_namespaces_by_consent(&ended)["termination"]["reason"], "exited");
    let alive = |entry: std::fs::DirEntry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        command.starts_with(b"sleep\x00930001")
    };
    assert!(!std::fs::read_dir("/proc").expect("/proc").flatten().any(alive));
}

#[test]
fn without_the_mount_calls() {
    refused(FSOPEN, ENOSYS, "mount_namespace", "Linux 5.14");
}

#[test]
fn without_executable_memfds_the_helper_is_a_file_without_a_name() {
    // As sysctl vm.memfd_noexec=2 does.
    let output = on_weak_host(MEMFD_CREATE_EXEC, EACCES, &[RUN, PROGRAM].concat());
    assert_eq!(json(&output)["stdout"]["text"], "42\n", "{output:?}");
}
