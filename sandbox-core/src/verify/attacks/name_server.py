import struct
tried("to ask a name server")
servers = ["127.0.0.1", "127.0.0.53", "169.254.169.253"]
try:
    servers += [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
except OSError:
    pass
query = struct.pack(">6H", 0x5eed, 0x0100, 1, 0, 0, 0) + b"\x07example\x03com\x00" + struct.pack(">2H", 1, 1)
said = set()
for server in dict.fromkeys(servers):
    try:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(0.3)
            client.connect((server, 53))
            client.send(query)
            if client.recv(512)[:2] == b"\x5e\xed":
                broke(f"{server} answered, and would carry anything in a name")
    except OSError as error:
        said.add(error.strerror or str(error))
held(f"{len(servers)} addresses: " + ", ".join(sorted(said)))
