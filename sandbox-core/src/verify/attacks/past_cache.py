# Such reads reach the disk each time.
tried("to read a file of the host past its cache")
try:
    file = os.open("/usr/bin/env", os.O_RDONLY | os.O_DIRECT)
except OSError as error:
    held(f"O_DIRECT: {error.strerror}")
broke("/usr/bin/env can be read from the disk without end")
