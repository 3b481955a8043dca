tried("to write where only a second opinion forbids it")
for name in ("comm", "oom_score_adj", "coredump_filter"):
    try:
        with open(f"/proc/self/{name}", "r+") as file:
            file.write(file.read() or "0")
    except OSError as error:
        answer = error.strerror
    else:
        broke(f"/proc/self/{name} was written")
held(answer)
