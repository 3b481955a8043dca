import resource
tried("to open more files than allowed")
opened = 0
try:
    while opened < facts["open_files"] * 2:
        os.open("/dev/null", os.O_RDONLY)
        opened += 1
except OSError as error:
    answer = error.strerror
else:
    broke(f"it has opened {opened} files; {facts['open_files']} are allowed")
try:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))
except (OSError, ValueError):
    pass
else:
    broke("it has raised its own limit")
held(f"after {opened} files: {answer}")
