//! The Landlock domain of a job: a second, path-based opinion on what it may touch.

use crate::plan::Plan;

const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const TRUNCATE: u64 = 1 << 14;
/// Every file right up to ABI 5 (Linux 6.10); the helper cuts it to what the kernel knows.
const ALL: u64 = (1 << 16) - 1;
/// ABI 6 (Linux 6.12): no abstract unix sockets and no signals out of the domain.
const SCOPES: u64 = 0b11;

/// Everything may be read and executed; only the job's own folders may be written.
pub(crate) fn restrict(plan: &mut Plan) {
    let own = ALL & !(MAKE_CHAR | MAKE_BLOCK);
    plan.landlock = [ALL, 0, SCOPES];
    plan.landlock_rules = vec![
        (READ_FILE | READ_DIR | EXECUTE, "/".into()),
        (WRITE_FILE | TRUNCATE, "/dev".into()),
        (own, "/dev/shm".into()),
        (own, "/tmp".into()),
        (own, "/work".into()),
    ];
}
