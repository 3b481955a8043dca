tried("to find a process of an earlier job")
for name in os.listdir("/proc"):
    if name.isdigit():
        try:
            command = open(f"/proc/{name}/cmdline").read()
        except OSError:
            continue
        if command.startswith("sandbox-" + facts["token"]):
            broke(f"process {name}, which an earlier job has started, is alive")
held("no process of an earlier job is there")
