# Each such watch makes every reader of the folder slower.
import fcntl, signal
# Where it succeeds, somebody reads there.
signal.signal(signal.SIGIO, signal.SIG_IGN)
tried("to watch a folder of the host")
F_NOTIFY, DN_ACCESS = 1026, 1
folder = os.open("/usr/bin", os.O_RDONLY | os.O_DIRECTORY)
try:
    fcntl.fcntl(folder, F_NOTIFY, DN_ACCESS)
except OSError as error:
    held(f"F_NOTIFY: {error.strerror}")
broke("it is told of every file that anybody reads in /usr/bin")
