//! `sandbox batch` as a user meets it, with what interrupts it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Batch {
    folder: TempDir,
}

impl Batch {
    fn new(jobs: impl IntoIterator<Item = Value>) -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let lines: String = jobs.into_iter().map(|job| format!("{job}\n")).collect();
        fs::write(folder.path().join("jobs.jsonl"), lines).expect("write");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
        command.args(["batch", "jobs.jsonl"]).args(args).current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("sandbox")
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sandbox")
    }

    /// What the results file has, by id; each id once.
    fn results(&self) -> BTreeMap<String, Value> {
        read(&fs::read_to_string(self.path("results")).expect("results"))
    }

    /// Waits for so many results.
    fn wait_for(&self, lines: usize) {
        let since = Instant::now();
        let count = || fs::read_to_string(self.path("results")).unwrap_or_default().lines().count();
        while count() < lines {
            assert!(since.elapsed() < PATIENCE, "{} results", count());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn read(text: &str) -> BTreeMap<String, Value> {
    let mut results = BTreeMap::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect(line);
        let id = value["id"].as_str().expect("id").to_owned();
        assert!(results.insert(id, value).is_none(), "twice: {line}");
    }
    results
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn echo(id: usize) -> Value {
    json!({ "id": format!("job-{id}"), "runtime": "bash", "code": format!("echo {id}") })
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("kill");
}

#[test]
fn each_line_has_an_outcome_with_its_id_and_a_summary_says_how_they_ended() {
    let batch = Batch::new([
        json!({ "id": "all", "runtime": "python", "args": ["a"], "env": { "E": "v" }, "stdin": "in",
            "files": { "t": "text", "b": { "base64": "AP8=" }, "p": { "path": "jobs.jsonl" } },
            "code": "import os, sys\nprint(sys.argv[1], os.environ['E'], input(), open('t').read(), \
                     open('b', 'rb').read(), len(open('p').read()) > 9)\nopen('o.txt', 'w').write('x')",
            "artifacts": ["*.txt"], "labels": { "k": "v" } }),
        json!({ "code": "print(6 * 7)" }),
        json!({ "command": ["sh", "-c", "exit 3"] }),
        json!({ "id": "slow", "runtime": "bash", "code": "sleep 9", "limits": { "timeout": "200ms" } }),
        json!({ "id": "none", "runtime": "cobol", "code": "1" }),
    ]);
    let output = batch.run(&["--artifacts", "out"]);
    let results = read(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(results["all"]["stdout"]["text"], "a v in text b'\\x00\\xff' True\n");
    assert_eq!(results["all"]["artifacts"][0]["saved_to"], "out/all/o.txt");
    assert_eq!(fs::read(batch.path("out/all/o.txt")).expect("saved"), b"x");
    assert_eq!(results["2"]["stdout"]["text"], "42\n");
    assert_eq!(results["3"]["termination"]["code"], 3);
    assert_eq!(results["slow"]["termination"]["reason"], "wall_time");
    assert_eq!(results["none"]["error"]["kind"], "unknown_runtime");
    let said = stderr(&output);
    for line in [
        "exited 0",
        "exited 3",
        "wall_time",
        "no outcome: unknown_runtime",
        "5 jobs, 1 not finished",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn a_wrong_line_is_named_and_nothing_runs() {
    let good = json!({ "code": "1" });
    for (line, expected) in [
        (json!("text"), "line 2"),
        (json!({ "cod": "1" }), "unknown field `cod`"),
        (json!({ "id": "x" }), "either code"),
        (json!({ "code": "1", "command": ["a"] }), "either code"),
        (json!({ "code": "" }), "empty"),
        (json!({ "id": "a/b", "code": "1" }), "cannot name a folder"),
        (json!({ "id": "..", "code": "1" }), "cannot name a folder"),
        (json!({ "id": "\u{1F600}".repeat(60), "code": "1" }), "1 to 200 bytes"),
        (json!({ "id": "1", "code": "1" }), "given twice"),
        (json!({ "code": "1", "limits": { "timeout": "5" } }), "limits.timeout"),
        (json!({ "code": "1", "limits": { "memory": "1B" } }), "limits.memory"),
        (json!({ "code": "1", "files": { "../x": "1" } }), ".."),
        (json!({ "code": "1", "files": { "x": { "base64": "?" } } }), "no base64"),
        (json!({ "code": "1", "files": { "x": { "path": "missing" } } }), "missing"),
        (json!({ "code": "1", "files": { "x": 5 } }), "text"),
    ] {
        let batch = Batch::new([good.clone(), line.clone()]);
        let output = batch.run(&["--results", "results"]);
        assert_eq!(output.status.code(), Some(125), "{line}: {output:?}");
        assert!(stderr(&output).contains(expected), "{line}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && fs::read(batch.path("results")).expect("f").is_empty());
    }
    let batch = Batch::new([good]);
    for (args, expected) in [
        (&["--results", "."][..], "directory"),
        (&["--results", "jobs.jsonl"], "file of the jobs"),
        (&["--results", "/dev/full"], "not a file"),
        (&["--artifacts", "jobs.jsonl"], "--artifacts"),
        (&["--jobs", "0"], "--jobs"),
    ] {
        let output = batch.run(args);
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_batch_that_was_killed_goes_on_and_runs_nothing_again() {
    let batch = Batch::new((0..200).map(echo));
    let mut killed = batch.start(&["--results", "results"]);
    batch.wait_for(20);
    signal(&killed, Signal::SIGKILL);
    killed.wait().expect("killed");
    let before = fs::read_to_string(batch.path("results")).expect("results");
    let whole = &before[..=before.rfind('\n').expect("a line")];
    assert!(read(whole).len() < 200, "it was killed too late to show anything");
    // Also with half a line, as a full disk or a machine that stops leaves it.
    fs::write(batch.path("results"), format!("{whole}{{\"id\":\"job-")).expect("write");

    let output = batch.run(&["--results", "results"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("of 200 jobs are finished already"), "{}", stderr(&output));
    assert!(stderr(&output).contains("200 jobs, 0 not finished"), "{}", stderr(&output));
    let after = fs::read_to_string(batch.path("results")).expect("results");
    assert!(after.starts_with(whole), "a result was written anew");
    assert_eq!(batch.results().len(), 200);

    let output = batch.run(&["--results", "results"]);
    assert!(output.status.success());
    assert_eq!(fs::read_to_string(batch.path("results")).expect("results"), after);
}

#[test]
fn results_of_something_else_are_refused() {
    let batch = Batch::new((0..3).map(echo));
    assert!(batch.run(&["--results", "results"]).status.success());
    let results = fs::read(batch.path("results")).expect("results");
    let mut changed: Vec<_> = (0..3).map(echo).collect();
    changed[1]["code"] = json!("echo other");
    let lines: String = changed.iter().map(|job| format!("{job}\n")).collect();
    fs::write(batch.path("jobs.jsonl"), lines).expect("write");
    let output = batch.run(&["--results", "results"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("job \"job-1\" is not the one"), "{}", stderr(&output));
    assert_eq!(fs::read(batch.path("results")).expect("results"), results);

    // What is not a result, and what only looks like the beginning of one.
    for text in ["{\"some\": \"json\"}\n", "precious text", "{\"id\": 1", "{\"id\":\"a\"}", "a\nb"]
    {
        fs::write(batch.path("other"), text).expect("write");
        let output = batch.run(&["--results", "other"]);
        assert_eq!(output.status.code(), Some(125), "{text}");
        assert!(stderr(&output).contains("line 1 is no result"), "{text}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(batch.path("other")).expect("other"), text);
    }
}

#[test]
fn a_result_whose_line_has_no_end_is_a_result() {
    let batch = Batch::new((0..3).map(echo));
    assert!(batch.run(&["--results", "results"]).status.success());
    let before = fs::read_to_string(batch.path("results")).expect("results");
    fs::write(batch.path("results"), before.trim_end()).expect("write");
    let output = batch.run(&["--results", "results"]);
    assert!(stderr(&output).contains("3 of 3 jobs are finished already"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(batch.path("results")).expect("results"), before);
}

#[test]
fn other_options_are_other_jobs_and_only_those_of_the_file_count() {
    let batch = Batch::new((0..4).map(echo));
    assert!(batch.run(&["--results", "results"]).status.success());
    let output = batch.run(&["--results", "results", "--memory", "64MiB"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("options have changed"), "{}", stderr(&output));
    let lines: String = (0..2).map(|id| format!("{}\n", echo(id))).collect();
    // With the mark that some editors put there.
    fs::write(batch.path("jobs.jsonl"), format!("\u{feff}{lines}")).expect("write");
    let output = batch.run(&["--results", "results"]);
    assert!(stderr(&output).contains("2 of 2 jobs are finished"), "{}", stderr(&output));
    assert!(stderr(&output).contains("2 jobs, 0 not finished"), "{}", stderr(&output));
}

#[test]
fn an_outcome_stands_whose_files_cannot_be_saved_and_its_job_runs_again() {
    let code = "echo printed; echo x > out.txt";
    let batch = Batch::new([json!({ "id": "a", "runtime": "bash", "code": code })]);
    fs::create_dir(batch.path("out")).expect("mkdir");
    // The folder's name is taken by a file.
    fs::write(batch.path("out/a"), "").expect("write");
    let output = batch.run(&["--results", "results", "--artifacts", "out"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("files not saved"), "{}", stderr(&output));
    let result = &batch.results()["a"];
    assert_eq!(result["stdout"]["text"], "printed\n");
    assert!(result["unsaved"].as_str().is_some_and(|why| why.contains("out/a")), "{result}");
    fs::remove_file(batch.path("out/a")).expect("remove");
    assert!(batch.run(&["--results", "results", "--artifacts", "out"]).status.success());
    assert_eq!(fs::read(batch.path("out/a/out.txt")).expect("saved"), b"x\n");
}

/// Waits for the end, and says how long it took.
fn ends(mut child: Child) -> Duration {
    let since = Instant::now();
    while child.try_wait().expect("wait").is_none() {
        assert!(since.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    since.elapsed()
}

#[test]
fn signals_count_also_while_lines_are_read_and_while_nobody_reads_results() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    let child = command.args(["batch", "-"]).stdin(Stdio::piped()).spawn().expect("sandbox");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::SIGINT);
    assert!(ends(child) < Duration::from_secs(5));

    // Results that nobody takes: far more than a pipe holds.
    let large = |id| json!({ "id": format!("{id}"), "runtime": "bash", "code": "head -c 300000 /dev/zero | tr '\\0' x" });
    let batch = Batch::new((0..100).map(large));
    let child = batch.start(&[]);
    std::thread::sleep(Duration::from_secs(2));
    for _ in 0..2 {
        signal(&child, Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(ends(child) < Duration::from_secs(5));
}

#[test]
fn two_batches_do_not_write_to_one_file() {
    let slow = json!({ "runtime": "bash", "code": "sleep 3" });
    let batch = Batch::new([echo(1), slow]);
    let mut first = batch.start(&["--results", "results", "--jobs", "2"]);
    batch.wait_for(1);
    let output = batch.run(&["--results", "results"]);
    assert!(stderr(&output).contains("another batch"), "{}", stderr(&output));
    assert!(first.wait().expect("first").success());
}

#[test]
fn a_job_that_could_not_be_run_is_tried_again() {
    let batch = Batch::new([echo(1), json!({ "id": "x", "command": ["no-such-program"] })]);
    for _ in 0..2 {
        let output = batch.run(&["--results", "results"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    }
    let text = fs::read_to_string(batch.path("results")).expect("results");
    assert_eq!(text.lines().filter(|line| line.contains("program_not_found")).count(), 2, "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn a_first_signal_lets_programs_end_and_a_second_one_ends_them() {
    let job = |id: usize| json!({ "id": format!("{id}"), "runtime": "bash", "code": format!("sleep 1; : signal-{id}") });
    for (signals, finished) in [(1, 2), (2, 0)] {
        let batch = Batch::new((0..50).map(job));
        let child = batch.start(&["--results", "results", "--jobs", "2"]);
        let since = Instant::now();
        while !is_alive("signal-1") {
            assert!(since.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(2));
        }
        for _ in 0..signals {
            signal(&child, Signal::SIGINT);
            std::thread::sleep(Duration::from_millis(100));
        }
        let output = child.wait_with_output().expect("sandbox");
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        assert_eq!(batch.results().len(), finished, "{}", stderr(&output));
        assert!(stderr(&output).contains("not started"), "{}", stderr(&output));
        assert!(!is_alive("signal-1"), "a program outlived the batch");
    }
}

fn is_alive(mark: &str) -> bool {
    let own = std::process::id().to_string();
    fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environ = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        let is_job = environ.ends_with("bash") || environ.ends_with("sleep");
        let script = entry.path().join("cwd/main.sh");
        let text = fs::read_to_string(script).unwrap_or_default();
        entry.file_name().to_string_lossy() != own
            && is_job
            && (text.contains(mark) || String::from_utf8_lossy(&cmdline).contains(mark))
    })
}

#[test]
fn lines_come_from_standard_input_and_from_what_cannot_be_read_twice() {
    let batch = Batch::new([]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    command.args(["batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("sandbox");
    let mut input = child.stdin.take().expect("stdin");
    writeln!(input, "{}\n\n{}", echo(1), echo(2)).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("sandbox");
    assert_eq!(read(&String::from_utf8_lossy(&output.stdout)).len(), 2, "{output:?}");

    let script = format!(
        "{} batch <(echo '{}')",
        env!("CARGO_BIN_EXE_sandbox"),
        r#"{"command": ["echo", "hi"]}"#
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""text":"hi\n""#), "{output:?}");
    let output = batch.run(&[]);
    assert!(output.status.success() && stderr(&output).contains("0 jobs"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_goes_away_is_an_error() {
    let batch = Batch::new((0..500).map(echo));
    let script = format!(
        "{} batch jobs.jsonl | head -n 1 > /dev/null; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_sandbox")
    );
    let mut command = Command::new("bash");
    let output = command.args(["-c", &script]).current_dir(batch.folder.path()).output();
    let output = output.expect("bash");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(stderr(&output).contains("cannot write"), "{}", stderr(&output));
}

#[test]
fn on_a_terminal_there_is_a_bar_with_rate_and_time_left() {
    let batch = Batch::new((0..100).map(echo));
    let command = format!("{} batch jobs.jsonl --results results", env!("CARGO_BIN_EXE_sandbox"));
    // A terminal of its own, from util-linux.
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .current_dir(batch.folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("script; install util-linux");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("/100, ") && text.contains("/s, ") && text.contains(" left"), "{text:?}");
    assert!(text.contains("100 jobs, 0 not finished"), "{text:?}");
}

#[test]
fn memory_does_not_grow_with_the_number_of_jobs() {
    let peak = |jobs: usize| {
        let batch = Batch::new((0..jobs).map(|id| {
            // Each with an output that would be noticed.
            json!({ "id": format!("job-{id}"), "runtime": "bash", "code": "head -c 30000 /dev/zero | tr '\\0' x" })
        }));
        let mut child = batch.start(&["--results", "results", "--jobs", "4"]);
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        while child.try_wait().expect("wait").is_none() {
            if let Ok(status) = fs::read_to_string(Path::new(&status))
                && let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))
            {
                peak = line.trim().trim_end_matches(" kB").parse().expect("a number");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(batch.results().len(), jobs);
        peak
    };
    let (few, many): (u64, u64) = (peak(100), peak(1500));
    // The outputs alone would be 42 MB more.
    assert!(many < few + 10 * 1024, "{few} KiB for 100 jobs, {many} KiB for 1500");
}
