//! Reads a plan in place: strings are NUL-terminated in the file and go to the kernel as they are.

use core::ffi::CStr;

use crate::protocol::{PLAN_MAGIC, RootOp};
use crate::sys::{EINVAL, Fd, Result};

/// A position in the plan.
#[derive(Clone, Copy)]
pub struct Cursor {
    rest: &'static [u8],
}

impl Cursor {
    pub fn word(&mut self) -> Result<u64> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(EINVAL)?;
        self.rest = rest;
        Ok(u64::from_ne_bytes(*head))
    }

    /// A length, that many bytes, a NUL, and padding to the next word.
    pub fn bytes(&mut self) -> Result<&'static [u8]> {
        let length = self.word()? as usize;
        let padded = length.checked_add(8).ok_or(EINVAL)? & !7;
        let (head, rest) = self.rest.split_at_checked(padded).ok_or(EINVAL)?;
        self.rest = rest;
        head.get(..length).ok_or(EINVAL)
    }

    pub fn string(&mut self) -> Result<&'static CStr> {
        let length = self.rest.get(..8).ok_or(EINVAL)?.len();
        let start = self.rest;
        let text = self.bytes()?;
        let with_nul = start.get(length..length + text.len() + 1).ok_or(EINVAL)?;
        CStr::from_bytes_with_nul(with_nul).map_err(|_| EINVAL)
    }

    /// Reads a list: its length, then each item with `read`; returns where the items begin.
    fn list<T>(&mut self, read: fn(&mut Self) -> Result<T>) -> Result<List<T>> {
        let count = self.word()?;
        let list = List { cursor: *self, left: count, read };
        for _ in 0..count {
            read(self)?;
        }
        Ok(list)
    }
}

/// The items of a list; decoding was checked once, when the plan was read.
pub struct List<T> {
    cursor: Cursor,
    left: u64,
    read: fn(&mut Cursor) -> Result<T>,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self { cursor: self.cursor, left: self.left, read: self.read }
    }
}

impl<T> List<T> {
    pub fn len(&self) -> usize {
        self.left as usize
    }
}

impl<T> Iterator for List<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        (self.read)(&mut self.cursor).ok()
    }
}

pub struct RootStep {
    pub op: RootOp,
    pub path: &'static CStr,
    pub data: &'static CStr,
}

fn root_step(c: &mut Cursor) -> Result<RootStep> {
    let op = RootOp::from_number(c.word()?).ok_or(EINVAL)?;
    Ok(RootStep { op, path: c.string()?, data: c.string()? })
}

/// A cgroup to create.
pub struct Cgroup {
    /// 1 or 2, the version of the hierarchy.
    pub version: u64,
    /// The descriptor of the directory that it is made in.
    pub parent: Fd,
    /// The hierarchy limits memory (and not only processes).
    pub memory: bool,
    /// The hierarchy counts CPU time.
    pub cpu: bool,
    pub name: &'static CStr,
    pub settings: List<Setting>,
}

pub struct Setting {
    pub file: &'static CStr,
    pub value: &'static [u8],
    /// The file may be absent, as the swap limit is on a kernel without swap accounting.
    pub optional: bool,
}

fn setting(c: &mut Cursor) -> Result<Setting> {
    Ok(Setting { file: c.string()?, value: c.bytes()?, optional: c.word()? != 0 })
}

fn cgroup(c: &mut Cursor) -> Result<Cgroup> {
    Ok(Cgroup {
        version: c.word()?,
        parent: c.word()? as Fd,
        memory: c.word()? != 0,
        cpu: c.word()? != 0,
        name: c.string()?,
        settings: c.list(setting)?,
    })
}

fn rlimit(c: &mut Cursor) -> Result<(u64, u64)> {
    Ok((c.word()?, c.word()?))
}

fn landlock_rule(c: &mut Cursor) -> Result<(u64, &'static CStr)> {
    Ok((c.word()?, c.string()?))
}

/// Everything the helper needs to know.
pub struct Plan {
    pub flags: u64,
    /// The job's ids as the namespace around the job's own sees them.
    pub job_uid: u64,
    pub job_gid: u64,
    /// The helper's ids on the host: what an unprivileged one maps, and, with
    /// [`flag::TAKE_IDS`](crate::protocol::flag::TAKE_IDS), takes before.
    pub helper_uid: u64,
    pub helper_gid: u64,
    pub wall_ns: u64,
    pub cpu_us: u64,
    pub memory_limit: u64,
    /// Processors that the tree can use at once.
    pub cpus: u64,
    /// Bytes of a page, in which the kernel counts resident memory.
    pub page_size: u64,
    /// How often usage is summed where no cgroup does it.
    pub watch_ns: u64,
    pub hostname: &'static [u8],
    /// A folder whose file system only the job fills, and how many bytes it may; empty for none.
    pub scratch: &'static CStr,
    pub scratch_limit: u64,
    pub cwd: &'static CStr,
    pub root: List<RootStep>,
    pub cgroups: List<Cgroup>,
    pub rlimits: List<(u64, u64)>,
    /// Access rights handled by the ruleset, in Landlock's attribute order: files, network, scopes.
    pub landlock: [u64; 3],
    pub landlock_rules: List<(u64, &'static CStr)>,
    pub seccomp: &'static [u8],
    pub candidates: List<&'static CStr>,
    pub argv: List<&'static CStr>,
    pub env: List<&'static CStr>,
}

impl Plan {
    pub fn read(data: &'static [u8]) -> Result<Self> {
        let mut c = Cursor { rest: data };
        if c.word()? != PLAN_MAGIC {
            return Err(EINVAL);
        }
        Ok(Self {
            flags: c.word()?,
            job_uid: c.word()?,
            job_gid: c.word()?,
            helper_uid: c.word()?,
            helper_gid: c.word()?,
            wall_ns: c.word()?,
            cpu_us: c.word()?,
            memory_limit: c.word()?,
            cpus: c.word()?.max(1),
            page_size: c.word()?,
            watch_ns: c.word()?,
            hostname: c.bytes()?,
            scratch: c.string()?,
            scratch_limit: c.word()?,
            cwd: c.string()?,
            root: c.list(root_step)?,
            cgroups: c.list(cgroup)?,
            rlimits: c.list(rlimit)?,
            landlock: [c.word()?, c.word()?, c.word()?],
            landlock_rules: c.list(landlock_rule)?,
            seccomp: c.bytes()?,
            candidates: c.list(Cursor::string)?,
            argv: c.list(Cursor::string)?,
            env: c.list(Cursor::string)?,
        })
    }

    pub fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}
