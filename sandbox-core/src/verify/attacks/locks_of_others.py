import fcntl
tried("to see the locks of others")
own = open("lock", "w")
fcntl.flock(own, fcntl.LOCK_EX)
try:
    seen = open("/proc/locks").read().splitlines()
except OSError as error:
    held(f"/proc/locks: {error.strerror}")
if seen:
    broke(f"/proc/locks has {len(seen)} lines")
held("/proc/locks is empty, although this job holds a lock")
