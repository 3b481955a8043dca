//! What a cold start costs: a bare process, bubblewrap with all namespaces and a comparable
//! mount set, and this crate with every layer on, in turns within one run.
//!
//! `cargo bench --bench start_latency [-- ROUNDS]`; needs `bwrap` (Debian package bubblewrap).

mod support;

use std::process::{Command, Stdio};

use sandbox::{ExecutorExt as _, Job, LocalExecutor};
use support::{Sample, Table};

const TRUE: &[&str] = &["/bin/true"];
const PYTHON: &[&str] = &["/usr/bin/python3", "-c", "print(1)"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = support::rounds(100);
    let executor = LocalExecutor::new().await?;
    executor.probe().check_default()?;
    let mut table = Table::new("start_latency");
    for (name, argv) in [("true", TRUE), ("python", PYTHON)] {
        let (mut bare, mut bwrap, mut ours) = (Sample::new(), Sample::new(), Sample::new());
        for round in 0..rounds + 5 {
            // The first rounds warm the page cache and do not count.
            let counts = round >= 5;
            bare.time(counts, || spawn(&mut Command::new(argv[0]), &argv[1..]))?;
            bwrap.time(counts, || spawn(&mut bubblewrap(), argv))?;
            let since = std::time::Instant::now();
            let outcome = executor.run(Job::command(argv.iter().copied()).build()?).await?;
            ours.add(counts, since.elapsed());
            assert!(outcome.is_success(), "{outcome:?}");
        }
        table.add(&format!("{name}: bare process"), &bare, None);
        table.add(&format!("{name}: bubblewrap"), &bwrap, Some(&bare));
        table.add(&format!("{name}: sandbox"), &ours, Some(&bwrap));
        table.note(
            &format!("{name}: sandbox / bubblewrap"),
            ours.median_ratio(&bwrap),
            "times, median of pairs",
        );
        table.note(
            &format!("{name}: sandbox - bare"),
            ours.median_difference_ms(&bare),
            "ms, median of pairs",
        );
    }
    table.finish()
}

/// Runs a command to its end with its output captured, as the sandbox does.
fn spawn(command: &mut Command, args: &[&str]) -> std::io::Result<()> {
    let output = command.args(args).stdin(Stdio::null()).output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

fn bubblewrap() -> Command {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
        "--uid",
        "1000",
        "--gid",
        "1000",
        "--hostname",
        "sandbox",
        "--ro-bind",
        "/usr",
        "/usr",
        "--symlink",
        "usr/bin",
        "/bin",
        "--symlink",
        "usr/lib",
        "/lib",
        "--symlink",
        "usr/lib64",
        "/lib64",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/work",
    ]);
    for path in ["alternatives", "ld.so.cache", "ssl/certs", "fonts", "python3"] {
        let path = format!("/etc/{path}");
        command.args(["--ro-bind-try", &path, &path]);
    }
    command.args(["--chdir", "/work", "--"]);
    command
}
