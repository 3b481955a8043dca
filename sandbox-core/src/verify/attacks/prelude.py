# What every attack begins with. `tried` leaves the mark that the attack ran, `broke` and `held`
# end it with the evidence.
import ctypes, errno, json, os, platform, socket, sys, time

facts = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
started_as = os.getpid()
numbers = {
    "x86_64": dict(clone=56, add_key=248, keyctl=250, unshare=272, perf_event_open=298, bpf=321, userfaultfd=323),
    "aarch64": dict(clone=220, add_key=217, keyctl=219, unshare=97, perf_event_open=241, bpf=280, userfaultfd=282),
}[platform.machine()] | dict(io_uring_setup=425)

def tried(what):
    print("tried:", what, flush=True)

def broke(evidence):
    print("broke:", str(evidence)[:400], flush=True)
    os._exit(0)

def held(evidence):
    print("held:", str(evidence)[:400], flush=True)
    os._exit(0)

def call(name, *args):
    """Makes a system call; returns 0 or the name of the error."""
    ctypes.set_errno(0)
    padded = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = libc.syscall(ctypes.c_long(numbers[name]), *padded)
    return 0 if result >= 0 else errno.errorcode[ctypes.get_errno()]

def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key + ":"):
            return line.split(":", 1)[1].split()
    return []
