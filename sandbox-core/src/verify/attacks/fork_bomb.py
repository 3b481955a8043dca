import signal
tried("to fork without end")
children = []
try:
    while len(children) < facts["processes"] * 3:
        pid = os.fork()
        if pid == 0:
            time.sleep(10)
            os._exit(0)
        children.append(pid)
except OSError as error:
    held(f"after {len(children)} children: {error.strerror}")
for pid in children:
    os.kill(pid, signal.SIGKILL)
broke(f"{len(children)} children live at once; {facts['processes']} processes are allowed")
