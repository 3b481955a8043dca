//! The processes of a user, as `/proc` shows them.

use std::{fs, io};

use crate::host::field;

/// A process of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) threads: u64,
    /// Dead, and not yet waited for by its parent. A process whose first thread has ended, and
    /// others not, has that state too, and lives.
    pub(crate) zombie: bool,
}

/// Every process whose real user is `uid`.
///
/// The owner of a folder in `/proc` is root for a process that is not dumpable, so what counts is
/// what the kernel writes into it.
///
/// # Errors
///
/// Somebody is there of whom nothing can be known.
pub(crate) fn tasks(uid: u32) -> io::Result<Vec<Task>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match fs::read(format!("/proc/{pid}/status")) {
            Ok(status) => found.extend(task(pid, uid, &String::from_utf8_lossy(&status))),
            // It has ended meanwhile.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn task(pid: u32, uid: u32, status: &str) -> Option<Task> {
    let real = field(status, "Uid:")?.split_whitespace().next()?.parse::<u32>().ok()?;
    let threads = field(status, "Threads:").and_then(|text| text.parse().ok()).unwrap_or(1);
    (real == uid).then(|| Task {
        pid,
        name: field(status, "Name:").unwrap_or_default().to_owned(),
        threads,
        zombie: threads <= 1 && field(status, "State:").is_some_and(|s| s.starts_with('Z')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_its_users() {
        let uid = nix::unistd::getuid().as_raw();
        let own =
            tasks(uid).expect("tasks").into_iter().find(|task| task.pid == std::process::id());
        assert!(own.is_some_and(|task| task.threads >= 2 && !task.zombie));
        assert_eq!(tasks(uid ^ 0x7000_0000).expect("tasks"), []);
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_alive() {
        let status = |threads: u32| {
            format!("Name:\tx\nState:\tZ (zombie)\nUid:\t7\t7\t7\t7\nThreads:\t{threads}\n")
        };
        assert!(task(9, 7, &status(1)).is_some_and(|task| task.zombie));
        assert!(task(9, 7, &status(2)).is_some_and(|task| !task.zombie));
    }
}
