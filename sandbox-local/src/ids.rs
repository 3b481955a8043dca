//! Ids of jobs: users, and names of their cgroups.
//!
//! Both are seen by jobs. They tell nothing about the application or how many jobs it has run, and
//! two applications do not meet: each draws a key of its own.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ids for jobs of a privileged application start here: far from those that people and services
/// have, and from those that container engines hand out.
pub(crate) const FIRST: u32 = 2_000_000_000;
/// How many there are: two halves of 13 bits.
pub(crate) const COUNT: u32 = 1 << (2 * HALF);
const HALF: u32 = 13;

/// Draws ids, each once before any comes again.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobIds {
    key: RandomState,
}

impl JobIds {
    /// A number for the next job, unique in this process.
    pub(crate) fn next_number() -> u64 {
        static JOBS: AtomicU64 = AtomicU64::new(0);
        JOBS.fetch_add(1, Ordering::Relaxed)
    }

    /// The user of job number `number`.
    pub(crate) fn user(&self, number: u64) -> u32 {
        // A Feistel network: different numbers have different users, and none tells its number.
        const MASK: u64 = (1 << HALF) - 1;
        let (mut left, mut right) = ((number >> HALF) & MASK, number & MASK);
        for round in 0..4u8 {
            let mixed = self.key.hash_one((round, right)) & MASK;
            (left, right) = (right, left ^ mixed);
        }
        FIRST + u32::try_from(left << HALF | right).unwrap_or(0)
    }

    /// The rest of the name of the cgroup of job number `number`.
    pub(crate) fn group(&self, number: u64) -> String {
        let part = |which: u8| self.key.hash_one((which, number, "cgroup"));
        format!("{:016x}{:016x}", part(0), part(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn users_do_not_repeat_and_do_not_count() {
        let ids = JobIds::default();
        let users: Vec<_> = (0..20_000).map(|number| ids.user(number)).collect();
        assert_eq!(users.iter().collect::<BTreeSet<_>>().len(), users.len());
        assert!(users.iter().all(|user| (FIRST..FIRST + COUNT).contains(user)));
        let steps: BTreeSet<_> = users.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
        assert!(steps.len() > 15_000, "{} different steps", steps.len());
    }

    #[test]
    fn two_applications_have_different_ids() {
        let (a, b) = (JobIds::default(), JobIds::default());
        assert_ne!(a.group(0), b.group(0));
        assert_ne!(
            (0..4).map(|number| a.user(number)).collect::<Vec<_>>(),
            (0..4).map(|number| b.user(number)).collect::<Vec<_>>()
        );
    }
}
