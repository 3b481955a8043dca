# Names that exist: for others, no answer shows nothing.
import subprocess
tried("to look up names")
code = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 443)[0][4][0])"
said = set()
for name in facts["around"]["names"]:
    try:
        done = subprocess.run([sys.executable, "-I", "-c", code, name], capture_output=True, text=True, timeout=4)
    except subprocess.TimeoutExpired:
        said.add("no answer within 4 s")
        continue
    if done.returncode == 0:
        broke(f"{name} is {done.stdout.strip()}: a name that is looked up carries data out")
    said.add((done.stderr.strip().splitlines() or ["no reason"])[-1])
held(f"{len(facts['around']['names'])} names: " + ", ".join(sorted(said)))
