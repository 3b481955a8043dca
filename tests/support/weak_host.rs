//! Hosts that lack something. Included by path where it is needed.

use std::ffi::OsStr;
use std::process::Command;

/// What a host can lack.
pub(crate) const TAKEN: [&str; 8] = [
    "user namespaces",
    "landlock",
    "seccomp",
    "prctl",
    "cgroups",
    "writable /tmp",
    "/dev/shm",
    "an entry in passwd",
];

/// A command on a host without these, and without a network, which needs root to make.
pub(crate) fn without<'a>(taken: impl IntoIterator<Item = &'a str>, program: &OsStr) -> Command {
    let taken: Vec<_> = taken.into_iter().collect();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--", "/usr/bin/python3", "-c"])
        .arg(include_str!("weak_host.py"))
        .arg(taken.join(","))
        .arg(program);
    command
}
