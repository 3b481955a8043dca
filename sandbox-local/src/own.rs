//! What others of the same user can change about this process.

use std::{fs, io};

use crate::host::field;

/// Resource limits, niceness, scheduling policy and processors. Whatever this process starts
/// inherits them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Own {
    limits: String,
    threads: String,
}

impl Own {
    pub(crate) fn look() -> io::Result<Self> {
        let limits = fs::read_to_string("/proc/self/limits")?;
        let mut threads: Vec<String> = Vec::new();
        for entry in fs::read_dir("/proc/self/task")? {
            let folder = entry?.path();
            // A thread may have ended meanwhile.
            let (Ok(stat), Ok(status)) = (
                fs::read_to_string(folder.join("stat")),
                fs::read_to_string(folder.join("status")),
            ) else {
                continue;
            };
            // After the name in parentheses: priority, nice and policy are fields 18, 19 and 41.
            let fields: Vec<_> =
                stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let nth = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
            let processors = field(&status, "Cpus_allowed:").unwrap_or_default();
            threads.push(format!("nice {} policy {} on {processors}", nth(19), nth(41)));
        }
        threads.sort();
        threads.dedup();
        Ok(Self { limits, threads: threads.join("; ") })
    }

    /// Fails when something is not as it was.
    pub(crate) fn check(&self) -> Result<(), String> {
        let now = Self::look().map_err(|error| format!("/proc/self: {error}"))?;
        if now == *self {
            return Ok(());
        }
        Err("a job has changed limits or scheduling of the process that runs jobs".into())
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn a_changed_limit_is_noticed() {
        let own = Own::look().expect("look");
        own.check().expect("as it was");
        let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).expect("limit");
        let other = if soft == 0 { hard.min(1) } else { 0 };
        if other != soft {
            setrlimit(Resource::RLIMIT_CORE, other, hard).expect("changed");
            let changed = own.check();
            setrlimit(Resource::RLIMIT_CORE, soft, hard).expect("restored");
            assert!(changed.is_err());
        }
    }
}
