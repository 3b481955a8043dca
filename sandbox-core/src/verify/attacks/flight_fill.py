# Sends itself so many descriptors that its user may send no more, and takes none of them.
import array, resource
try:
    here, there = socket.socketpair()
    many = array.array("i", [0] * 253)
    for _ in range(1 + resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 253):
        here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, many)])
except OSError as error:
    held("descriptors in flight: " + error.strerror)
tried("to put descriptors in flight: 1")
# A job in a function ends no earlier when it is cancelled, and others wait for that.
time.sleep(4)
