# What the kernel and whoever is above it let a job's process do. Each in a process of its own: a
# refusal may be a signal.
import struct
PR_SET_NO_NEW_PRIVS = 38
numbers |= {
    "x86_64": dict(ptrace=101, chroot=161, seccomp=317, memfd_create=319, mount=165, clone3=435),
    "aarch64": dict(ptrace=117, chroot=51, seccomp=277, memfd_create=279, mount=40, clone3=435),
}[platform.machine()] | dict(landlock_create_ruleset=444)

def number(name, *args):
    ctypes.set_errno(0)
    padded = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = libc.syscall(ctypes.c_long(numbers[name]), *padded)
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]

def prctl(*args):
    ctypes.set_errno(0)
    return "yes" if libc.prctl(*args, 0, 0, 0) == 0 else errno.errorcode[ctypes.get_errno()]

def works(result):
    return "yes" if result == 0 else result

def filter():
    # One instruction that allows everything.
    instruction = struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000)
    memory = ctypes.create_string_buffer(instruction)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(memory)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    return works(number("seccomp", 1, 0, program))

def shared_memory():
    path = "/dev/shm/" + facts["token"] + "-mechanisms"
    open(path, "w").close()
    os.remove(path)
    return "yes"

def rlimit():
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return "yes"

probes = {
    "no_new_privs": lambda: prctl(PR_SET_NO_NEW_PRIVS, 1),
    "seccomp filter": filter,
    "landlock": lambda: (lambda abi: f"ABI {abi}" if isinstance(abi, int) else abi)(number("landlock_create_ruleset", 0, 0, 1)),
    "user namespace": lambda: works(number("unshare", 0x10000000)),
    "mount": lambda: (lambda got: "yes" if got == "EFAULT" else got)(number("mount", 0, 0, 0, 0, 0)),
    "chroot": lambda: works(number("chroot", b"/")),
    "ptrace": lambda: works(number("ptrace", 0, 0, 0, 0)),
    "io_uring": lambda: (lambda got: "yes" if got == "EFAULT" else got)(number("io_uring_setup", 1, 0)),
    "bpf": lambda: (lambda got: "yes" if got in ("EFAULT", "E2BIG", "EINVAL") else got)(number("bpf", 0, 0, 0)),
    "clone3": lambda: (lambda got: "yes" if got == "EINVAL" else got)(number("clone3", 0, 0)),
    "memfd": lambda: (lambda got: "yes" if isinstance(got, int) else got)(number("memfd_create", b"x", 0)),
    "rlimits": rlimit,
    "shared memory": shared_memory,
}
tried("what there is")
print("mechanism: kernel:", platform.release())
print("mechanism: processors:", len(os.sched_getaffinity(0)))
print("mechanism: user:", os.getuid())
for name, probe in probes.items():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = str(probe())
        except OSError as error:
            said = errno.errorcode.get(error.errno, str(error))
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 200).decode()
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        said = f"ended by signal {os.WTERMSIG(status)}"
    print(f"mechanism: {name}: {said}")
held("asked")
