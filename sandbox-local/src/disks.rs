//! The disks from which jobs read the host's files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Folders whose files every job may read.
const READ: [&str; 4] = ["/usr", "/etc", "/opt", "/"];

/// Numbers of the disks, as the kernel's io controllers take them. A file system without a disk of its
/// own (overlay, network) has none, and cannot be bounded.
pub(crate) fn numbers() -> Vec<String> {
    let devices = READ.iter().filter_map(|path| Some(fs::metadata(path).ok()?.dev()));
    let disks: BTreeSet<_> = devices.filter_map(disk_of).collect();
    disks.into_iter().collect()
}

/// The whole disk of a device: a partition has no queue of its own.
fn disk_of(device: u64) -> Option<String> {
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    let folder = fs::canonicalize(Path::new("/sys/dev/block").join(&number)).ok()?;
    if !folder.join("partition").exists() {
        return Some(number);
    }
    let whole = fs::read_to_string(folder.parent()?.join("dev")).ok()?;
    Some(whole.trim().to_owned())
}
