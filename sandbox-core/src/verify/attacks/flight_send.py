import array
tried("to find that another job sends descriptors")
here, there = socket.socketpair()
try:
    here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
except OSError as error:
    if error.errno == errno.ETOOMANYREFS:
        broke("another job keeps this one from sending descriptors: they are one user")
    held("descriptors cannot be sent: " + error.strerror)
held("a descriptor was sent while another job has its fill in flight")
