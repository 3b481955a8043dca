//! What models really write runs in the sandbox as it runs outside.
//!
//! Each program of `tests/programs` runs under the default policy, and once more without a sandbox
//! (and without a network); both must print the same. `docs/compatibility.md` lists what differs
//! by design.

#[path = "support/venv.rs"]
mod venv;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sandbox::{ExecutorExt as _, Job, LocalExecutor, Runtime, Size};

fn main() {
    let args = Arguments::from_args();
    let python = venv::python();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("runtime"));
    let builder = LocalExecutor::builder().runtime(Runtime::python().with_interpreter(&python));
    let executor = Arc::new(runtime.block_on(builder.build()).expect("executor"));
    let mut trials = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    for entry in fs::read_dir(folder).expect("programs").flatten() {
        let path = entry.path();
        let (name, runtime_name, interpreter) = match path.extension().and_then(|e| e.to_str()) {
            Some("py") => ("main.py", "python", python.clone()),
            Some("js") => ("main.js", "node", "node".into()),
            Some("R") => ("main.R", "r", "Rscript".into()),
            _ => continue,
        };
        let (executor, runtime) = (Arc::clone(&executor), Arc::clone(&runtime));
        let check = move || {
            let code = fs::read(&path)?;
            let job = Job::source(runtime_name, code.clone())
                .timeout(Duration::from_secs(120))
                .limit(|limits| {
                    limits.cpu = Some(Duration::from_secs(120));
                    limits.memory = Size::gib(1);
                });
            let outcome = runtime.block_on(executor.run(job.build()?))?;
            let (inside, error) = (outcome.stdout.text(), outcome.stderr.text());
            if !outcome.is_success() || inside.is_empty() {
                return Err(format!("{:?}\n{inside}\n{error}", outcome.termination).into());
            }
            let outside = outside(&interpreter, name, &code)?;
            if inside != outside {
                return Err(format!("inside:\n{inside}\noutside:\n{outside}\n{error}").into());
            }
            Ok(())
        };
        let title = entry.file_name().to_string_lossy().replace('.', "_");
        trials.push(Trial::test(title, check));
    }
    assert!(trials.len() >= 22, "{} programs", trials.len());
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    let check = move || runtime.block_on(cpython(&executor));
    trials.push(Trial::test("cpythons_own_tests", check));
    libtest_mimic::run(&args, trials).exit();
}

/// What the program prints without a sandbox.
fn outside(interpreter: &Path, name: &str, code: &[u8]) -> Result<String, Failed> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join(name), code)?;
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(interpreter)
        .arg(name)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder.path())
        .env("LANG", "C.UTF-8")
        .stdin(std::process::Stdio::null())
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("outside: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Modules of CPython's own tests, all of which pass without a sandbox.
const CPYTHON: &str = include_str!("programs/cpython-modules.txt");

/// Tests of theirs that need what a sandbox does not have; `docs/compatibility.md` says why.
const IGNORED: &str = include_str!("programs/cpython-ignored.txt");

/// Runs CPython's own tests; whatever fails in the sandbox and is not listed is a false denial.
async fn cpython(executor: &LocalExecutor) -> Result<(), Failed> {
    let lines = |text: &'static str| {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let modules: Vec<_> = lines(CPYTHON).join(" ").split(' ').map(str::to_owned).collect();
    let program = ["/usr/bin/python3", "-m", "test", "-j2", "--ignorefile", "ignored"];
    let job = Job::command(program)
        .args(modules.iter().map(|module| format!("test_{module}")))
        .file("ignored", lines(IGNORED).join("\n"))
        .timeout(Duration::from_secs(600))
        .limit(|limits| {
            limits.cpu = Some(Duration::from_secs(1200));
            limits.memory = Size::gib(2);
            limits.processes = 512;
            limits.open_files = 1024;
            limits.workspace = Some(Size::gib(1));
            limits.file_size = Some(Size::gib(1));
        })
        .artifact("*.none");
    let outcome = executor.run(job.build()?).await?;
    let text = outcome.stdout.text();
    let tail: Vec<_> = text.lines().rev().take(60).collect();
    let tail: Vec<_> = tail.into_iter().rev().collect();
    match outcome.is_success() && text.contains("esult: SUCCESS") && modules.len() > 300 {
        true => Ok(()),
        false => {
            let error = outcome.stderr.text();
            Err(format!("{:?}\n{}\n{error}", outcome.termination, tail.join("\n")).into())
        }
    }
}
