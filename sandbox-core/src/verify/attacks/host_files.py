tried("to look at what is not the job's")
seen = []
for path in ("/root", "/home", "/boot", "/run", "/srv", "/sys", "/var/log", "/mnt", "/media"):
    try:
        os.listdir(path)
        seen.append(path)
    except OSError:
        pass
for path in ("/etc/shadow", "/etc/machine-id", "/etc/fstab"):
    try:
        open(path, "rb").read(1)
        seen.append(path)
    except OSError:
        pass
if seen:
    broke("it can read " + " ".join(seen))
held("none of 12 places of the host's is there")
