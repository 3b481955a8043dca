//! What can be planted around the command, or told to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn sandbox(args: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    command.args(args).stdin(Stdio::null());
    change(&mut command);
    command.output().expect("sandbox")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Variables with which an interpreter can be made to run something else first.
#[test]
fn start_files_that_variables_name_are_not_inherited() {
    let dir = tempfile::tempdir().expect("tempdir");
    let planted = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("write");
        path
    };
    let bash = planted("bash", "echo planted");
    let python = planted("sitecustomize.py", "print('planted')");
    let node = planted("node.js", "console.log('planted')");
    let r = planted("Rprofile", "cat('planted\\n')");
    let plant = |command: &mut Command| {
        command
            .env("BASH_ENV", &bash)
            .env("ENV", &bash)
            .env("PYTHONPATH", python.parent().expect("folder"))
            .env("PYTHONSTARTUP", &python)
            .env("NODE_OPTIONS", format!("--require {}", node.display()))
            .env("R_PROFILE", &r)
            .env("R_PROFILE_USER", &r)
            .env("LD_DEBUG", "statistics");
    };
    for (runtime, code, program) in [
        ("bash", "echo fine", "bash"),
        ("python", "print('fine')", "python3"),
        ("node", "console.log('fine')", "node"),
        ("r", "cat('fine\\n')", "Rscript"),
    ] {
        let file = planted("program", code);
        let mut bare = Command::new(program);
        plant(&mut bare);
        let control = bare.arg(&file).env_remove("LD_DEBUG").output().expect("interpreter");
        assert!(text(&control.stdout).contains("planted"), "the control: {runtime} {control:?}");
        let output = sandbox(&["run", "--runtime", runtime, "-c", code], |command| {
            plant(command);
            // It would talk on the command's own stderr.
            command.env_remove("LD_DEBUG");
        });
        assert_eq!(text(&output.stdout), "fine\n", "{runtime}: {output:?}");
    }
    let output = sandbox(
        &["run", "--runtime", "bash", "-c", "env | cut -d= -f1 | grep -v THREADS | sort"],
        plant,
    );
    assert_eq!(text(&output.stdout), "HOME\nLANG\nPATH\nPWD\nSHLVL\nTMPDIR\nUSER\n_\n");
}

/// Deadlines count on clocks that nobody can set.
#[test]
fn a_date_that_races_in_the_application_does_not_shorten_a_job() {
    let mut command = Command::new("faketime");
    // By the date, an hour passes in a second. The clocks that nobody can set go on as they do.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.args(["-f", "+0 x3600"]).arg(env!("CARGO_BIN_EXE_sandbox"));
    command.args(["run", "--json", "--timeout", "20s", "--runtime", "bash"]);
    command.args(["-c", "sleep 0.3; echo done"]).stdin(Stdio::null());
    let output = command.output().expect("faketime; install it with: apt-get install faketime");
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(outcome["termination"]["reason"], "exited", "{outcome}");
    assert_eq!(outcome["stdout"]["text"], "done\n");
    let wall = outcome["usage"]["wall_ms"].as_f64().expect("number");
    assert!((300.0..10_000.0).contains(&wall), "{wall} ms by the supervisor's clock");
    // The control: that clock does race.
    let count =
        "import time; a = time.time(); [n for n in range(10**6)]; print(time.time() - a > 5)";
    let args = ["-f", "+0 x3600", "python3", "-c", count];
    let control = Command::new("faketime").args(args).output().expect("faketime");
    assert_eq!(text(&control.stdout), "True\n", "{control:?}");
}

#[test]
fn artifacts_are_not_saved_through_a_link() {
    let dir = tempfile::tempdir().expect("tempdir");
    let outside = tempfile::tempdir().expect("tempdir");
    let link = dir.path().join("out");
    symlink(outside.path(), &link).expect("link");
    let run = |folder: &std::path::Path| {
        let folder = folder.to_str().expect("text");
        sandbox(&["run", "--artifacts", folder, "--runtime", "bash", "-c", "echo x > f"], |_| {})
    };
    let output = run(&link);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(fs::read_dir(outside.path()).expect("folder").count(), 0);
    let output = run(&dir.path().join("real"));
    assert_eq!(output.status.code(), Some(0), "the control: {output:?}");
    assert!(dir.path().join("real/f").exists());
}

#[test]
fn wrong_limits_run_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mark = dir.path().join("ran");
    let mark = mark.to_str().expect("text");
    for limit in [
        ["--timeout", "0s"],
        ["--timeout", "-1s"],
        ["--timeout", "99999999999999999999s"],
        ["--timeout", "25h"],
        ["--cpu-time", "0ms"],
        ["--cpu-time", "NaN"],
        ["--memory", "1"],
        ["--memory", "99999999999TiB"],
        ["--memory", "-1MiB"],
        ["--memory", "1e400"],
        ["--processes", "0"],
        ["--processes", "-1"],
        ["--processes", "4294967296"],
        ["--open-files", "1"],
        ["--file-size", "0"],
        ["--disk", "1"],
        ["--files", "0"],
        ["--output", "2GiB"],
        ["--network", "some"],
        ["--env", "=x"],
        ["--file", "/etc/passwd:../x"],
        ["--file", "/etc/passwd:/x"],
        ["--artifact", "/etc/*"],
        ["--artifact", "["],
        ["--require", "magic"],
        ["--allow-degraded", ""],
    ] {
        let code = format!("touch {mark}; echo ran");
        let args = [&["run", "--json"][..], &limit, &["--runtime", "bash", "-c", &code]].concat();
        let output = sandbox(&args, |_| {});
        assert_eq!(output.status.code(), Some(125), "{limit:?}: {output:?}");
        let refusal: Value = serde_json::from_slice(&output.stdout).expect("json");
        assert_eq!(refusal["error"]["kind"], "invalid_job", "{limit:?}: {refusal}");
        assert_eq!(refusal["error"]["may_have_run"], false, "{limit:?}");
        assert!(
            !text(&output.stdout).contains("panicked")
                && !text(&output.stderr).contains("panicked")
        );
    }
    // A millisecond is a limit, and a day too.
    for limit in ["1ms", "24h"] {
        let output =
            sandbox(&["run", "--timeout", limit, "--runtime", "bash", "-c", "sleep 0.1"], |_| {});
        let expected = if limit == "1ms" { 124 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{limit}: {output:?}");
    }
}

#[test]
fn doctor_shows_the_attacks() {
    let output = sandbox(&["doctor", "--json"], |_| {});
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(report["holds"], true);
    let attacks = report["attacks"].as_array().expect("attacks");
    assert!(attacks.len() >= 35, "{report}");
    for attack in attacks {
        assert_eq!(attack["verdict"], "held", "{attack}");
        assert_eq!(attack["claim"]["state"], "enforced");
        for field in ["attack", "layer", "evidence"] {
            assert!(attack[field].as_str().is_some_and(|text| !text.is_empty()), "{attack}");
        }
    }
    let table = text(&sandbox(&["doctor"], |_| {}).stdout);
    for line in ["fork without end", "35 attacks: 35 held.", "The default job runs here."] {
        assert!(table.contains(line), "{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() < 140), "{table}");
}
