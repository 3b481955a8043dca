# A daemon that gives itself up after ten seconds.
import signal
tried("to outlive the job")
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    if os.fork() == 0:
        for fd in (0, 1, 2):
            os.close(fd)
        name = "sandbox-" + facts["token"]
        os.execv(sys.executable, [name, "-c", "import time; time.sleep(10)"])
    os._exit(0)
os.wait()
time.sleep(0.1)
held("a daemon runs")
