//! `sandbox tune` on this machine. Its figures decide nothing here, only that there are some.

use std::process::{Command, Output};

use serde_json::Value;

fn tune(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    command.arg("tune").args(arguments).output().expect("sandbox")
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn each_size_has_its_time_and_its_cost() {
    let folder = tempfile::tempdir().expect("folder");
    let chart = folder.path().join("chart.svg").to_string_lossy().into_owned();
    let code = "sum(i * i for i in range(400000))";
    let arguments = ["--sizes", "512,1024,1769,10240", "--rounds", "2", "--svg", &chart];
    let report = tune(&[&arguments[..], &["--json", "-c", code]].concat());
    assert_eq!(report.status.code(), Some(0), "{}", String::from_utf8_lossy(&report.stderr));
    let report = json(&report);
    let sizes = report["sizes"].as_array().expect("sizes");
    let memory: Vec<_> = sizes.iter().map(|size| size["memory_mb"].as_u64()).collect();
    assert_eq!(memory[..3], [Some(512), Some(1024), Some(1769)]);
    for size in sizes {
        let (billed, usd) = (&size["billed_ms"], &size["usd_per_million"]);
        let (billed, usd) = (billed.as_f64().expect("billed"), usd.as_f64().expect("cost"));
        // What AWS lists: a request, and what the memory costs for that time.
        let expected =
            0.2 + billed * size["memory_mb"].as_f64().expect("MB") / 1024.0 * 0.016_666_7;
        assert!((usd - expected).abs() < expected * 0.02, "{size}: {expected}");
        assert!(size["run_ms"][1].as_f64() <= size["run_ms"][0].as_f64(), "{size}");
    }
    for what in ["by_cost", "by_speed", "balanced"] {
        assert!(memory.contains(&report["best"][what].as_u64()), "{report}");
    }
    assert!(report["explanation"].as_str().expect("text").contains("1,769"));
    // A machine of few processors says what it leaves out.
    let here = std::thread::available_parallelism().expect("processors").get();
    assert_eq!(memory.len() == 3, here < 6, "{report}");
    assert_eq!(report["notes"].as_array().expect("notes").is_empty(), here >= 6);
    let svg = std::fs::read_to_string(chart).expect("chart");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in ["1,769 MB have one processor", "dollars for a million runs", "best by cost"] {
        assert!(svg.contains(text), "{text}");
    }
    let table = tune(&["--sizes", "1024", "--rounds", "1", "-c", "1"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("cost, speed, balanced"), "{table}");
}

#[test]
fn a_program_that_fails_has_no_best_size() {
    let output = tune(&["--sizes", "512", "--rounds", "1", "--json", "-c", "raise SystemExit(3)"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert!(report["best"].is_null());
    let failed = report["sizes"][0]["failed"].as_str().expect("why");
    assert!(failed.contains("exited with code 3"), "{failed}");
    // One that does not fit into a size is not measured in it.
    let large = "b = bytearray(700 << 20)";
    let output = tune(&[
        "--sizes", "512,1024", "--rounds", "1", "--memory", "900MiB", "--json", "-c", large,
    ]);
    let report = json(&output);
    assert!(report["sizes"][0]["failed"].as_str().is_some_and(|why| why.contains("memory limit")));
    assert_eq!(report["best"]["by_cost"], 1024);
}

#[test]
fn each_run_has_the_same_input() {
    use std::io::Write as _;
    use std::process::Stdio;
    let code = "import sys\nassert sys.stdin.read() == 'data', 'empty'";
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    command
        .args(["tune", "--sizes", "1024", "--rounds", "2", "--json", "--stdin", "-", "-c", code]);
    let mut tune = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sandbox");
    tune.stdin.take().expect("stdin").write_all(b"data").expect("input");
    let output = tune.wait_with_output().expect("output");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    for arguments in [["--sizes", "512,64"], ["--svg", "/nowhere/chart.svg"]] {
        let output = tune(&[&arguments[..], &["--json", "-c", "print(1)"]].concat());
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        json(&output);
    }
    // What a program says gets to a terminal as text only.
    let code = "import sys; sys.exit('\\x1b]0;owned\\x07')";
    let output = tune(&["--sizes", "512", "--rounds", "1", "-c", code]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("owned") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn what_is_no_size_is_refused_by_name() {
    for (sizes, why) in [("64", "64 MB is no size"), ("99999", "give 128 to 10240")] {
        let output = tune(&["--sizes", sizes, "--json", "-c", "1"]);
        assert_eq!(output.status.code(), Some(125));
        let message = json(&output)["error"]["message"].as_str().expect("message").to_owned();
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(tune(&["--rounds", "0", "-c", "1"]).status.code(), Some(125));
    assert_eq!(tune(&["--rounds", "1"]).status.code(), Some(125), "no program");
}
