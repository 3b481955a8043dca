# Who ends the job would wait for processes that hardly run.
tried("to lower the priority of others")
answers = []
for pid in {1, os.getppid() or 1}:
    for name, lower in (
        ("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19)),
        ("sched_setscheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))),
        ("sched_setaffinity", lambda: os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})),
    ):
        try:
            lower()
        except OSError as error:
            answers.append(f"{name} {errno.errorcode[error.errno]}")
        else:
            broke(f"{name} of process {pid} works")
held(", ".join(answers))
