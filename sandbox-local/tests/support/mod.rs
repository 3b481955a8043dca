//! What the integration tests share.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::fs;
use std::time::{Duration, Instant};

use sandbox_core::{ExecutorExt as _, JobBuilder, Outcome};
use sandbox_local::LocalExecutor;

#[path = "../../../tests/support/network.rs"]
mod network;

#[allow(unused_imports, reason = "each test binary uses some of it")]
pub(crate) use network::{METADATA, in_a_network};

pub(crate) async fn executor() -> LocalExecutor {
    LocalExecutor::new().await.expect("executor")
}

pub(crate) async fn run(job: JobBuilder) -> Outcome {
    executor().await.run(job.build().expect("job")).await.expect("outcome")
}

/// Runs Python that must succeed; returns what it printed.
pub(crate) async fn python(code: &str) -> String {
    let outcome = run(sandbox_core::Job::python(code)).await;
    assert!(outcome.is_success(), "{:?}\n{}", outcome.termination, outcome.stderr.text());
    outcome.stdout.text()
}

/// Runs Python without a sandbox, as a control; returns what it printed. For what is harmless.
pub(crate) fn outside(code: &str) -> String {
    let output = std::process::Command::new("/usr/bin/python3").args(["-c", code]).output();
    let output = output.expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Processes on this machine whose command line contains `needle`, but for those that look.
pub(crate) fn alive(needle: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(needle) && pid != std::process::id() {
            found.push(pid);
        }
    }
    found
}

/// Waits until the condition holds; false after five seconds.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        if condition() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// Direct children of this process by name.
pub(crate) fn children_named(name: &str) -> Vec<u32> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((start, end)) = stat.split_once(") ") else { continue };
        let parent = end.split(' ').nth(1);
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let zombie = end.starts_with('Z');
        if parent == Some(own.as_str()) && (command.starts_with(name.as_bytes()) || zombie) {
            found.extend(start.split(' ').next().and_then(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

/// A tree that tries to outlive its job: double fork, new sessions, ignored signals, a held pipe.
pub(crate) fn stubborn(marker: &str) -> String {
    format!(
        "trap '' TERM HUP INT\n\
         (setsid sh -c 'trap \"\" TERM HUP INT; exec sleep {marker}' &)\n\
         (sleep {marker} &)\n\
         setsid sleep {marker} </dev/null &\n\
         sleep 0.05\n\
         echo ready\n"
    )
}
