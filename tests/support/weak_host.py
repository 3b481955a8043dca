# Takes things away from this process, as a weak host would, then executes the rest of its
# arguments: weak_host.py TAKEN[,TAKEN...] PROGRAM ARGS... To be run as root, in mount and network
# namespaces of its own. What is taken may be root itself: then the program is of an ordinary user,
# with or without ids that the host lends.
import ctypes, os, stat, struct, subprocess, sys, tempfile

taken = set(sys.argv[1].split(",")) - {""}
LENDS = "root, but lends ids"
libc = ctypes.CDLL(None, use_errno=True)

EPERM, ENOSYS = 1, 38
UNSHARE, SECCOMP, PRCTL, MEMFD_CREATE, FSOPEN, CLONE = 272, 317, 157, 319, 430, 56
CLONE_NEWUSER, MFD_EXEC = 0x10000000, 0x10

# Number, the argument and the bits of it that make the call fail, errno.
rules = {
    "user namespaces": [(UNSHARE, 0, CLONE_NEWUSER, EPERM), (CLONE, 0, CLONE_NEWUSER, EPERM)],
    "namespaces": [(UNSHARE, 0, 0, EPERM)],
    "landlock": [(number, 0, 0, ENOSYS) for number in (444, 445, 446)],
    "seccomp": [(SECCOMP, 0, 0, EPERM)],
    "prctl": [(PRCTL, 0, 0, EPERM)],
    "mount calls": [(FSOPEN, 0, 0, ENOSYS)],
    "executable memfds": [(MEMFD_CREATE, 1, MFD_EXEC, 13)],
}

def become(user):
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)

def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)

mount("--make-rprivate", "/")
if "cgroups" in taken:
    mount("-t", "tmpfs", "-o", "ro", "none", "/sys/fs/cgroup")
if "writable /tmp" in taken:
    mount("-t", "tmpfs", "-o", "ro", "none", "/tmp")
if "/dev/shm" in taken:
    mount("-t", "tmpfs", "-o", "mode=755", "none", "/dev")
    os.umask(0)
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod("/dev/" + name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    os.symlink("/proc/self/fd", "/dev/fd")
    os.umask(0o022)

if LENDS in taken:
    with tempfile.NamedTemporaryFile("w", dir="/var/tmp") as lent:
        lent.write("nobody:300000:65536\n")
        lent.flush()
        os.chmod(lent.name, 0o644)
        for name in ("/etc/subuid", "/etc/subgid"):
            open(name, "a").close()
            mount("--bind", lent.name, name)

code = []
for rule in taken & set(rules):
    for number, argument, bits, errno in rules[rule]:
        code += [(0x20, 0, 0, 0), (0x15, 0, 3 if bits else 1, number)]
        code += [(0x20, 0, 0, 16 + 8 * argument), (0x45, 0, 1, bits)] if bits else []
        code += [(0x06, 0, 0, 0x00050000 | errno)]
code += [(0x06, 0, 0, 0x7fff0000)]
packed = b"".join(struct.pack("HBBI", *one) for one in code)
buffer = ctypes.create_string_buffer(packed)
program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
# Installed with root's rights, so that no_new_privs stays as it is.
assert libc.syscall(SECCOMP, 1, 0, ctypes.c_char_p(program)) == 0, os.strerror(ctypes.get_errno())

if "an entry in passwd" in taken:
    become(54321)
if LENDS in taken:
    become(65534)
os.chdir("/")
os.execv(sys.argv[2], sys.argv[2:])
