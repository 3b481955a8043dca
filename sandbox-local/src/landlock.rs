//! The Landlock domain of a job: a second, path-based opinion on what it may touch.

use std::fs;
use std::path::Path;

use crate::layout::Layout;
use crate::plan::{Plan, RootStep};
use crate::protocol::RootOp;

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

/// The same on the host's own root: nothing but the paths that the job's root would have had may
/// be read, and only `folder` may be written.
pub(crate) fn restrict_on_host(plan: &mut Plan, root: &[RootStep], folder: &Path) {
    plan.landlock = [ALL, 0, SCOPES];
    let binds = root.iter().filter(|step| step.op == RootOp::BindReadOnly);
    let devices = root.iter().filter(|step| step.op == RootOp::Device);
    let links = Layout::system_links();
    let copies = root.iter().filter(|step| step.op == RootOp::Copy);
    let readable = binds.map(|step| step.data.clone()).chain(links).chain(["/proc".to_owned()]);
    let readable = readable.chain(copies.map(|step| format!("/{}", step.path)));
    plan.landlock_rules = readable.filter_map(|path| Some((read_rights(&path)?, path))).collect();
    let device = READ_FILE | WRITE_FILE | TRUNCATE;
    plan.landlock_rules.extend(devices.map(|step| (device, step.data.clone())));
    let own = ALL & !(MAKE_CHAR | MAKE_BLOCK);
    plan.landlock_rules.push((own, folder.to_string_lossy().into_owned()));
}

/// A rule for a file cannot have the rights of a folder.
fn read_rights(path: &str) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    Some(READ_FILE | EXECUTE | if metadata.is_dir() { READ_DIR } else { 0 })
}
