//! The processes of a user, as `/proc` shows them.

use std::fs;

use crate::host::field;

/// A process of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) threads: u64,
    /// Dead, and not yet waited for by its parent.
    pub(crate) zombie: bool,
}

/// Every process whose real user is `uid`.
///
/// The owner of a folder in `/proc` is root for a process that is not dumpable, so what counts is
/// what the kernel writes into it.
pub(crate) fn tasks(uid: u32) -> Vec<Task> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| task(pid, uid)).collect()
}

fn task(pid: u32, uid: u32) -> Option<Task> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let real = field(&status, "Uid:")?.split_whitespace().next()?.parse::<u32>().ok()?;
    (real == uid).then(|| Task {
        pid,
        name: field(&status, "Name:").unwrap_or_default().to_owned(),
        threads: field(&status, "Threads:").and_then(|text| text.parse().ok()).unwrap_or(1),
        zombie: field(&status, "State:").is_some_and(|state| state.starts_with('Z')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_its_users() {
        let uid = nix::unistd::getuid().as_raw();
        let own = tasks(uid).into_iter().find(|task| task.pid == std::process::id());
        assert!(own.is_some_and(|task| task.threads >= 2 && !task.zombie));
        assert_eq!(tasks(uid ^ 0x7000_0000), []);
    }
}
