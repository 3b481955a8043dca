tried("to reach the metadata service")
said = set()
for host, port in (("169.254.169.254", 80), ("169.254.170.2", 80)):
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError as error:
        said.add(error.strerror or str(error))
    else:
        broke(f"it is connected to {host}, which hands out credentials")
held(", ".join(sorted(said)))
