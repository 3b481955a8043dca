//! System calls without a C library. With its parts and `entry.rs` the only unsafe code of the
//! helper.
//!
//! Every wrapper takes references or file descriptors, so that what reaches the kernel is valid
//! for the length of the call; the helper is a single thread and shares memory with nobody.

use core::arch::asm;
use core::ffi::CStr;

use crate::nr;

/// An error number of the kernel, positive.
pub type Errno = i32;
/// What a system call returns.
pub type Result<T> = core::result::Result<T, Errno>;
/// A file descriptor. Closing is explicit: the helper's few descriptors live as long as it does.
pub type Fd = i32;

pub const EINTR: Errno = 4;
pub const EAGAIN: Errno = 11;
pub const EPERM: Errno = 1;
pub const ENOENT: Errno = 2;
pub const ENOTDIR: Errno = 20;
pub const EACCES: Errno = 13;
pub const EBUSY: Errno = 16;
pub const ENODEV: Errno = 19;
pub const EINVAL: Errno = 22;
pub const ETOOMANYREFS: Errno = 109;
pub const ENOSYS: Errno = 38;

pub const AT_FDCWD: Fd = -100;
pub const AT_EMPTY_PATH: usize = 0x1000;
pub const AT_RECURSIVE: usize = 0x8000;
pub const AT_REMOVEDIR: usize = 0x200;

pub const O_RDONLY: usize = 0;
pub const O_WRONLY: usize = 1;
pub const O_CREAT: usize = 0o100;
pub const O_EXCL: usize = 0o200;
pub const O_CLOEXEC: usize = 0o2_000_000;
pub const O_PATH: usize = 0o10_000_000;
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: usize = 0o200_000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: usize = 0o40_000;

/// Enters the kernel.
///
/// # Safety
///
/// The arguments must be what the call `number` expects: every pointer among them valid for the
/// access and the length that the call makes.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = args;
    let ret: isize;
    // SAFETY: the x86_64 system call convention; rcx and r11 are clobbered, the stack is not used.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => ret, in("rdi") a, in("rsi") b,
            in("rdx") c, in("r10") d, in("r8") e, in("r9") f, out("rcx") _, out("r11") _,
            options(nostack));
    }
    check(ret)
}

/// Enters the kernel.
///
/// # Safety
///
/// As on x86_64.
#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = args;
    let ret: isize;
    // SAFETY: the aarch64 system call convention; the stack is not used.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => ret, in("x1") b,
            in("x2") c, in("x3") d, in("x4") e, in("x5") f, options(nostack));
    }
    check(ret)
}

fn check(ret: isize) -> Result<usize> {
    if ret < 0 { Err(-ret as Errno) } else { Ok(ret as usize) }
}

/// A call whose arguments are all plain numbers or live references turned into addresses.
macro_rules! call {
    ($number:expr $(, $arg:expr)*) => {{
        let mut args = [0usize; 6];
        let given = [$($arg as usize),*];
        args[..given.len()].copy_from_slice(&given);
        // SAFETY: each address comes from a reference that outlives the call, with the length of
        // what it refers to, and a mutable one where the kernel writes; so do the addresses inside
        // of what is passed (buffers of a message, a filter's program, strings of an exec). The
        // rest are numbers that the kernel checks. No call unmaps or remaps memory that this
        // program refers to: mmap chooses free addresses, and clone copies the address space.
        unsafe { syscall($number, args) }
    }};
}

mod confine;
mod message;
mod mounts;
mod schedule;

pub use confine::*;
pub use message::*;
pub use mounts::*;
pub use schedule::*;

fn path(p: &CStr) -> usize {
    p.as_ptr() as usize
}

pub fn exit(code: i32) -> ! {
    loop {
        let _ = call!(nr::EXIT_GROUP, code);
    }
}

pub fn read(fd: Fd, buf: &mut [u8]) -> Result<usize> {
    call!(nr::READ, fd, buf.as_mut_ptr(), buf.len())
}

pub fn pread(fd: Fd, buf: &mut [u8]) -> Result<usize> {
    call!(nr::PREAD64, fd, buf.as_mut_ptr(), buf.len(), 0)
}

pub fn write(fd: Fd, buf: &[u8]) -> Result<usize> {
    call!(nr::WRITE, fd, buf.as_ptr(), buf.len())
}

/// The length of an open file.
pub fn length(fd: Fd) -> Result<usize> {
    const SEEK_END: usize = 2;
    call!(nr::LSEEK, fd, 0, SEEK_END)
}

pub fn fchown(fd: Fd, uid: u64, gid: u64) -> Result<usize> {
    call!(nr::FCHOWN, fd, uid, gid)
}

pub fn close(fd: Fd) {
    let _ = call!(nr::CLOSE, fd);
}

pub fn openat(dir: Fd, p: &CStr, flags: usize, mode: usize) -> Result<Fd> {
    call!(nr::OPENAT, dir, path(p), flags, mode).map(|fd| fd as Fd)
}

pub fn mkdirat(dir: Fd, p: &CStr, mode: usize) -> Result<usize> {
    call!(nr::MKDIRAT, dir, path(p), mode)
}

/// Makes a character device.
pub fn mknodat(dir: Fd, p: &CStr, mode: usize, major: usize, minor: usize) -> Result<usize> {
    const S_IFCHR: usize = 0o20_000;
    call!(nr::MKNODAT, dir, path(p), S_IFCHR | mode, major << 8 | minor)
}

pub fn symlinkat(target: &CStr, dir: Fd, p: &CStr) -> Result<usize> {
    call!(nr::SYMLINKAT, path(target), dir, path(p))
}

pub fn unlinkat(dir: Fd, p: &CStr) -> Result<usize> {
    call!(nr::UNLINKAT, dir, path(p), 0)
}

pub fn rmdirat(dir: Fd, p: &CStr) -> Result<usize> {
    call!(nr::UNLINKAT, dir, path(p), AT_REMOVEDIR)
}

pub fn pipe() -> Result<(Fd, Fd)> {
    let mut fds = [0i32; 2];
    call!(nr::PIPE2, &mut fds as *mut _, O_CLOEXEC)?;
    Ok((fds[0], fds[1]))
}

/// A non-blocking eventfd.
pub fn eventfd() -> Result<Fd> {
    call!(nr::EVENTFD2, 0, O_CLOEXEC | 0o4000).map(|fd| fd as Fd)
}

pub fn dup3(from: Fd, to: Fd) -> Result<usize> {
    call!(nr::DUP3, from, to, 0)
}

/// Closes every descriptor from `first` on, now or at the next exec.
pub fn close_range(first: Fd, cloexec: bool) -> Result<usize> {
    const FD_CLOEXEC: usize = 1;
    const F_SETFD: usize = 2;
    match call!(nr::CLOSE_RANGE, first, u32::MAX, if cloexec { 4 } else { 0 }) {
        // Linux before 5.9 has no such call, before 5.11 not the flag.
        Err(ENOSYS | EINVAL) => {
            // struct rlimit of RLIMIT_NOFILE: no descriptor is above the hard limit.
            let mut limit = [0u64; 2];
            call!(nr::PRLIMIT64, 0, 7, 0, limit.as_mut_ptr())?;
            for fd in first..limit[1].min(1 << 20) as Fd {
                if cloexec {
                    let _ = call!(nr::FCNTL, fd, F_SETFD, FD_CLOEXEC);
                } else {
                    close(fd);
                }
            }
            Ok(0)
        }
        other => other,
    }
}

pub fn chdir(p: &CStr) -> Result<usize> {
    call!(nr::CHDIR, path(p))
}

pub fn fchdir(fd: Fd) -> Result<usize> {
    call!(nr::FCHDIR, fd)
}

pub fn umask(mask: usize) {
    let _ = call!(nr::UMASK, mask);
}

pub fn setsid() -> Result<usize> {
    call!(nr::SETSID, 0)
}

/// Restores the default disposition of every signal and unblocks all of them.
pub fn reset_signals() {
    // struct sigaction of the kernel: handler, flags, restorer, mask.
    let default = [0u64; 4];
    for signal in 1..=64 {
        let _ = call!(nr::RT_SIGACTION, signal, default.as_ptr(), 0, 8);
    }
    sigprocmask(0);
}

/// Sets the mask of blocked signals.
pub fn sigprocmask(mask: u64) {
    let _ = call!(nr::RT_SIGPROCMASK, 2, &mask as *const u64, 0, 8);
}

/// Waits until one of the (blocked) signals in `mask` is pending and takes it, for at most
/// `timeout_ns` nanoseconds; true if one was.
pub fn sigwait(mask: u64, timeout_ns: Option<u64>) -> bool {
    let timeout = timeout_ns.map(|ns| [ns / 1_000_000_000, ns % 1_000_000_000]);
    let pointer = timeout.as_ref().map_or(0, |t| t.as_ptr() as usize);
    call!(nr::RT_SIGTIMEDWAIT, &mask as *const u64, 0, pointer, 8).is_ok()
}

pub fn kill(pid: i32) -> Result<usize> {
    call!(nr::KILL, pid, 9)
}

pub fn getppid() -> i32 {
    call!(nr::GETPPID).unwrap_or(0) as i32
}

pub fn getpid() -> i32 {
    call!(nr::GETPID, 0).unwrap_or(0) as i32
}

pub fn pidfd_kill(pidfd: Fd) -> Result<usize> {
    call!(nr::PIDFD_SEND_SIGNAL, pidfd, 9, 0, 0)
}

/// What [`fork`] returns in each of the two processes.
pub enum Fork {
    Child,
    Parent { pid: i32, pidfd: Fd },
}

/// Forks with a pidfd, optionally into the cgroup v2 directory `cgroup`.
pub fn fork(cgroup: Option<Fd>) -> Result<Fork> {
    const CLONE_PIDFD: u64 = 0x1000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: Fd = -1;
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
    // set_tid, set_tid_size, cgroup.
    let mut args = [0u64; 11];
    args[0] = CLONE_PIDFD;
    args[1] = &raw mut pidfd as u64;
    args[4] = 17; // SIGCHLD
    if let Some(fd) = cgroup {
        args[0] |= CLONE_INTO_CGROUP;
        args[10] = fd as u64;
    }
    let forked = match call!(nr::CLONE3, args.as_ptr(), size_of_val(&args)) {
        // A filter cannot read these arguments, so some outer sandboxes hide the call.
        Err(ENOSYS) if cgroup.is_none() => {
            call!(nr::CLONE, CLONE_PIDFD | 17, 0, &raw mut pidfd, 0, 0)
        }
        other => other,
    };
    match forked? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent { pid: pid as i32, pidfd }),
    }
}

/// How a waited-for process ended, and the CPU time of it and its waited-for children.
#[derive(Clone, Copy, Default)]
pub struct Waited {
    pub pid: i32,
    pub code: i32,
    pub status: i32,
    pub cpu_us: u64,
    /// Largest resident set of one process, in bytes.
    pub max_rss: u64,
}

/// `waitid(P_PID, pid, WEXITED | __WALL)`, blocking; `pid` 0 stands for any child.
pub fn wait(pid: i32) -> Result<Waited> {
    wait_with(pid, 0)
}

/// Reaps a child that has ended, if there is one; its pid is 0 when all of them live.
pub fn wait_now() -> Result<Waited> {
    const WNOHANG: usize = 1;
    wait_with(0, WNOHANG)
}

fn wait_with(pid: i32, options: usize) -> Result<Waited> {
    let mut info = [0i32; 32];
    let mut usage = [0u64; 18];
    let which = if pid == 0 { 0 } else { 1 };
    loop {
        let flags = 4usize | 0x4000_0000 | options;
        match call!(nr::WAITID, which, pid, info.as_mut_ptr(), flags, usage.as_mut_ptr()) {
            Err(EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // siginfo: signo, errno, code, (pad), pid, uid, status. rusage: utime and stime as s, us; then maxrss in KiB.
    Ok(Waited {
        pid: info[4],
        code: info[2],
        status: info[6],
        cpu_us: (usage[0] + usage[2]) * 1_000_000 + usage[1] + usage[3],
        max_rss: usage[4] * 1024,
    })
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: Fd,
    pub events: i16,
    pub revents: i16,
}

pub const POLLIN: i16 = 1;
pub const POLLPRI: i16 = 2;

/// Waits for an event, at most `timeout_ns` nanoseconds.
pub fn poll(fds: &mut [PollFd], timeout_ns: Option<u64>) -> Result<usize> {
    // The kernel writes the rest of the time into it.
    let mut timeout = timeout_ns.map(|ns| [ns / 1_000_000_000, ns % 1_000_000_000]);
    let pointer = timeout.as_mut().map_or(0, |t| t.as_mut_ptr() as usize);
    call!(nr::PPOLL, fds.as_mut_ptr(), fds.len(), pointer, 0, 8)
}

/// A one-shot timer on `CLOCK_BOOTTIME`, which counts while the machine sleeps.
pub fn boottime_timer() -> Result<Fd> {
    call!(nr::TIMERFD_CREATE, 7, O_CLOEXEC).map(|fd| fd as Fd)
}

pub fn arm_timer(fd: Fd, ns: u64) -> Result<usize> {
    let spec = [0, 0, ns / 1_000_000_000, ns % 1_000_000_000];
    call!(nr::TIMERFD_SETTIME, fd, 0, spec.as_ptr(), 0)
}

/// Time since boot, sleep included.
pub fn boottime_ns() -> u64 {
    let mut now = [0u64; 2];
    let _ = call!(nr::CLOCK_GETTIME, 7, now.as_mut_ptr());
    now[0] * 1_000_000_000 + now[1]
}

/// How full a file system is.
#[derive(Default)]
pub struct Fullness {
    pub used: u64,
    /// No block is free.
    pub no_space: bool,
    /// No inode is free.
    pub no_inodes: bool,
}

pub fn fullness(fd: Fd) -> Fullness {
    // struct statfs: type, bsize, blocks, bfree, bavail, files, ffree, ...
    let mut fs = [0u64; 16];
    match call!(nr::FSTATFS, fd, fs.as_mut_ptr()) {
        Ok(_) => Fullness {
            used: fs[2].saturating_sub(fs[3]) * fs[1],
            no_space: fs[3] == 0,
            no_inodes: fs[6] == 0,
        },
        Err(_) => Fullness::default(),
    }
}

/// The size of a file or folder.
pub fn file_size(p: &CStr) -> Result<u64> {
    // struct statx: the size is word 5, behind mask and block size, attributes, links and owner,
    // mode and (aligned) inode.
    const STATX_SIZE: usize = 0x200;
    let mut stat = [0u64; 32];
    call!(nr::STATX, AT_FDCWD, path(p), 0, STATX_SIZE, stat.as_mut_ptr())?;
    Ok(stat[5])
}

pub fn getdents(fd: Fd, buf: &mut [u8]) -> Result<usize> {
    call!(nr::GETDENTS64, fd, buf.as_mut_ptr(), buf.len())
}

/// Brings the loopback interface of the current network namespace up.
pub fn loopback_up() -> Result<usize> {
    let socket = call!(nr::SOCKET, 2, 2 | O_CLOEXEC, 0)? as Fd;
    // struct ifreq: 16 bytes of name, then flags. SIOCSIFFLAGS, IFF_UP | IFF_RUNNING.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    request[16..18].copy_from_slice(&0x41u16.to_ne_bytes());
    let result = call!(nr::IOCTL, socket, 0x8914, request.as_mut_ptr());
    close(socket);
    result
}

/// Maps a file of `length` bytes, which the caller has sealed, for the rest of the process's life.
pub fn map_file(fd: Fd, length: usize) -> Result<&'static [u8]> {
    let address = call!(nr::MMAP, 0, length, 1, 2, fd, 0)?;
    // SAFETY: the kernel returned a private read-only mapping of `length` bytes that is never
    // unmapped; the file is sealed against shrinking, so no access can fault.
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, length) })
}

/// A list of C strings in the form that `execve` takes.
pub struct StringArray {
    pointers: &'static mut [usize],
}

impl StringArray {
    /// Reserves room for `count` strings and the terminator.
    pub fn with_capacity(count: usize) -> Result<Self> {
        let bytes = (count + 1) * size_of::<usize>();
        // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS.
        let address = call!(nr::MMAP, 0, bytes, 3, 0x22, -1i32, 0)?;
        // SAFETY: a fresh, zeroed, page-aligned mapping of that size that nobody else refers to.
        let pointers = unsafe { core::slice::from_raw_parts_mut(address as *mut usize, count + 1) };
        Ok(Self { pointers })
    }

    pub fn set(&mut self, index: usize, value: &'static CStr) {
        if index + 1 < self.pointers.len() {
            self.pointers[index] = path(value);
        }
    }
}

pub fn execve(file: &CStr, argv: &StringArray, envp: &StringArray) -> Errno {
    match call!(nr::EXECVE, path(file), argv.pointers.as_ptr(), envp.pointers.as_ptr()) {
        Err(errno) => errno,
        Ok(_) => 0,
    }
}

/// Executes the open file `fd` with one or two arguments and an empty environment.
pub fn exec_fd(fd: Fd, name: &CStr, argument: &CStr) -> Errno {
    let argv = [path(name), path(argument), 0];
    let envp = [0usize];
    let (argv, envp) = (argv.as_ptr(), envp.as_ptr());
    match call!(nr::EXECVEAT, fd, path(c""), argv, envp, AT_EMPTY_PATH) {
        Err(errno) => errno,
        Ok(_) => 0,
    }
}
