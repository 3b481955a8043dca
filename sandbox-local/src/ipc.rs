//! System V objects, which outlive the processes that made them.
#![expect(unsafe_code, reason = "no crate removes System V objects")]

use std::fs;

/// Removes every System V object of the user.
///
/// # Errors
///
/// What is left.
pub(crate) fn remove(uid: u32) -> Result<(), String> {
    for (table, owner) in TABLES {
        for id in owned(table, *owner, uid) {
            // SAFETY: with IPC_RMID these calls take no address; an id that is not ours, or is gone
            // meanwhile, is an error that the look below does not depend on.
            unsafe {
                match *table {
                    "shm" => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
                    "sem" => libc::semctl(id, 0, libc::IPC_RMID),
                    _ => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
                };
            }
        }
        if !owned(table, *owner, uid).is_empty() {
            return Err(format!("System V objects ({table}) cannot be removed"));
        }
    }
    Ok(())
}

/// Tables in `/proc/sysvipc`, and which column of each is the owner; see proc(5).
const TABLES: &[(&str, usize)] = &[("shm", 7), ("sem", 4), ("msg", 7)];

/// Ids of the user's objects in a table. A kernel without it has no such objects.
fn owned(table: &str, owner: usize, uid: u32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap_or_default();
    let row = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let is_ours = columns.get(owner)?.parse() == Ok(uid);
        columns.get(1)?.parse().ok().filter(|_| is_ours)
    };
    text.lines().skip(1).filter_map(row).collect()
}
