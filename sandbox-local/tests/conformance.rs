//! The conformance suite on the local backend: with cgroups, without, as an ordinary user, and on
//! hosts that lack something, by jobs that accept what is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use libtest_mimic::{Arguments, Failed, Trial};
use sandbox_core::{
    Capabilities, Execution, Executor, Job, LayerState, Result, Session, SessionSpec, conformance,
};
use sandbox_local::LocalExecutor;

#[path = "../../tests/support/weak_host.rs"]
mod weak_host;

const NOBODY: u32 = 65_534;

/// Set for this program where it runs on a weak host.
const ON_WEAK_HOST: &str = "on-weak-host";

fn main() {
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("runtime"));
    if std::env::args().nth(1).is_some_and(|first| first == ON_WEAK_HOST) {
        return runtime.block_on(on_weak_host());
    }
    let args = Arguments::from_args();
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
    let each = weak_host::TAKEN.iter().map(|one| vec![*one]);
    // Without namespaces, and as little as a job can run with.
    let worst = vec!["namespaces", "landlock", "seccomp", "cgroups", "/dev/shm"];
    for taken in each.chain([worst]) {
        let name = format!("weak_host::without_{}", taken.join("_").replace([' ', '/'], "_"));
        let trial = Trial::test(name, move || all_cases_without(&taken));
        trials.push(trial.with_ignored_flag(!as_root));
    }
    let conclusion = libtest_mimic::run(&args, trials);
    if let Some(folder) = COPY.get() {
        let _ = fs::remove_dir_all(folder.path());
    }
    conclusion.exit();
}

/// An executor whose jobs accept whatever is missing.
#[derive(Debug)]
struct Consenting(LocalExecutor);

#[async_trait]
impl Executor for Consenting {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        let missing = self.capabilities().enforcement.iter();
        let missing = missing.filter(|(_, state)| **state != LayerState::Enforced);
        let accepted = missing.map(|(layer, _)| layer).filter(|l| !job.required.contains(l));
        let job = accepted.fold(job.to_builder(), |job, layer| job.allow_degraded(layer));
        self.0.start(job.build()?).await
    }

    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
        self.0.open(spec).await
    }
}

/// What this program does there: every case, and a line for each.
async fn on_weak_host() {
    let executor = Consenting(LocalExecutor::new().await.expect("executor"));
    for case in conformance::cases() {
        if !case.applies_to(executor.capabilities()) {
            println!("ignored {}", case.name);
            continue;
        }
        match case.check(&executor).await {
            Ok(()) => println!("passed {}", case.name),
            Err(failure) => println!("FAILED {}: {failure}", case.name),
        }
    }
}

fn all_cases_without(taken: &[&'static str]) -> Result<(), Failed> {
    let mut command = weak_host::without(taken.iter().copied(), readable_copy().as_os_str());
    let output = command.arg(ON_WEAK_HOST).env_remove("TMPDIR").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = text.lines().filter(|line| line.starts_with("passed ")).count();
    let lines = text.lines().count();
    // Only what namespaces count may be left out.
    match passed >= 26 && lines == conformance::cases().len() && !text.contains("FAILED") {
        true => Ok(()),
        false => Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
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

static COPY: OnceLock<tempfile::TempDir> = OnceLock::new();

/// This program, where anybody may execute it.
fn readable_copy() -> PathBuf {
    let folder = COPY.get_or_init(|| {
        // Not in /tmp, which some hosts lack.
        let folder = tempfile::tempdir_in("/var/tmp").expect("tempdir");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let own = std::env::current_exe().expect("own path");
        fs::copy(own, folder.path().join("conformance")).expect("copy");
        folder
    });
    folder.path().join("conformance")
}
