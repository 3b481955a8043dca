tried("to see processes that are not the job's")
others = []
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        try:
            others.append(open(f"/proc/{name}/comm").read().strip())
        except OSError:
            pass
if others:
    broke(f"it sees {len(others)} processes, among them " + " ".join(sorted(set(others))[:4]))
held("it sees itself and the namespace's first process")
