# Holds a segment for another job to find. It has no name and is gone with this process.
libc.shmat.restype = ctypes.c_void_p
segment = libc.shmget(0, 4096, 0o1666)
if segment < 0 or libc.shmat(segment, None, 0) in (None, ctypes.c_void_p(-1).value):
    held("System V memory: " + os.strerror(ctypes.get_errno()))
libc.shmctl(segment, 0, None)
tried(f"to share memory {segment}")
time.sleep(10)
