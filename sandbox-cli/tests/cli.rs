//! The command as a user meets it.

use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn sandbox() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sandbox"))
}

fn run(args: &[&str]) -> Output {
    sandbox().arg("run").args(args).stdin(Stdio::null()).output().expect("sandbox")
}

fn json(args: &[&str]) -> Value {
    let output = run(&[&["--json"], args].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text.lines().count(), 1, "one line and nothing else: {text}");
    serde_json::from_str(&text).expect("json")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bash(code: &str) -> Vec<&str> {
    vec!["--runtime", "bash", "-c", code]
}

#[test]
fn output_passes_through_and_the_status_is_the_programs() {
    let output = run(&bash("echo out; echo err >&2; exit 3"));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".into(), "err\n".into()));
}

#[test]
fn a_program_that_does_not_come_can_be_interrupted() {
    let folder = tempfile::tempdir().expect("tempdir");
    let fifo = folder.path().join("program.py");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let mut child =
        sandbox().arg("run").arg(&fifo).stderr(Stdio::piped()).spawn().expect("sandbox");
    thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("own child");
    let mut said = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("status").code(), Some(125), "{said}");
    assert!(said.contains("interrupted before"), "{said}");
    // The control: somebody writes.
    let child = sandbox().arg("run").arg(&fifo).stdout(Stdio::piped()).spawn().expect("sandbox");
    fs::write(&fifo, "print(6 * 7)").expect("write");
    assert_eq!(text(&child.wait_with_output().expect("output").stdout), "42\n");
}

#[test]
fn what_a_program_shows_and_what_is_not_kept_is_said_and_saved() {
    let folder = tempfile::tempdir().expect("tempdir");
    let into = folder.path().join("out");
    let into = into.to_str().expect("path");
    let code = "import os; os.makedirs('.displays', exist_ok=True); open('.displays/1.svg', 'w').write('<svg/>')\n\
                open('small.csv', 'w').write('1'); open('display-1.svg', 'w').write('own')\n\
                open('large.bin', 'wb').write(bytes(3 << 20))";
    let args = ["--artifacts", into, "--artifact-size", "1MiB", "-c", code];
    let outcome = json(&args);
    assert_eq!(outcome["displays"][0]["media_type"], "image/svg+xml", "{outcome}");
    let saved = outcome["displays"][0]["saved_to"].as_str().expect("saved");
    assert_eq!(fs::read_to_string(saved).expect("saved"), "<svg/>");
    assert!(saved.ends_with("display-1-2.svg"), "the program has a file of that name: {saved}");
    let output = run(&args);
    let said = text(&output.stderr);
    for part in ["not kept: \"large.bin\": ", "--artifact-size", "cap of 1.0 MiB"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    // Two large files with room for one file.
    let two = "for n in '12': open(f'large{n}.bin', 'wb').write(bytes(50 << 20))";
    let args =
        ["--artifacts", into, "--artifact-size", "200MiB", "--artifact-files", "1", "-c", two];
    assert!(text(&run(&args).stderr).contains("beyond the cap of 1 artifacts"));
    let shown = text(&run(&["-c", code]).stderr);
    assert!(shown.contains("1 figure was shown; --artifacts DIR saves them"), "{shown}");
}

#[test]
fn patterns_mean_what_people_mean() {
    let code = "import os; os.makedirs('out/deep'); open('top.csv', 'w'); open('out/a', 'w')\n\
                open('out/deep/b', 'w')";
    for (pattern, expected) in [
        ("./top.csv", vec!["top.csv"]),
        ("out", vec!["out/a", "out/deep/b"]),
        ("out/", vec!["out/a", "out/deep/b"]),
        ("./out/*", vec!["out/a"]),
    ] {
        let outcome = json(&["--artifact", pattern, "-c", code]);
        let artifacts = outcome["artifacts"].as_array().expect("artifacts");
        let paths: Vec<_> = artifacts.iter().filter_map(|a| a["path"].as_str()).collect();
        assert_eq!(paths, expected, "{pattern}");
    }
    let said = text(&run(&["--artifact", "nothing.csv", "-c", code]).stderr);
    assert!(said.contains("the pattern \"nothing.csv\" has chosen no file"), "{said}");
}

#[test]
fn a_program_comes_from_standard_input_and_inputs_stay_programs() {
    let mut child = sandbox()
        .args(["run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sandbox");
    child.stdin.take().expect("stdin").write_all(b"print(6 * 7)").expect("write");
    assert_eq!(text(&child.wait_with_output().expect("output").stdout), "42\n");
    let both = run(&["--stdin", "-", "-"]);
    assert_eq!(both.status.code(), Some(125), "{both:?}");
    assert!(text(&both.stderr).contains("standard input is the program already"), "{both:?}");
    let folder = tempfile::tempdir().expect("tempdir");
    let tool = folder.path().join("tool");
    fs::write(&tool, "#!/bin/sh\necho ran $1\n").expect("write");
    let file = tool.to_str().expect("path");
    let refused = run(&["--file", file, "--command", "--", "./tool", "x"]);
    assert_eq!(refused.status.code(), Some(125), "a file that is no program stays none");
    fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let output = run(&["--file", file, "--command", "--", "./tool", "x"]);
    assert_eq!(text(&output.stdout), "ran x\n", "{output:?}");
}

#[test]
fn processor_time_follows_the_time_limit() {
    // Two seconds of one processor, of two seconds of time.
    let outcome = json(&["--timeout", "2s", "-c", "while True: pass"]);
    assert_eq!(outcome["termination"]["reason"], "wall_time", "{outcome}");
    let outcome = json(&["--timeout", "9s", "--cpu-time", "300ms", "-c", "while True: pass"]);
    assert_eq!(outcome["termination"]["reason"], "cpu_time", "{outcome}");
    let said = text(&run(&bash("kill -SEGV $$")).stderr);
    assert!(said.contains("signal 11 (segmentation fault)"), "{said}");
}

#[test]
fn exit_statuses_tell_the_ends_apart() {
    for (args, status, line) in [
        (vec!["--timeout", "200ms"], 124, "wall-clock"),
        (vec!["--memory", "48MiB"], 137, "memory"),
        (vec!["--cpu-time", "200ms"], 124, "CPU-time"),
    ] {
        let code = match status {
            // The shell would say that a child of its was killed.
            137 => "exec tail /dev/zero",
            _ if line == "CPU-time" => "while :; do :; done",
            _ => "sleep 9",
        };
        let output = run(&[args, bash(code)].concat());
        assert_eq!(output.status.code(), Some(status), "{code}");
        let said = text(&output.stderr);
        assert!(said.starts_with("sandbox: ") && said.contains(line), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(run(&bash("kill -TERM $$")).status.code(), Some(143));
}

#[test]
fn the_json_outcome_has_the_documented_shape_for_every_reason() {
    let dd = ["--command", "--file-size", "1MiB", "--", "dd", "if=/dev/zero", "of=x", "bs=2M"];
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("exited", bash("exit 4")),
        ("signaled", bash("kill -9 $$")),
        ("wall_time", [vec!["--timeout", "100ms"], bash("sleep 9")].concat()),
        ("cpu_time", [vec!["--cpu-time", "100ms"], bash("while :; do :; done")].concat()),
        ("memory", [vec!["--memory", "32MiB"], bash("tail /dev/zero")].concat()),
        ("disk", [dd.as_slice(), &["count=1"]].concat()),
    ];
    for (reason, args) in cases {
        let outcome = json(&args);
        assert_eq!(outcome["version"], 1);
        assert_eq!(outcome["termination"]["reason"], reason, "{outcome}");
        assert!(outcome["termination"]["evidence"].is_object());
        assert_eq!(outcome["termination"]["code"].is_i64(), reason == "exited");
        assert_eq!(outcome["termination"]["signal"].is_i64(), reason == "signaled");
        for stream in ["stdout", "stderr"] {
            let stream = &outcome[stream];
            assert!(stream["text"].is_string() && stream["bytes"].is_u64());
            assert!(stream["truncated"].is_boolean() && stream["base64"].is_null());
        }
        for list in ["artifacts", "skipped", "limits_hit", "displays"] {
            assert!(outcome[list].is_array(), "{list}");
        }
        for number in ["wall_ms", "cpu_ms", "peak_memory_bytes", "processes"] {
            assert!(outcome["usage"].get(number).is_some(), "{number}");
        }
        for number in ["queued_ms", "startup_ms", "run_ms", "collect_ms"] {
            assert!(outcome["timing"][number].is_f64(), "{number}");
        }
        assert_eq!(outcome["start"], "cold");
        assert_eq!(outcome["enforcement"]["seccomp"]["state"], "enforced");
        assert!(outcome["cost"].is_null());
    }
}

#[test]
fn cancelled_is_a_reason_too() {
    let child = sandbox()
        .args(["run", "--json", "--runtime", "bash", "-c", "echo early; sleep 920001"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("sandbox");
    wait_for("920001");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("own child");
    let output = child.wait_with_output().expect("output");
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(outcome["termination"]["reason"], "cancelled");
    assert_eq!(outcome["stdout"]["text"], "early\n");
    assert_eq!(output.status.code(), Some(130));
    assert!(!alive("920001"));
}

#[test]
fn bytes_that_are_not_text_are_kept() {
    let outcome = json(&bash("printf '\\xff\\x00a'"));
    assert_eq!(outcome["stdout"]["base64"], "/wBh");
    assert_eq!(outcome["stdout"]["bytes"], 3);
}

#[test]
fn wrong_command_lines_are_refused_with_the_remedy() {
    for (args, said) in [
        (vec!["--memory", "-5MiB", "-c", "1"], "not a size"),
        (vec!["--processes", "-1", "-c", "1"], "--processes"),
        (vec!["--timeout", "-1s", "-c", "1"], "--timeout"),
        (vec!["--memory", "lots", "-c", "1"], "not a size"),
        (vec!["--memory", "1KiB", "-c", "1"], "limits.memory"),
        (vec!["--timeout", "0s", "-c", "1"], "limits.wall"),
        (vec!["--timeout", "5", "-c", "1"], "unit"),
        (vec!["--timeout", "18446744073709551615s", "-c", "1"], "limits.wall"),
        (vec!["--processes", "0", "-c", "1"], "limits.processes"),
        (vec!["--processes", "99999999999999999999", "-c", "1"], "--processes"),
        (vec!["-c", ""], "empty"),
        (vec![], "FILE"),
        (vec!["/nonexistent.py"], "/nonexistent.py"),
        (vec!["/etc/os-release.rb"], "/etc/os-release.rb"),
        (vec!["/dev/zero"], "16777216"),
        (vec!["--runtime", "cobol", "-c", "1"], "known: bash, node, python, r"),
        (vec!["--file", "/nonexistent", "-c", "1"], "/nonexistent"),
        (vec!["--file", "/etc/hostname:../x", "-c", "1"], ".."),
        (vec!["--file", "/etc/hostname:/x", "-c", "1"], "absolute"),
        (vec!["--artifact", "[", "-c", "1"], "artifacts"),
        (vec!["--env", "X", "-c", "1"], "NAME=VALUE"),
        (vec!["--require", "magic", "-c", "1"], "known: user_namespace"),
        (vec!["--require", "microvm", "-c", "1"], "microvm"),
        (vec!["--backend", "lambda", "-c", "1"], "SANDBOX_LAMBDA_BUCKET"),
        (vec!["--command", "--", "no-such-program"], "not found in the sandbox"),
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_refusal_is_json_when_json_is_asked_for() {
    let output = run(&["--json", "--require", "microvm", "-c", "print(1)"]);
    assert_eq!(output.status.code(), Some(125));
    let refusal: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(refusal["version"], 1);
    assert_eq!(refusal["error"]["kind"], "refused");
    assert_eq!(refusal["error"]["layer"], "microvm");
    assert_eq!(refusal["error"]["may_have_run"], false);
    assert_eq!(refusal["error"]["retryable"], false);
}

#[test]
fn a_wrong_command_line_is_json_when_json_is_asked_for() {
    let output = run(&["--json", "--memory", "lots", "-c", "1"]);
    assert_eq!(output.status.code(), Some(125));
    let refusal: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(refusal["error"]["kind"], "invalid_job");
    assert!(refusal["error"]["message"].as_str().is_some_and(|m| m.contains("--memory")));
}

#[test]
fn files_go_in_and_artifacts_come_out() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (input, out) = (dir.path().join("in.txt"), dir.path().join("out"));
    fs::write(&input, "hello").expect("write");
    let code = "open('sub.txt', 'w').write(open('data/x').read().upper())";
    let file = format!("{}:data/x", input.display());
    let outcome = json(&["--file", &file, "--artifacts", out.to_str().expect("text"), "-c", code]);
    assert_eq!(outcome["artifacts"][0]["path"], "sub.txt", "{outcome}");
    assert_eq!(fs::read_to_string(out.join("sub.txt")).expect("saved"), "HELLO");

    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&out, &link).expect("symlink");
    let output = run(&["--artifacts", link.to_str().expect("text"), "-c", "open('x', 'w')"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("link"), "{}", text(&output.stderr));
}

#[test]
fn standard_input_is_the_commands_own_with_a_dash() {
    let mut child = sandbox()
        .args(["run", "--stdin", "-", "--runtime", "bash", "-c", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sandbox");
    child.stdin.take().expect("stdin").write_all(b"through\n").expect("write");
    assert_eq!(text(&child.wait_with_output().expect("output").stdout), "through\n");
}

#[test]
fn an_empty_standard_input_is_no_error() {
    let mut command = sandbox();
    command.args(["run", "--stdin", "-", "--runtime", "bash", "-c", "wc -c"]);
    let output = command.stdin(Stdio::null()).output().expect("sandbox");
    assert_eq!(text(&output.stdout).trim(), "0", "{}", text(&output.stderr));
}

#[test]
fn output_that_cannot_be_written_is_not_success() {
    let full = || fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    for json in [true, false] {
        let mut command = sandbox();
        command.args(["run"]).args(json.then_some("--json")).args(bash("echo lost; sleep 1"));
        let output = command.stdout(full()).output().expect("sandbox");
        assert!(!output.status.success(), "json {json}");
        assert!(text(&output.stderr).contains("No space left"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_reader_that_does_not_read_does_not_keep_the_command() {
    let mut child = sandbox()
        .args(["run", "--timeout", "30s", "--command", "--", "yes", "920004"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sandbox");
    thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("own child");
    let since = Instant::now();
    while child.try_wait().expect("status").is_none() {
        assert!(since.elapsed() < Duration::from_secs(5), "still there");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_artifact_that_cannot_be_saved_loses_nothing_else() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::create_dir(dir.path().join("x")).expect("mkdir");
    let folder = dir.path().to_str().expect("text");
    let code = "open('x', 'w').close(); open('y', 'w').close(); print('kept')";
    let output = run(&["--json", "--artifacts", folder, "-c", code]);
    assert_eq!(output.status.code(), Some(125));
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(outcome["stdout"]["text"], "kept\n");
    assert!(outcome["artifacts"][0]["saved_to"].is_null());
    assert!(outcome["artifacts"][1]["saved_to"].is_string());
    assert!(text(&output.stderr).contains("save artifact"), "{}", text(&output.stderr));
}

#[test]
fn arguments_that_are_not_text_are_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.py");
    let output = sandbox().args(["run", "--file"]).arg(odd).args(["-c", "1"]).output();
    assert_eq!(output.expect("sandbox").status.code(), Some(125));
}

#[test]
fn a_reader_that_goes_away_ends_the_job() {
    let mut child = sandbox()
        .args(["run", "--timeout", "20s", "--command", "--", "yes", "920002"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sandbox");
    let mut stdout = child.stdout.take().expect("stdout");
    stdout.read_exact(&mut [0; 14]).expect("some output");
    drop(stdout);
    let since = Instant::now();
    let status = child.wait().expect("status");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(status.code(), Some(130), "{status:?}, signal {:?}", status.signal());
    assert!(!alive("920002"));
}

#[test]
fn a_killed_command_takes_everything_with_it() {
    let script = "(setsid sleep 920003 &); trap '' TERM; sleep 920003";
    let mut child =
        sandbox().args(["run"]).args(bash(script)).stdout(Stdio::null()).spawn().expect("sandbox");
    wait_for("920003");
    child.kill().expect("own child");
    child.wait().expect("status");
    let since = Instant::now();
    while alive("920003") {
        assert!(since.elapsed() < Duration::from_secs(5), "survivors");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn doctor_says_what_this_host_enforces() {
    let output = sandbox().args(["doctor", "--json"]).output().expect("doctor");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(report["enforcement"]["landlock"]["state"], "enforced");
    assert!(report["default_job_refused"].is_null());
    assert!(report["probe_ms"].as_f64().is_some());
    let table = sandbox().arg("doctor").output().expect("doctor");
    assert!(text(&table.stdout).contains("The default job runs here."));
}

/// As an ordinary user, where user namespaces are refused: no layer can be built.
#[test]
fn a_host_without_user_namespaces_refuses_with_cause_and_remedy() {
    assert!(nix::unistd::geteuid().is_root(), "run the tests as root: they become other users");
    let dir = tempfile::tempdir().expect("tempdir");
    let copy = public_copy(dir.path());
    // A user namespace in which no further one may be made stands for the host.
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces; exec {copy} \"$@\"");
    let weak = |args: &[&str]| {
        Command::new("unshare")
            .args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", &script, "sh"])
            .args(args)
            .uid(65_534)
            .gid(65_534)
            .current_dir("/")
            .output()
            .expect("unshare")
    };
    let output = weak(&["run", "--json", "-c", "print(1)"]);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let refusal: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(refusal["error"]["layer"], "user_namespace", "{refusal}");
    let message = refusal["error"]["message"].as_str().expect("message");
    assert!(message.contains("user.max_user_namespaces is 0"), "{message}");
    assert_eq!(weak(&["doctor"]).status.code(), Some(1));

    let layers = "user_namespace,mount_namespace,pid_namespace,network_namespace,ipc_namespace,\
                  uts_namespace,capabilities,processes,disk,private_tmp,cleanup,supervisor_hidden";
    let output = weak(&["run", "--json", "--allow-degraded", layers, "-c", "print(6 * 7)"]);
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(outcome["stdout"]["text"], "42\n", "{outcome}");
    assert_eq!(outcome["enforcement"]["user_namespace"]["state"], "degraded");
}

#[test]
fn an_ordinary_user_needs_nothing_special() {
    assert!(nix::unistd::geteuid().is_root(), "run the tests as root: they become other users");
    let dir = tempfile::tempdir().expect("tempdir");
    let copy = public_copy(dir.path());
    let output = Command::new(&copy)
        .args(["run", "--json", "-c", "import os; print(os.getuid())"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .output()
        .expect("sandbox");
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(outcome["stdout"]["text"], "1000\n", "{outcome}");
    assert_eq!(outcome["enforcement"]["memory"]["state"], "degraded");
    let reason = outcome["enforcement"]["memory"]["reason"].as_str().expect("reason");
    assert!(reason.contains("watcher"), "{reason}");
    // Required by name, the same layer is a refusal.
    let output = Command::new(&copy)
        .args(["run", "--json", "--require", "memory", "-c", "print(1)"])
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .output()
        .expect("sandbox");
    let refusal: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(refusal["error"]["layer"], "memory", "{refusal}");
}

fn public_copy(folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("chmod");
    let copy = folder.join("sandbox");
    fs::copy(env!("CARGO_BIN_EXE_sandbox"), &copy).expect("copy");
    copy.to_str().expect("text").to_owned()
}

/// Whether a process outside this test's own commands has the marker as an argument.
fn alive(marker: &str) -> bool {
    let runs = |entry: fs::DirEntry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = text(&command);
        command.starts_with("sleep\0") && command.contains(marker)
    };
    fs::read_dir("/proc").expect("/proc").flatten().any(runs)
}

fn wait_for(marker: &str) {
    let since = Instant::now();
    while !alive(marker) {
        assert!(since.elapsed() < Duration::from_secs(10), "{marker} never started");
        thread::sleep(Duration::from_millis(5));
    }
}
