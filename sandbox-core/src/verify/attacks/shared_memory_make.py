# Leaves a segment for another job to find, and takes it away again.
key = facts["key"]
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(key, 4096, 0o1666)
if segment < 0:
    held("System V memory: " + os.strerror(ctypes.get_errno()))
tried("to leave shared memory")
time.sleep(1)
libc.shmctl(segment, 0, None)
held("left and removed")
