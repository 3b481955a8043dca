# Connecting a datagram socket sends nothing: it only asks for a route. The addresses are reserved
# for documentation.
tried("to find a route to the internet")
said = set()
for family, host in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect((host, 9))
    except OSError as error:
        said.add(error.strerror or str(error))
    else:
        broke(f"there is a route to {host}")
held(", ".join(sorted(said)))
