tried("to fill the disk")
written = 0
try:
    for number in range(8):
        with open(f"fill-{number}", "wb") as file:
            for _ in range(facts["disk"] >> 18):
                written += file.write(b"x" * (1 << 17))
except OSError as error:
    held(f"after {written >> 10} KiB: {error.strerror}")
# A watcher looks now and then.
time.sleep(1)
broke(f"it has written {written >> 10} KiB; {facts['disk'] >> 10} are allowed")
