tried("to find files of an earlier job")
places = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", os.environ.get("TMPDIR", "/tmp"), ".")
for folder in places:
    if os.path.exists(f"{folder}/{facts['token']}"):
        broke(f"{folder}/{facts['token']} is there, which an earlier job has left")
held(f"nothing in {len(dict.fromkeys(places))} folders")
