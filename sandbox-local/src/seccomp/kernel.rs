//! The filter against the kernel: a thread installs it and makes every call.
//!
//! What the filter allows must not happen, so a second filter, beneath it, hands each call to
//! another thread, which answers with [`HANDED_OVER`] instead of letting the kernel make it. A
//! verdict of the first filter other than "allow" has precedence over that.
#![allow(unsafe_code, reason = "makes system calls by number, and installs filters")]

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use super::tests::{OPEN, expected, interesting, policies};
use super::*;

/// What a call returns that the filter allows.
const HANDED_OVER: i64 = 4242;

/// Makes a call and returns what the kernel put into the register: a negative errno, or a result.
///
/// # Safety
///
/// The call must not be made by the kernel, or be harmless with these arguments.
unsafe fn raw(number: u32, args: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    let ret: i64;
    // SAFETY: the x86_64 system call convention; the caller vouches for what the call does.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") u64::from(number) => ret, in("rdi") a,
            in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f, out("rcx") _,
            out("r11") _, options(nostack));
    }
    ret
}

/// Installs a filter on this thread; returns the descriptor of its listener.
fn install_listener(filter: &[u8]) -> i32 {
    const SET_MODE_FILTER: u64 = 1;
    const NEW_LISTENER: u64 = 1 << 3;
    let program = libc::sock_fprog {
        len: (filter.len() / 8) as u16,
        filter: filter.as_ptr() as *mut libc::sock_filter,
    };
    // SAFETY: prctl takes numbers; seccomp(2) copies the program, which lives until it returns and
    // consists of the 8 bytes a piece that struct sock_filter has.
    let (privileges, result) = unsafe {
        let privileges = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let program = &raw const program as u64;
        (
            privileges,
            raw(libc::SYS_seccomp as u32, [SET_MODE_FILTER, NEW_LISTENER, program, 0, 0, 0]),
        )
    };
    assert!(privileges == 0 && result >= 0, "seccomp: {result}");
    result as i32
}

/// Allows `seccomp` and hands everything else over.
fn hand_over() -> Vec<u8> {
    let mut code = Vec::new();
    // Load the number; is it seccomp? then allow, else SECCOMP_RET_USER_NOTIF.
    for (op, jump_true, value) in [
        (0x20u16, 0u8, 0u32),
        (0x15, 1, libc::SYS_seccomp as u32),
        (0x06, 0, 0x7fc0_0000),
        (0x06, 0, 0x7fff_0000),
    ] {
        code.extend(op.to_ne_bytes());
        code.extend([jump_true, 0]);
        code.extend(value.to_ne_bytes());
    }
    code
}

/// struct seccomp_notif and struct seccomp_notif_resp.
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    data: [u64; 8],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Answers what is handed over until the other thread is gone.
fn answer(listener: &OwnedFd, done: &AtomicBool) {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    const CONTINUE: u32 = 1;
    loop {
        let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, for the length of the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 10_000) };
        assert!(ready == 1, "nothing was handed over for ten seconds");
        if poll.revents & libc::POLLIN == 0 {
            return;
        }
        let mut notification = Notification::default();
        // SAFETY: the kernel fills the structure, which has the size that RECEIVE encodes.
        let received = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut notification) };
        if received != 0 {
            continue;
        }
        let over = done.load(Ordering::SeqCst);
        let mut response = Response {
            id: notification.id,
            value: if over { 0 } else { HANDED_OVER },
            error: 0,
            // Once everything is walked, the thread may end as threads do.
            flags: if over { CONTINUE } else { 0 },
        };
        // SAFETY: the kernel reads the structure, which has the size that SEND encodes.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut response) };
    }
}

type Answers = Vec<(u32, [u64; 6], i64)>;

/// Makes these calls under the filter, none of which happens.
fn walk(filter: Vec<u8>, calls: Vec<(u32, [u64; 6])>) -> Answers {
    let listener = AtomicI32::new(-1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (listener, done) = (&listener, &done);
        let walker = scope.spawn(move || {
            let mut answers: Answers = Vec::with_capacity(calls.len());
            listener.store(install_listener(&hand_over()), Ordering::SeqCst);
            // The notifier's filter lets this one call through, so it is asked for by hand: the
            // C library's wrapper would make others.
            install_quietly(&filter);
            for (number, args) in calls {
                // SAFETY: no call is made: the filters answer each.
                answers.push((number, args, unsafe { raw(number, args) }));
            }
            done.store(true, Ordering::SeqCst);
            answers
        });
        let since = Instant::now();
        while listener.load(Ordering::SeqCst) < 0 {
            assert!(since.elapsed() < Duration::from_secs(10), "the filter was not installed");
            std::thread::yield_now();
        }
        // SAFETY: the other thread has just made this descriptor for us, and never closes it.
        let listener = unsafe { OwnedFd::from_raw_fd(listener.load(Ordering::SeqCst)) };
        answer(&listener, done);
        walker.join().expect("the walk")
    })
}

/// Installs a filter without a call but the one that the first filter allows.
fn install_quietly(filter: &[u8]) {
    let program = libc::sock_fprog {
        len: (filter.len() / 8) as u16,
        filter: filter.as_ptr() as *mut libc::sock_filter,
    };
    // SAFETY: as in `install_listener`; no_new_privs is set already.
    let result =
        unsafe { raw(libc::SYS_seccomp as u32, [1, 0, &raw const program as u64, 0, 0, 0]) };
    // Read by nobody before the walk ends: a panic here would make calls.
    if result != 0 {
        std::process::abort();
    }
}

fn said(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Allow => HANDED_OVER,
        Verdict::Errno(errno) => -i64::from(errno),
        Verdict::Kill => i64::MIN,
    }
}

fn assert_walk(policy: Policy, calls: Vec<(u32, [u64; 6])>) {
    let rules = rules(policy);
    let count = calls.len();
    let answers = walk(compile(policy), calls);
    assert_eq!(answers.len(), count);
    for (number, args, answer) in answers {
        let should = said(expected(&rules, number, args));
        assert_eq!(answer, should, "call {number:#x} with {args:x?} under {policy:?}");
    }
}

#[test]
fn the_kernel_says_what_the_table_says_for_every_number() {
    let numbers = (0..1024).chain(X32..X32 + 1024).filter(|number| !PROBES.contains(number));
    assert_walk(OPEN, numbers.map(|number| (number, [0; 6])).collect());
}

#[test]
fn the_kernel_compares_arguments_in_the_width_that_it_reads() {
    for policy in policies() {
        let conditional =
            rules(policy).into_iter().filter(|(_, rule)| matches!(rule, Rule::AllowIf(..)));
        let calls = conditional.flat_map(|(number, rule)| {
            // Some of each: the interpreter's test takes all.
            let cases = interesting(rule);
            let step = (cases.len() / 400).max(1);
            cases.into_iter().step_by(step).map(move |args| (number, args))
        });
        assert_walk(policy, calls.collect());
    }
}

/// `uretprobe` and `uprobe`: for trampolines that the kernel itself puts into traced processes. No
/// filter is asked about them (kernel/seccomp.c, Linux 6.14); from anywhere else they are an error
/// or fatal.
const PROBES: [u32; 2] = [335, 336];

#[test]
fn the_calls_that_no_filter_sees_are_refused_or_fatal() {
    for number in PROBES {
        let status = in_child(|| {
            // SAFETY: without arguments; from here it is an error, or ends the child.
            let answer = unsafe { raw(number, [0; 6]) };
            i32::from(answer >= 0)
        });
        let fatal = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGILL;
        assert!(fatal || status == 0, "call {number}: {status:#x}");
    }
}

/// `int 0x80` is another door into the same kernel.
#[test]
fn the_32_bit_entry_kills() {
    let status = in_child(|| {
        // SAFETY: getpid of i386 takes no argument; rbx, which the compiler reserves, is not used.
        unsafe { std::arch::asm!("int 0x80", inlateout("rax") 20u64 => _) };
        0
    });
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS, "{status:#x}");
}

/// Runs `body` under the filter in a process of its own; returns how that ended.
fn in_child(body: impl FnOnce() -> i32) -> i32 {
    let filter = compile(OPEN);
    // SAFETY: the child makes system calls only, and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        install_quietly(&filter);
        let code = body();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: one integer, for the length of the call.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}
