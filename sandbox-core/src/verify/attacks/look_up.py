# Names that exist: for others, no answer shows nothing. All at once, each in a process that says
# what came of it: one that dies has tried nothing.
import subprocess
tried("to look up names")
code = """import socket, sys
try:
    print("found", socket.getaddrinfo(sys.argv[1], 443)[0][4][0])
except OSError as error:
    print("refused", error)"""
names = facts["around"]["names"]
asked = [(name, subprocess.Popen([sys.executable, "-I", "-c", code, name], stdout=subprocess.PIPE, text=True)) for name in names]
said, until = set(), time.monotonic() + 8
for name, process in asked:
    try:
        word, _, rest = process.communicate(timeout=max(until - time.monotonic(), 0.01))[0].strip().partition(" ")
    except subprocess.TimeoutExpired:
        process.kill()
        said.add("no answer within 8 s")
        continue
    if word == "found":
        broke(f"{name} is {rest}: a name that is looked up carries data out")
    if word != "refused":
        sys.exit(f"the process that looked {name} up said nothing")
    said.add(rest)
held(f"{len(names)} names: " + ", ".join(sorted(said)))
