# All at once: a place without a way out makes each of them wait.
import select
tried("to connect to the internet")
waiting, said = {}, set()
for text in facts["around"]["addresses"]:
    host, port = text.rsplit(":", 1)
    host = host.strip("[]")
    try:
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        code = client.connect_ex((host, int(port)))
    except OSError as error:
        said.add(error.strerror or str(error))
        continue
    if code == 0:
        broke(f"it is connected to {text}")
    if code == errno.EINPROGRESS:
        waiting[client] = text
    else:
        said.add(os.strerror(code))
until = time.monotonic() + 3
while waiting and (left := until - time.monotonic()) > 0:
    for client in select.select([], list(waiting), [], left)[1]:
        text = waiting.pop(client)
        code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            broke(f"it is connected to {text}")
        said.add(os.strerror(code))
if waiting:
    said.add("no answer within 3 s")
held(f"{len(facts['around']['addresses'])} addresses: " + ", ".join(sorted(said)))
