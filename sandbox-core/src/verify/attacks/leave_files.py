tried("to leave files for a later job")
left = []
for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", os.environ.get("TMPDIR", "/tmp"), "."):
    try:
        open(f"{folder}/{facts['token']}", "w").close()
        left.append(folder)
    except OSError:
        pass
held("left in " + " ".join(left))
