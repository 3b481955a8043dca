tried("to find another job's shared memory")
ctypes.set_errno(0)
if libc.shmget(facts["key"], 0, 0) >= 0 or ctypes.get_errno() == errno.EACCES:
    broke("the segment that another job has made is there")
held("System V memory: " + os.strerror(ctypes.get_errno()))
