tried("to connect to a service of the caller's")
try:
    socket.create_connection(("127.0.0.1", facts["port"]), 1).close()
except OSError as error:
    held(f"127.0.0.1:{facts['port']}: {error.strerror or error}")
broke(f"it is connected to 127.0.0.1:{facts['port']}, on which the caller listens")
