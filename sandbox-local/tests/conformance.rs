//! The conformance suite on the local backend: with cgroups, without, and, when the tests run as
//! root, once more as an ordinary user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use sandbox_core::{Executor as _, conformance};
use sandbox_local::LocalExecutor;

const NOBODY: u32 = 65_534;

fn main() {
    let args = Arguments::from_args();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("runtime"));
    let mut trials = Vec::new();
    for (name, builder) in [
        ("local", LocalExecutor::builder()),
        ("without_cgroups", LocalExecutor::builder().without_cgroups()),
    ] {
        let executor = Arc::new(runtime.block_on(builder.build()).expect("executor"));
        for case in conformance::cases() {
            let ignored = !case.applies_to(executor.capabilities());
            let (executor, runtime) = (Arc::clone(&executor), Arc::clone(&runtime));
            let check =
                move || runtime.block_on(case.check(executor.as_ref())).map_err(Failed::from);
            let trial = Trial::test(format!("{name}::{}", case.name), check);
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    let as_root = nix::unistd::geteuid().is_root();
    for case in conformance::cases() {
        let check = move || as_nobody(&format!("local::{}", case.name));
        let trial = Trial::test(format!("ordinary_user::{}", case.name), check);
        trials.push(trial.with_ignored_flag(!as_root));
    }
    libtest_mimic::run(&args, trials).exit();
}

/// Runs one of these tests in a process of an ordinary user.
fn as_nobody(test: &str) -> Result<(), Failed> {
    let output = Command::new(readable_copy())
        .args(["--exact", test])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match output.status.success() && text.contains("1 passed") {
        true => Ok(()),
        false => Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// This program, where anybody may execute it.
fn readable_copy() -> PathBuf {
    static COPY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = COPY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("tempdir");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let own = std::env::current_exe().expect("own path");
        fs::copy(own, folder.path().join("conformance")).expect("copy");
        folder
    });
    folder.path().join("conformance")
}
