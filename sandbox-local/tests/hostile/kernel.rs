//! Calls, devices and files of the kernel that lead out.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use sandbox_core::{Job, Termination};

use crate::support::{outside, python, run};

/// Makes calls with arguments that the kernel itself refuses otherwise, and prints the errno.
const CALLS: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(number, *[ctypes.c_long(arg) for arg in args])
    if number == 56 and result == 0: os._exit(0)
    print(name, ctypes.get_errno() if result < 0 else 0, flush=True)
def child(name, number, *args):
    "In a process of its own, because it may succeed."
    forked = os.fork()
    if forked == 0:
        call(name, number, *args)
        os._exit(0)
    # And not for what it made in its parent's name.
    os.waitpid(forked, 0)
child("B1 unshare", 272, 0x10000000)
child("B1 clone", 56, 0x10000011, 0, 0, 0, 0)
child("B1 clone3", 435, 0, 0)
call("B2 mount", 165, 0, 0, 0, 0, 0)
call("B2 umount2", 166, 0, 0)
call("B2 fsopen", 430, 0, 0)
call("B2 fsconfig", 431, -1, 99, 0, 0, 0)
call("B2 fsmount", 432, -1, 0, 0)
call("B2 fspick", 433, -1, 0, 0)
call("B2 open_tree", 428, -1, 0, 0)
call("B2 move_mount", 429, -1, 0, -1, 0, 0)
call("B2 mount_setattr", 442, -1, 0, 0, 0, 0)
call("B3 pivot_root", 155, 0, 0)
call("B3 chroot", 161, 0)
call("B3 setns", 308, -1, 0)
call("B4 ptrace seize", 101, 0x4206, 0x3fffffff, 0, 0)
call("B4 ptrace attach", 101, 16, 0x3fffffff, 0, 0)
call("B5 process_vm_readv", 310, 0x3fffffff, 0, 0, 0, 0, 0)
call("B5 process_vm_writev", 311, 0x3fffffff, 0, 0, 0, 0, 0)
call("B5 process_madvise", 440, -1, 0, 0, 0, 0)
call("B6 pidfd_getfd", 438, -1, 0, 0)
call("B14 keyctl", 250, 0xffff, 0, 0, 0, 0)
call("B14 add_key", 248, 0, 0, 0, 0, 0)
call("B14 request_key", 249, 0, 0, 0, 0)
call("B15 bpf", 321, 0xffff, 0, 0)
call("B16 perf_event_open", 298, 0, 0, 0, 0, 0)
call("B17 io_uring_setup", 425, 1, 0)
call("B17 io_uring_enter", 426, -1, 0, 0, 0, 0)
call("B17 io_uring_register", 427, -1, 99, 0, 0)
call("B18 userfaultfd", 323, 0xff)
call("B19 open_by_handle_at", 304, -100, 0, 0)
call("B19 name_to_handle_at", 303, -100, 0, 0, 0, 0)
call("B20 init_module", 175, 0, 0, 0)
call("B20 finit_module", 313, -1, 0, 0)
call("B20 delete_module", 176, 0, 0)
call("B20 kexec_load", 246, 0, 0, 0, 0xff)
call("B20 swapon", 167, 0, 0)
call("B20 swapoff", 168, 0)
call("B20 syslog", 103, 99, 0, 0)
call("B20 acct", 163, 1)
call("B20 reboot", 169, 0, 0, 0, 0)
call("B20 settimeofday", 164, 1, 0)
call("B20 sethostname", 170, 0, -1)
call("B20 quotactl", 179, 0x7fffffff, 0, 0, 0)
call("B13 fcntl F_SETOWN", 72, 1, 8, os.getpid())
call("B13 fcntl F_SETSIG", 72, 1, 10, 0)
call("B13 ioctl FIOSETOWN", 16, 1, 0x8901, 0)
call("B21 ioctl TIOCSTI", 16, 0, 0x5412, 0)
call("B21 ioctl TIOCLINUX", 16, 0, 0x541c, 0)
call("B22 socket, high bits", 41, (1 << 40) | 16, 3, 0)
call("B22 ioctl, high bits", 16, 0, (1 << 40) | 0x5412, 0)
child("B22 clone, high bits", 56, (1 << 40) | 0x10000011, 0, 0, 0, 0)
call("seccomp", 317, 1, 0, 0)
call("prctl PR_SET_SECCOMP", 157, 22, 2, 0, 0, 0)
child("E22 clone for the parent", 56, 0x8011, 0, 0, 0, 0)
call("E22 clone with another signal", 56, 0x1c, 0, 0, 0, 0)
call("E23 fcntl F_NOTIFY", 72, -1, 1026, 0)
call("E23 fcntl F_OFD_SETLK", 72, -1, 37, 0)
call("E23 fcntl F_SETLEASE", 72, -1, 1024, 0)
call("E23 fcntl F_SETFL O_DIRECT", 72, -1, 4, 0x4000)
call("E23 ioctl SIOCGSTAMP", 16, -1, 0x8906, 0)
call("E23 prctl PR_SCHED_CORE", 157, 62, 99, 0, 0, 0)
call("E23 prctl PR_SET_VMA", 157, 0x53564d41, 99, 0, 0, 0)
call("E23 setsockopt SO_TIMESTAMP", 54, -1, 1, 29, 0, 0)
call("E39 setsockopt SO_LINGER", 54, -1, 1, 13, 0, 0)
call("unsupported: getsockopt SO_NETNS_COOKIE", 55, -1, 1, 71, 0, 0)
call("E24 sched_setscheduler of PID 1", 144, 0x3fffffff, 0, 0)
call("E24 sched_setscheduler idle", 144, 0, 5, 0)
call("E24 setpriority of the group", 141, 1, 0, 0)
call("E24 ioprio_set", 251, 99, 0, 0)
call("missing: sched_setattr", 314, 0, 0, 0)
call("missing: landlock_create_ruleset", 444, 0, 0, 0)
call("missing: openat2", 437, -100, 0, 0, 0)
call("unsupported: send MSG_OOB", 44, -1, 0, 0, 1, 0, 0)
call("unsupported: recv MSG_OOB", 45, -1, 0, 0, 1, 0, 0)
call("unsupported: preadv2 RWF_NOWAIT", 327, -1, 0, 0, 0, 0, 8)
call("invalid: splice SPLICE_F_MORE", 275, -1, 0, -1, 0, 0, 4)
call("invalid: vmsplice SPLICE_F_GIFT", 278, -1, 0, 0, 8)
call("invalid: openat O_DIRECT", 257, -100, 0, 0x4000, 0)
call("invalid: pipe2 O_DIRECT", 293, 0, 0x4000)
call("invalid: madvise MADV_MERGEABLE", 28, 0, 0, 12)
call("unknown", 999)
call("getpid", 39)
call("x32 getpid", 0x40000000 + 39)
"#;

/// By name, what was answered.
fn answers(printed: &str) -> Vec<(&str, &str)> {
    let lines: Vec<_> = printed.lines().filter_map(|line| line.rsplit_once(' ')).collect();
    assert_eq!(lines.len(), 84, "every attack ran: {printed}");
    lines
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn dangerous_calls_are_refused_by_the_filter_and_not_by_chance() {
    const EPERM: &str = "1";
    const ENOSYS: &str = "38";
    const EAFNOSUPPORT: &str = "97";
    const EINVAL: &str = "22";
    const EOPNOTSUPP: &str = "95";
    let printed = python(CALLS).await;
    for (name, errno) in answers(&printed) {
        let expected = match name {
            "B1 clone3" | "unknown" => ENOSYS,
            "B22 socket, high bits" => EAFNOSUPPORT,
            "getpid" => "0",
            _ if name.starts_with("missing: ") => ENOSYS,
            _ if name.starts_with("unsupported: ") => EOPNOTSUPP,
            _ if name.starts_with("invalid: ") => EINVAL,
            _ => EPERM,
        };
        assert_eq!(errno, expected, "{name}");
    }
    // The control: to root outside, the kernel itself answers something else.
    let control = outside(CALLS);
    for ((name, inside), (_, errno)) in answers(&printed).iter().zip(answers(&control)) {
        let same = matches!(*name, "getpid" | "unknown");
        assert_eq!(*inside == errno, same, "{name}: {errno} outside");
    }
}

/// `int 0x80` from memory that the program has made executable.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn the_32_bit_entry_ends_the_program() {
    let code = r#"
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b"\xb8\x14\x00\x00\x00" + bytes([CODE]) + b"\xc3")
print("calling", flush=True)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0)
"#;
    let outcome = run(Job::python(code.replace("CODE", "0xcd, 0x80"))).await;
    assert_eq!(outcome.stdout.text(), "calling\n");
    assert_eq!(outcome.termination, Termination::Signaled(31), "SIGSYS");
    // The control: the same page with two instructions that do nothing.
    let outcome = run(Job::python(code.replace("CODE", "0x90, 0x90"))).await;
    assert_eq!(outcome.stdout.text(), "calling\nTrue\n");
}

const FAMILIES: &str = "
import socket
made = set()
for family in range(46):
    for kind in (1, 2, 3, 5):
        for protocol in (0, 1, 6, 12, 17, 33, 132, 136, 262):
            try: socket.socket(family, kind, protocol).close()
            except OSError: continue
            made.add((family, kind, protocol))
print(sorted(made))
";

#[tokio::test]
async fn sockets_are_unix_tcp_and_udp() {
    let (unix, inet, inet6) = (1, 2, 10);
    let mut expected = String::new();
    for family in [unix, inet, inet6] {
        let kinds: &[(u8, &[u8])] = match family {
            1 => &[(1, &[0, 1]), (2, &[0, 1]), (5, &[0, 1])],
            _ => &[(1, &[0, 6]), (2, &[0, 17])],
        };
        for (kind, protocols) in kinds {
            for protocol in *protocols {
                expected += &format!("({family}, {kind}, {protocol}), ");
            }
        }
    }
    // The kernel makes a unix socket of a raw one, too; the filter does not know better.
    let printed = python(FAMILIES).await;
    assert_eq!(printed.trim(), format!("[{}]", expected.trim_end_matches(", ")));
    let control = outside(FAMILIES);
    for other in ["(16, 3, 0)", "(17, 3, 0)", "(2, 3, 1)"] {
        assert!(control.contains(other), "netlink, packet and raw outside, as root: {control}");
    }
}

/// Options of sockets whose memory nobody counts.
const OPTIONS: &str = r#"
import ctypes, socket, struct
def attempt(name, family, level, option, value):
    with socket.socket(family, socket.SOCK_STREAM if level == 6 else socket.SOCK_DGRAM) as one:
        try: one.setsockopt(level, option, value); print(name, "set")
        except OSError as error: print(name, error.strerror)
code = (ctypes.c_ubyte * 8)(*struct.pack("HBBI", 6, 0, 0, 0xffff))
program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
attempt("program", socket.AF_UNIX, 1, 26, program)
attempt("membership", socket.AF_INET, 0, 35, socket.inet_aton("224.0.0.1") + socket.inet_aton("127.0.0.1"))
attempt("plain", socket.AF_INET, 1, 2, 1)
attempt("v6 only", socket.AF_INET6, 41, 26, 1)
attempt("no delay", socket.AF_INET, 6, 1, 1)
"#;

#[tokio::test]
async fn nothing_is_attached_to_sockets() {
    let refused = "Operation not permitted";
    assert_eq!(
        python(OPTIONS).await,
        format!("program {refused}\nmembership {refused}\nplain set\nv6 only set\nno delay set\n")
    );
    let control = outside(OPTIONS);
    assert!(control.starts_with("program set\nmembership set\n"), "{control}");
}

const STATUS: &str = r#"
import os, sys
own = [line for line in open("/proc/self/status") if line.split(":")[0] in
       ("Uid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
        "Seccomp_filters")]
print("".join(own), flush=True)
if len(sys.argv) < 2:
    fd = os.memfd_create("program")
    os.write(fd, open("/proc/self/exe", "rb").read())
    os.execv(f"/proc/self/fd/{fd}", ["python3", "main.py", "again"])
"#;

#[tokio::test]
async fn a_program_from_memory_is_confined_like_its_maker() {
    let printed = python(STATUS).await;
    let (before, after) = printed.split_once("\n\n").expect("twice");
    assert!(before.contains("Seccomp:\t2") && before.contains("NoNewPrivs:\t1"), "{before}");
    assert_eq!(before.trim(), after.trim());
}

#[tokio::test]
async fn a_set_user_id_program_gives_no_rights() {
    let code = "
import os, shutil, subprocess
shutil.copy('/usr/bin/id', 'id'); os.chmod('id', 0o6755)
print(oct(os.stat('id').st_mode & 0o7777), subprocess.check_output(['./id', '-u'], text=True))
print([line for line in open('/proc/self/mounts') if 'nosuid' not in line.split()[3].split(',')])
";
    assert_eq!(python(code).await, "0o6755 1000\n\n[]\n");
    // The control: root's copy of id, executed by nobody.
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
    let id = dir.path().join("id");
    std::fs::copy("/usr/bin/id", &id).expect("copy");
    std::fs::set_permissions(&id, Permissions::from_mode(0o4755)).expect("chmod");
    let output = Command::new(id).arg("-u").uid(65_534).gid(65_534).output().expect("id");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "run as root");
}

#[tokio::test]
async fn dev_holds_five_devices_and_no_terminal() {
    let code = "
import os
print(sorted(os.listdir('/dev')), [os.isatty(fd) for fd in (0, 1, 2)])
for path in ('/dev/tty', '/dev/kmsg', '/dev/mem', '/dev/kvm', '/dev/fuse', '/dev/net/tun',
             '/dev/sda', '/dev/vda', '/dev/ptmx', '/dev/userfaultfd'):
    assert not os.path.lexists(path), path
";
    assert_eq!(
        python(code).await,
        "['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero'] \
         [False, False, False]\n"
    );
}

const MKNOD: &str = "
import os, stat, sys, tempfile
folder = tempfile.mkdtemp()
for name, kind in (('char', stat.S_IFCHR), ('block', stat.S_IFBLK), ('fifo', stat.S_IFIFO)):
    try: os.mknod(f'{folder}/{name}', 0o600 | kind, os.makedev(1, 3)); print(name, 'made')
    except OSError as error: print(name, error.strerror)
    else: os.unlink(f'{folder}/{name}')
os.rmdir(folder)
";

#[tokio::test]
async fn no_device_can_be_made() {
    let refused = "Operation not permitted";
    let printed = python(MKNOD).await;
    let denied = "Permission denied";
    let either = [refused, denied].map(|why| format!("char {why}\nblock {why}\nfifo made\n"));
    assert!(either.contains(&printed), "{printed}");
    assert_eq!(outside(MKNOD), "char made\nblock made\nfifo made\n", "as root");
}

/// Opens everything beneath /proc/sys for writing, and writes nothing.
const SYSCTLS: &str = "
import os
count, opened = 0, []
for folder, _, names in os.walk('/proc/sys'):
    for name in names:
        count += 1
        try: os.close(os.open(f'{folder}/{name}', os.O_WRONLY | os.O_NONBLOCK)); opened.append(name)
        except OSError: pass
for path in ('/sys', '/proc/sysrq-trigger', '/proc/kcore', '/proc/kmsg'):
    try: os.close(os.open(path, os.O_WRONLY if path.startswith('/proc/s') else os.O_RDONLY)); opened.append(path)
    except OSError: pass
print(count > 100, len(opened), opened[:5])
";

#[tokio::test]
async fn no_setting_of_the_kernel_can_be_written() {
    assert_eq!(python(SYSCTLS).await, "True 0 []\n");
    let control = outside(SYSCTLS);
    assert!(control.starts_with("True ") && !control.contains(" 0 []"), "as root: {control}");
}

#[tokio::test]
async fn no_cgroup_can_be_seen_or_changed() {
    let code = "
import os
kinds = {line.split()[2] for line in open('/proc/self/mounts')}
print(any('cgroup' in kind for kind in kinds), os.path.exists('/sys/fs/cgroup'))
print(sorted({line.split(':')[2].strip() for line in open('/proc/self/cgroup')} - {'/'})[:0])
found = [os.path.join(f, n) for f, _, names in os.walk('/proc/self') for n in names
         if n in ('release_agent', 'cgroup.procs', 'tasks')]
print(found)
";
    assert_eq!(python(code).await, "False False\n[]\n[]\n");
    let control = outside("print('cgroup' in open('/proc/self/mounts').read())");
    assert_eq!(control, "True\n");
}

/// What a job can do to the first process of its namespace is its own problem.
#[tokio::test]
async fn the_namespaces_first_process_cannot_be_signalled() {
    let code = "
import os, signal, time
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError as error: print(number, error.strerror)
time.sleep(0.05)
print(open('/proc/1/status').read().split()[1], os.path.exists('/proc/1'))
try: os.kill(-1, signal.SIGTERM)
except OSError: pass
print('alone', flush=True)
os.kill(0, signal.SIGKILL)
";
    let outcome = run(Job::python(code)).await;
    let text = outcome.stdout.text();
    assert!(text.ends_with(" True\nalone\n"), "{text}");
    assert_eq!(outcome.termination, Termination::Signaled(9), "its own doing");
}

/// A limit that kills would make the job's own doing look like somebody else's.
#[tokio::test]
async fn the_namespaces_first_process_cannot_be_given_a_limit() {
    let code = "
import os, resource
try: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)); print('limited')
except OSError as error: print(error.strerror)
resource.prlimit(0, resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU))
for _ in range(1000):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
print('alive')
";
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.stdout.text(), "Operation not permitted\nalive\n");
    assert_eq!(outcome.termination, Termination::Exited(0));
}

#[tokio::test]
async fn limits_and_scheduling_of_others_change_nothing_outside() {
    let code = "
import os, resource
done = []
for pid in (1, os.getppid() or 1):
    for name, attempt in (
        ('prlimit', lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 8))),
        ('nice', lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)),
        ('affinity', lambda: os.sched_setaffinity(pid, {0})),
    ):
        try: attempt(); done.append(name)
        except OSError: pass
print('tried', done)
";
    // The helper that supervises is out of reach: it has no number here. Its limits, and the
    // application's, are as they were.
    let limits = || std::fs::read_to_string("/proc/self/limits").expect("limits");
    let before = limits();
    let outcome = run(Job::python(code)).await;
    assert!(outcome.stdout.text().starts_with("tried "), "{:?}", outcome.stderr.text());
    assert!(outcome.is_success());
    assert_eq!(limits(), before);
    assert!(run(Job::bash("true")).await.is_success());
}
