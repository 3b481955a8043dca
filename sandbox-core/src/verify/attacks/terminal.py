import fcntl
tried("to type into the caller's terminal")
TIOCSTI = 0x5412
try:
    fcntl.ioctl(0, TIOCSTI, b"\n")
except OSError as error:
    answer = errno.errorcode[error.errno]
else:
    broke("a line was typed into the terminal")
try:
    os.close(os.open("/dev/tty", os.O_RDWR))
except OSError:
    pass
else:
    broke("it has a terminal")
if answer != "EPERM":
    broke(f"the kernel answers TIOCSTI: {answer}")
held("there is no terminal, and TIOCSTI is refused")
