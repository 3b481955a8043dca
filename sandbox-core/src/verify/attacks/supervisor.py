tried("to read and to signal what started the job")
done = []
for pid in sorted({1, os.getppid()} - {0}):
    for name in ("environ", "maps", "auxv", "mem"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if name == "mem" or file.read(1):
                    done.append(f"/proc/{pid}/{name}")
        except OSError:
            pass
    try:
        os.listdir(f"/proc/{pid}/fd")
        done.append(f"/proc/{pid}/fd")
    except OSError:
        pass
parent = os.getppid()
if parent:
    try:
        os.kill(parent, 0)
        done.append(f"a signal to {parent}")
    except OSError:
        pass
if done:
    broke("it reaches " + ", ".join(done))
held("the parent has no number here, and nothing of process 1 can be read")
