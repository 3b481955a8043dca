tried("to find another job's shared memory")
libc.shmat.restype = ctypes.c_void_p
ctypes.set_errno(0)
address = libc.shmat(int(facts["told"]), None, 0o10000)
if address not in (None, ctypes.c_void_p(-1).value) or ctypes.get_errno() == errno.EACCES:
    broke("the segment that another job has made is there")
held("System V memory: " + os.strerror(ctypes.get_errno()))
