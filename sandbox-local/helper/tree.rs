//! The job's processes: found, killed, waited for.

use core::ffi::CStr;

use crate::priority;
use crate::sys::{self, AT_FDCWD, Fd, O_CLOEXEC, O_DIRECTORY, O_RDONLY, Waited};
use crate::text::{Text, parse, value_of};

/// Descendants beyond this many are not counted; they are killed all the same.
const MOST: usize = 2048;

/// Where the job's processes are found.
#[derive(Clone, Copy)]
pub enum Scope {
    /// In `/proc`, which shows nothing but the job's pid namespace.
    Namespace,
    /// Among this process's descendants: it is their subreaper, so none can leave.
    Descendants,
    /// Among all processes of the user, which is nobody's but the job's.
    User(OwnUser),
}

/// A user whose processes are the job's, except this one and the caller.
#[derive(Clone, Copy)]
pub struct OwnUser {
    pub uid: u64,
    pub caller: u64,
}

impl OwnUser {
    fn owns(self, pid: u64) -> bool {
        // PID 1 cannot be killed, and is not the job's.
        if pid <= 1 || pid == self.caller || pid == sys::getpid() as u64 {
            return false;
        }
        // The owner of the folder says nothing: that of a process which is not dumpable is root.
        let mut buffer = [0u8; 512];
        value_of(read_of(pid, b"/status", &mut buffer), b"Uid:") == Some(self.uid)
    }
}

impl Scope {
    /// Calls `visit` with each process of the job.
    pub fn for_each(self, mut visit: impl FnMut(u64)) {
        match self {
            Self::Namespace => return for_each_in_proc(visit),
            Self::User(user) => {
                return for_each_in_proc(|pid| {
                    if user.owns(pid) {
                        visit(pid);
                    }
                });
            }
            Self::Descendants => {}
        }
        let mut known = [0u64; MOST];
        known[0] = sys::getpid() as u64;
        let mut count = 1;
        // A child may come before its parent in the list, so look until nothing is new.
        loop {
            let before = count;
            for_each_in_proc(|pid| {
                if count < MOST
                    && !known[..count].contains(&pid)
                    && known[..count].contains(&parent_of(pid))
                {
                    known[count] = pid;
                    count += 1;
                }
            });
            if count == before {
                break;
            }
        }
        known[1..count].iter().for_each(|pid| visit(*pid));
    }
}

/// Kills and waits for every descendant. What a dying process leaves becomes a child of this
/// process, its subreaper, so the loop ends only when the tree is empty. Returns the end of `main`
/// and the rest of the CPU time.
pub fn end_descendants(main: i32, kill_main: bool) -> (Waited, Waited) {
    let (mut end, mut rest) = (Waited::default(), Waited::default());
    if !kill_main {
        end = sys::wait(main).unwrap_or_default();
    }
    priority::restore(Scope::Descendants);
    loop {
        let own = sys::getpid() as u64;
        for_each_in_proc(|pid| {
            if parent_of(pid) == own {
                let _ = sys::kill(pid as i32);
            }
        });
        match sys::wait(0) {
            Err(_) => return (end, rest),
            Ok(waited) if waited.pid == main => end = waited,
            Ok(waited) => rest.cpu_us += waited.cpu_us,
        }
    }
}

/// Kills every process of the user and waits for `main`. What forks faster than this looks is
/// the caller's to end, with a signal to all at once.
pub fn end_user(user: OwnUser, main: i32, kill_main: bool) -> Waited {
    let mut end = Waited::default();
    if kill_main {
        // Also when the job has taken from this process what it needs to look.
        let _ = sys::kill(main);
    } else {
        end = sys::wait(main).unwrap_or_default();
    }
    priority::restore(Scope::User(user));
    for_each_in_proc(|pid| {
        if user.owns(pid) {
            let _ = sys::kill(pid as i32);
        }
    });
    if kill_main {
        end = sys::wait(main).unwrap_or_default();
    }
    end
}

/// Whether processes can be looked at: whoever has this process's user can lower its limits.
pub fn can_look() -> bool {
    let proc = sys::openat(AT_FDCWD, c"/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    proc.map(sys::close).is_ok()
}

/// Whether a process is on its way out. What PID 1 takes with it is dead before itself is.
pub fn is_exiting(pid: u64) -> bool {
    const PF_EXITING: u64 = 0x4;
    let mut buffer = [0u8; 256];
    let stat = read_of(pid, b"/stat", &mut buffer);
    // The flags are field 9, the state is field 3.
    let flags = after_name(stat).and_then(|mut fields| fields.nth(6)).and_then(parse);
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

fn parent_of(pid: u64) -> u64 {
    let mut buffer = [0u8; 256];
    let stat = read_of(pid, b"/stat", &mut buffer);
    after_name(stat).and_then(|mut fields| fields.nth(1)).and_then(parse).unwrap_or(0)
}

/// The fields of a `stat` line behind the name, from the state on. The name in parentheses may
/// hold anything, also a parenthesis.
pub fn after_name(stat: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    Some(stat.get(end + 2..)?.split(|b| *b == b' '))
}

/// Calls `visit` with each thread of the job, but for PID 1 of its namespace.
pub fn for_each_thread(scope: Scope, mut visit: impl FnMut(u64)) {
    scope.for_each(|pid| {
        if pid > 1 {
            let path = Text::<48>::new().push(b"/proc/").number(pid).push(b"/task");
            for_each_number_in(path.c_str(), &mut visit);
        }
    });
}

fn for_each_in_proc(visit: impl FnMut(u64)) {
    for_each_number_in(c"/proc", visit);
}

/// Calls `visit` with each entry of a folder whose name is a number.
pub fn for_each_number_in(folder: &CStr, mut visit: impl FnMut(u64)) {
    let Ok(proc) = sys::openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) else {
        return;
    };
    let mut buffer = [0u8; 4096];
    while let Ok(length) = sys::getdents(proc, &mut buffer) {
        let mut entries = &buffer[..length];
        if entries.is_empty() {
            break;
        }
        // struct linux_dirent64: u64 inode, s64 offset, u16 length, u8 type, name.
        while let Some(header) = entries.get(..19) {
            let size = usize::from(u16::from_ne_bytes([header[16], header[17]]));
            let name = entries.get(19..size).unwrap_or(b"");
            if let Some(pid) = parse(name) {
                visit(pid);
            }
            entries = entries.get(size.max(19)..).unwrap_or(b"");
        }
    }
    sys::close(proc);
}

/// Reads a file of a process; empty when it is gone.
pub fn read_of<'a>(pid: u64, file: &[u8], buffer: &'a mut [u8]) -> &'a [u8] {
    let path = Text::<48>::new().push(b"/proc/").number(pid).push(file);
    let path: &CStr = path.c_str();
    let Ok(fd) = sys::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) else { return b"" };
    let length = read(fd, buffer);
    &buffer[..length]
}

fn read(fd: Fd, buffer: &mut [u8]) -> usize {
    let length = sys::read(fd, buffer).unwrap_or(0);
    sys::close(fd);
    length
}
