//! Hosts that take something away: each layer that is missing is a refusal that names it, or
//! degraded where the caller accepts that by name. Nothing passes in silence.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

#[path = "../../tests/support/weak_host.rs"]
mod weak_host;

use weak_host::{TAKEN, without};

/// The command where everybody may execute it, also without `/tmp`.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").expect("tempdir");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::copy(env!("CARGO_BIN_EXE_sandbox"), folder.path().join("sandbox")).expect("copy");
        Self(folder)
    }

    fn on(&self, taken: &[&str], args: &[&str]) -> Output {
        let program: OsString = self.0.path().join("sandbox").into();
        let mut command = without(taken.iter().copied(), &program);
        command.args(args).output().expect("unshare")
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

const RUN: [&str; 2] = ["run", "--json"];
const PROGRAM: [&str; 2] = ["-c", "print(6 * 7)"];

/// Every layer, given up by name.
const ALL: &str = "user_namespace,mount_namespace,pid_namespace,network_namespace,ipc_namespace,\
                   uts_namespace,no_new_privs,capabilities,seccomp,landlock,rlimits,memory,\
                   processes,disk,environment,descriptors,private_tmp,cleanup,supervisor_hidden";

/// The layers of which some must be missing without this, for root and for an ordinary user. Empty
/// where nothing that is required by default depends on it.
fn needing(taken: &str) -> &'static [&'static str] {
    match taken {
        "user namespaces" => &["user_namespace"],
        "landlock" => &["landlock"],
        "seccomp" => &["seccomp"],
        // Also what ties a job to its supervisor, and keeps its first process from being read.
        "prctl" => &["no_new_privs", "capabilities", "cleanup", "supervisor_hidden"],
        _ => &[],
    }
}

/// Checks one host; what is wrong with how it is treated.
fn check(copy: &Copy, taken: &[&str]) -> Result<(), String> {
    let wrong = |what: &str, output: &Output| Err(format!("{taken:?}: {what}: {output:?}"));
    let expected: Vec<_> = taken.iter().flat_map(|one| needing(one)).copied().collect();
    let output = copy.on(taken, &[RUN, PROGRAM].concat());
    let result = json(&output);
    let layer = result["error"]["layer"].as_str();
    match layer {
        None if expected.is_empty() => {
            if output.status.code() != Some(0) || result["stdout"]["text"] != "42\n" {
                return wrong("it should run", &output);
            }
            for (name, state) in result["enforcement"].as_object().into_iter().flatten() {
                let may = match name.as_str() {
                    "memory" | "microvm" | "vpc" => true,
                    // No ids are lent to it.
                    "user_namespace" => taken.contains(&"an entry in passwd"),
                    _ => false,
                };
                if state["state"] != "enforced" && !may {
                    return wrong(&format!("{name} is not in force"), &output);
                }
            }
        }
        // Root writes the job's id map through a file that prctl opens to it.
        Some(layer)
            if expected.contains(&layer)
                || (layer == "user_namespace" && taken.contains(&"prctl")) =>
        {
            let error = &result["error"];
            if output.status.code() != Some(125)
                || error["kind"] != "refused"
                || error["may_have_run"] != false
            {
                return wrong("it should be refused", &output);
            }
        }
        _ => return wrong("it names the wrong layer, or none", &output),
    }
    let output = copy.on(taken, &[&RUN[..], &["--allow-degraded", ALL], &PROGRAM].concat());
    let outcome = json(&output);
    if outcome["error"]["layer"] == "cleanup" {
        // Without a pid namespace and without prctl, nothing can follow what a job starts.
        let lacks = |what: &str| taken.contains(&what);
        let right = lacks("prctl") && lacks("user namespaces") && lacks("an entry in passwd");
        return if right { Ok(()) } else { wrong("cleaning up is possible", &output) };
    }
    if outcome["error"].is_object() {
        // Without namespaces a job needs a folder.
        let message = outcome["error"]["message"].as_str().unwrap_or_default();
        let no_folder =
            taken.contains(&"writable /tmp") && message.contains("cannot make a folder");
        return if no_folder { Ok(()) } else { wrong("by consent it should run", &output) };
    }
    if outcome["stdout"]["text"] != "42\n" {
        return wrong("by consent it should print", &output);
    }
    for one in taken.iter().filter(|one| !needing(one).is_empty()) {
        let missing = |layer: &&str| outcome["enforcement"][*layer]["state"] != "enforced";
        if !needing(one).iter().all(missing) {
            return wrong(&format!("nothing is said to be missing without {one}"), &output);
        }
    }
    Ok(())
}

/// Every combination of what a host can lack.
fn combinations() -> Vec<Vec<&'static str>> {
    let chosen = |bits: usize| {
        let each = TAKEN.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1);
        each.map(|(_, one)| *one).collect()
    };
    (0..1 << TAKEN.len()).map(chosen).collect()
}

/// Runs a check on many hosts, two at a time; what all of them found.
fn on_each(
    hosts: &[Vec<&'static str>],
    check: impl Fn(&[&str]) -> Result<(), String> + Sync,
) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.extend(check(host).err());
        }
        found
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut found = work();
        found.extend(other.join().expect("checks"));
        found
    })
}

#[test]
fn no_combination_passes_in_silence() {
    let copy = Copy::new();
    let hosts = combinations();
    assert_eq!(hosts.len(), 256);
    let wrong = on_each(&hosts, |taken| check(&copy, taken));
    assert!(wrong.is_empty(), "{} hosts:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whatever is missing, no attack succeeds on what is still claimed. `SANDBOX_WEAK_HOSTS=all` takes
/// two minutes.
#[test]
fn what_is_claimed_on_a_weak_host_holds() {
    let copy = Copy::new();
    let mut hosts = combinations();
    if !std::env::var("SANDBOX_WEAK_HOSTS").is_ok_and(|which| which == "all") {
        // Each alone, all together, and the tier without namespaces.
        hosts.retain(|taken| taken.len() == 1 || taken.len() == TAKEN.len());
    }
    hosts.push(vec!["namespaces"]);
    hosts.push(vec!["namespaces", "an entry in passwd", "cgroups"]);
    let wrong = on_each(&hosts, |taken| {
        let output = copy.on(taken, &["doctor", "--json"]);
        let report = json(&output);
        let attacks = report["attacks"].as_array().cloned().unwrap_or_default();
        let broken: Vec<_> = attacks.iter().filter(|a| a["verdict"] == "broken").collect();
        let untried: Vec<_> = attacks.iter().filter(|a| a["verdict"] == "untried").collect();
        // No job can run there at all.
        let no_folder = |attack: &&Value| {
            let evidence = attack["evidence"].as_str().unwrap_or_default();
            ["make a folder", "become subreaper"].iter().any(|why| evidence.contains(why))
        };
        let untried: Vec<_> = untried.into_iter().filter(|attack| !no_folder(attack)).collect();
        let refused = report["default_job_refused"].is_string();
        let exit = output.status.code() == Some(i32::from(refused || report["holds"] != true));
        if broken.is_empty() && untried.is_empty() && exit && attacks.len() == 35 {
            Ok(())
        } else {
            Err(format!("{taken:?}: {:?}, broken {broken:?}, untried {untried:?}", output.status))
        }
    });
    assert!(wrong.is_empty(), "{} hosts:\n{}", wrong.len(), wrong.join("\n"));
}

fn refused(taken: &[&str], layer: &str, cause: &str) {
    let output = Copy::new().on(taken, &[RUN, PROGRAM].concat());
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let refusal = json(&output);
    assert_eq!(refusal["error"]["layer"], layer, "{refusal}");
    let message = refusal["error"]["message"].as_str().expect("message");
    assert!(message.contains(cause), "{message}");
}

#[test]
fn a_refusal_names_layer_and_cause() {
    for (taken, layer, cause) in [
        ("landlock", "landlock", "no Landlock"),
        ("seccomp", "seccomp", "seccomp filter of an outer container"),
        ("namespaces", "mount_namespace", "seccomp filter of an outer container"),
        ("mount calls", "mount_namespace", "Linux 5.14"),
        ("user namespaces", "user_namespace", "seccomp filter of an outer container"),
    ] {
        refused(&[taken], layer, cause);
    }
}

#[test]
fn one_missing_layer_is_the_only_one_degraded() {
    for layer in ["landlock", "seccomp"] {
        let args = [&RUN[..], &["--allow-degraded", layer], &PROGRAM].concat();
        let outcome = json(&Copy::new().on(&[layer], &args));
        assert_eq!(outcome["stdout"]["text"], "42\n", "{outcome}");
        for (name, state) in outcome["enforcement"].as_object().expect("layers") {
            assert_eq!(state["state"] == "degraded", name == layer, "{name}: {outcome}");
        }
    }
}

fn without_namespaces(more: &[&str], args: &[&str]) -> Value {
    let taken = [&["namespaces"], more].concat();
    let allow = ["--allow-degraded", ALL];
    json(&Copy::new().on(&taken, &[RUN.as_slice(), &allow, args].concat()))
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
    let outcome = without_namespaces(&[], &["-c", code]);
    let denied = "PermissionError";
    let expected = format!("{}OSError {denied} done True\n", format!("{denied} ").repeat(4));
    assert_eq!(outcome["stdout"]["text"], expected, "{outcome}");
    assert_eq!(outcome["artifacts"][0]["path"], "made.txt");
    for layer in ["mount_namespace", "pid_namespace", "disk", "cleanup", "supervisor_hidden"] {
        assert_eq!(outcome["enforcement"][layer]["state"], "degraded", "{layer}");
    }
    for layer in ["seccomp", "landlock", "capabilities", "no_new_privs", "rlimits", "memory"] {
        assert_eq!(outcome["enforcement"][layer]["state"], "enforced", "{layer}");
    }
}

#[test]
fn without_namespaces_an_ordinary_user_is_confined_too() {
    let code = "import os; print(os.getuid(), open('/proc/self/status').read().count('CapEff:\\t0000000000000000'))\n\
                try: open('/etc/passwd')\n\
                except OSError as error: print(type(error).__name__)";
    let outcome = without_namespaces(&["an entry in passwd"], &["-c", code]);
    assert_eq!(outcome["stdout"]["text"], "54321 1\nPermissionError\n", "{outcome}");
}

/// Neither a namespace nor a subreaper: nothing could be said to be gone.
#[test]
fn without_namespaces_and_prctl_jobs_are_refused_also_by_consent() {
    for more in [&["prctl"][..], &["prctl", "an entry in passwd"]] {
        let refusal = without_namespaces(more, &PROGRAM);
        assert_eq!(refusal["error"]["layer"], "cleanup", "{refusal}");
    }
}

#[test]
fn without_namespaces_the_tree_is_killed_all_the_same() {
    let script = "(setsid sleep 930001 &); sleep 930001 & trap '' TERM; echo ready; sleep 930001";
    let args = ["--timeout", "400ms", "--runtime", "bash", "-c", script];
    let outcome = without_namespaces(&[], &args);
    assert_eq!(outcome["termination"]["reason"], "wall_time", "{outcome}");
    assert_eq!(outcome["stdout"]["text"], "ready\n", "the attack ran");
    let ended = ["--runtime", "bash", "-c", "(setsid sleep 930001 &); echo ready"];
    assert_eq!(without_namespaces(&[], &ended)["termination"]["reason"], "exited");
    let alive = |entry: std::fs::DirEntry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        command.starts_with(b"sleep\x00930001")
    };
    assert!(!std::fs::read_dir("/proc").expect("/proc").flatten().any(alive));
}

const USER: &str = "an entry in passwd";

/// Inputs, files that only their owner may read, and links, by a job that is somebody else.
#[test]
fn an_ordinary_user_gives_its_jobs_ids_that_the_host_lends() {
    let code = r#"
import os
print(open("/proc/self/uid_map").read().split()[0], os.stat(".").st_uid, os.getuid())
os.umask(0o077)
os.makedirs("made/deep"); open("made/deep/secret.txt", "w").write("kept")
os.symlink("secret.txt", "made/deep/link")
print(open("given.txt").read(), end="")
"#;
    let folder = tempfile::tempdir_in("/var/tmp").expect("tempdir");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
    let given = folder.path().join("given.txt");
    fs::write(&given, "given\n").expect("write");
    fs::set_permissions(&given, fs::Permissions::from_mode(0o644)).expect("chmod");
    let file = format!("{}:given.txt", given.display());
    let saved = folder.path().join("saved");
    let into = saved.display().to_string();
    let args = ["run", "--json", "--file", &file, "--artifacts", &into, "-c", code];
    let output = Copy::new().on(&["root, but lends ids"], &args);
    let outcome = json(&output);
    assert_eq!(outcome["stdout"]["text"], "1000 1000 1000\ngiven\n", "{outcome}");
    assert_eq!(outcome["enforcement"]["user_namespace"]["state"], "enforced", "{outcome}");
    assert_eq!(fs::read_to_string(saved.join("made/deep/secret.txt")).expect("saved"), "kept");
    let report = json(&Copy::new().on(&["root, but lends ids"], &["doctor", "--json"]));
    assert_eq!(report["holds"], true, "{report}");
    let open = |attack: &Value| attack["verdict"] == "open";
    let open: Vec<_> =
        report["attacks"].as_array().expect("attacks").iter().filter(|a| open(a)).collect();
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn an_ordinary_user_without_lent_ids_is_told_what_its_jobs_share() {
    let outcome = json(&Copy::new().on(&[USER], &[RUN, PROGRAM].concat()));
    assert_eq!(outcome["stdout"]["text"], "42\n", "{outcome}");
    let state = &outcome["enforcement"]["user_namespace"];
    assert_eq!(state["state"], "degraded", "{state}");
    assert!(state["reason"].as_str().expect("reason").contains("/etc/subuid"), "{state}");
    let args = [&RUN[..], &["--require", "user_namespace"], &PROGRAM].concat();
    let refusal = json(&Copy::new().on(&[USER], &args));
    assert_eq!(refusal["error"]["layer"], "user_namespace", "{refusal}");
    let report = json(&Copy::new().on(&[USER], &["doctor", "--json"]));
    assert_eq!(report["holds"], true, "{report}");
    let attacks = report["attacks"].as_array().expect("attacks");
    let open: Vec<_> = attacks.iter().filter(|attack| attack["verdict"] == "open").collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0]["attack"], "use up descriptors in flight", "{open:?}");
}

/// A job with the application's user puts more descriptors in flight than that user may send. The
/// jobs of that user start all the same.
#[test]
fn descriptors_in_flight_stop_no_other_job() {
    let copy = Copy::new();
    let sandbox = copy.0.path().join("sandbox");
    let run = |script: &str, code: &str| {
        let mut command = without([USER], "/bin/sh".as_ref());
        let script = format!("ulimit -n 1024; {script}");
        command.args(["-c", &script]).arg(&sandbox).arg(code);
        command
    };
    let mut attack =
        run("exec \"$0\" run --timeout 20s -c \"$1\"", include_str!("hostile/in_flight.py"));
    let mut attacker = attack.stdout(std::process::Stdio::piped()).spawn().expect("spawn");
    let mut said = std::io::BufReader::new(attacker.stdout.take().expect("stdout"));
    let mut mark = String::new();
    std::io::BufRead::read_line(&mut said, &mut mark).expect("mark");
    assert_eq!(mark, "in flight\n");
    // What the user itself can do, and what a job then does.
    let send = "import array, socket\n\
                a, b = socket.socketpair()\n\
                try: a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0]))])\n\
                except OSError as error: print(error.errno)\n\
                else: print('sent')";
    let control = run("exec python3 -c \"$1\"", send).output().expect("control");
    let victim = run("exec \"$0\" run --json -c \"$1\"", "print(6 * 7)").output().expect("victim");
    let _ = attacker.wait();
    assert_eq!(String::from_utf8_lossy(&control.stdout), "109\n", "the attack works: {control:?}");
    assert_eq!(json(&victim)["stdout"]["text"], "42\n", "{victim:?}");
}

#[test]
fn without_executable_memfds_the_helper_is_a_file_without_a_name() {
    // As sysctl vm.memfd_noexec=2 does.
    let output = Copy::new().on(&["executable memfds"], &[RUN, PROGRAM].concat());
    assert_eq!(json(&output)["stdout"]["text"], "42\n", "{output:?}");
}
