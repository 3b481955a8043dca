//! Makes a place that is as bad as Lambda may be, and starts a runtime in it.
//!
//! `vm`: a process namespace stands in for the microVM. It has a read-only root, this machine's or
//! an image's, a `/tmp` of its own, `/dev` without `/dev/shm`, and a first process that reaps.
//! Everything in it dies with it.
//! `init`: that first process; it starts AWS's emulator. `drop`: what the emulator starts as the
//! runtime: takes mechanisms away, becomes Lambda's user, points the runtime to the proxy in
//! front of the Runtime API, and executes it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    reason = "a stand-in that does not work fails its test"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, exit};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Gid, Uid, pivot_root, setgroups, setresgid, setresuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Where the programs are inside.
const PROGRAMS: &str = "/mnt";
const LAMBDA_GID: u32 = 990;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rest = &args[2..];
    match args[1].as_str() {
        "vm" => vm(rest),
        "init" => init(rest),
        "drop" => drop_rights(rest),
        other => panic!("unknown mode {other}"),
    }
}

fn option<'a>(args: &'a [String], name: &str) -> &'a str {
    given(args, name).unwrap_or_else(|| panic!("{name} is missing"))
}

fn given<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == name)?;
    Some(&args[at + 1])
}

/// Namespaces for everything that follows; ends with the process that started it.
fn vm(args: &[String]) {
    set_pdeathsig(Signal::SIGKILL).expect("pdeathsig");
    let flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    unshare(flags).expect("unshare; run as root");
    let own = std::env::current_exe().expect("own path");
    let mut child = Command::new(own).arg("init").args(args).spawn().expect("init");
    let status = child.wait().expect("wait");
    exit(status.code().unwrap_or(1));
}

/// The first process: builds the file system, starts the emulator, reaps until that ends.
fn init(args: &[String]) {
    set_pdeathsig(Signal::SIGKILL).expect("pdeathsig");
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("private");
    let root = Path::new(given(args, "--root").unwrap_or("/"));
    if root != Path::new("/") {
        mount(Some(root), root, none, MsFlags::MS_BIND, none).expect("root");
    }
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    let tmpfs = |target: &str, options: &str| {
        mount(Some("tmpfs"), &inside(target), Some("tmpfs"), MsFlags::MS_NOSUID, Some(options))
            .unwrap_or_else(|errno| panic!("tmpfs at {target}: {errno}"));
    };
    mount(Some("proc"), &inside("/proc"), Some("proc"), MsFlags::empty(), none).expect("proc");
    tmpfs(PROGRAMS, "mode=755,size=64k");
    let place = |source: &Path, name: &str| {
        let target = inside(PROGRAMS).join(name);
        File::create(&target).expect("mount point");
        mount(Some(source), &target, none, MsFlags::MS_BIND, none).expect("bind");
    };
    if root == Path::new("/") {
        place(Path::new(option(args, "--runtime")), "runtime");
    }
    place(&std::env::current_exe().expect("own path"), "launcher");
    place(Path::new(option(args, "--emulator")), "emulator");
    tmpfs("/tmp", &format!("mode=1777,size={}", option(args, "--tmp")));
    tmpfs("/dev", "mode=755,size=64k");
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        let mode = Mode::from_bits_truncate(0o666);
        nix::sys::stat::umask(Mode::empty());
        mknod(&inside("/dev").join(name), SFlag::S_IFCHR, mode, makedev(1, minor)).expect("device");
    }
    symlink("/proc/self/fd", inside("/dev/fd")).expect("link");
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(none, root, none, read_only, none).expect("read-only root");
    if root != Path::new("/") {
        std::env::set_current_dir(root).expect("root");
        // The old root is left beneath the new one, and then let go (pivot_root(2)).
        pivot_root(".", ".").expect("pivot_root");
        umount2(".", MntFlags::MNT_DETACH).expect("umount");
    }

    let programs = |name: &str| Path::new(PROGRAMS).join(name);
    let mut emulator = Command::new(programs("emulator"));
    emulator
        .current_dir("/")
        .args(["--log-level", "error"])
        .args(["--runtime-interface-emulator-address", option(args, "--invoke")])
        .args(["--runtime-api-address", option(args, "--behind")])
        .arg(programs("launcher"))
        .args(["drop", "--uid", option(args, "--uid")])
        .args(["--runtime", option(args, "--runtime")])
        .args(["--runtime-api", option(args, "--runtime-api")]);
    if given(args, "--root").is_some() {
        emulator.arg("--installed");
    }
    if args.iter().any(|arg| arg == "--worst-case") {
        emulator.arg("--worst-case");
    }
    let emulator = emulator.spawn().expect("emulator").id();
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == emulator as i32 => exit(code),
            Ok(WaitStatus::Signaled(pid, ..)) if pid.as_raw() == emulator as i32 => exit(1),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => exit(1),
        }
    }
}

/// Becomes the runtime.
fn drop_rights(args: &[String]) {
    let uid = option(args, "--uid").parse().expect("uid");
    // An image has it in its own place.
    let installed = args.iter().any(|arg| arg == "--installed");
    let runtime = match installed {
        true => Path::new(option(args, "--runtime")).to_owned(),
        false => Path::new(PROGRAMS).join("runtime"),
    };
    if args.iter().any(|arg| arg == "--worst-case") {
        // Installed with root's rights, so no_new_privs stays off, as it may be in Lambda.
        install(&compile(missing(), libc::ENOSYS));
        install(&compile(refused(), libc::EPERM));
    }
    setgroups(&[]).expect("groups");
    let gid = Gid::from_raw(LAMBDA_GID);
    setresgid(gid, gid, gid).expect("gid");
    let uid = Uid::from_raw(uid);
    setresuid(uid, uid, uid).expect("uid");
    let _ = fs::metadata(OsStr::new("/tmp"));
    let error = Command::new(&runtime)
        .current_dir("/")
        .env("AWS_LAMBDA_RUNTIME_API", option(args, "--runtime-api"))
        .exec();
    panic!("{}: {error}", runtime.display());
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn always(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// Calls that an older kernel does not have.
fn missing() -> Rules {
    let mut rules = always(&[
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
        libc::SYS_clone3,
    ]);
    // CLOSE_RANGE_CLOEXEC came with Linux 5.11.
    rules.insert(libc::SYS_close_range, vec![with_bit(2, 4)]);
    rules
}

/// Calls that are refused.
fn refused() -> Rules {
    let mut rules = always(&[
        libc::SYS_prctl,
        libc::SYS_seccomp,
        libc::SYS_ptrace,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_chroot,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
    ]);
    let namespaces = [
        0x80,
        0x0002_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ];
    rules.insert(libc::SYS_clone, namespaces.map(|bit| with_bit(0, bit)).to_vec());
    rules
}

fn with_bit(argument: u8, bit: u64) -> SeccompRule {
    let operator = SeccompCmpOp::MaskedEq(bit);
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, bit);
    SeccompRule::new(vec![condition.expect("condition")]).expect("rule")
}

/// A filter that fails these calls, and kills what comes from a foreign architecture.
fn compile(rules: Rules, errno: i32) -> BpfProgram {
    let arch = std::env::consts::ARCH.try_into().expect("architecture");
    let fail = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, fail, arch).expect("filter");
    filter.try_into().expect("program")
}

#[allow(unsafe_code, reason = "seccomp(2) without no_new_privs, which no crate offers")]
fn install(program: &BpfProgram) {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr() as *mut libc::sock_filter,
    };
    // SAFETY: seccomp(2) with SECCOMP_SET_MODE_FILTER copies the program, which lives until the
    // call returns and has the layout of the kernel's struct sock_filter.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const program) };
    assert_eq!(result, 0, "seccomp: {}", std::io::Error::last_os_error());
}
