tried("to connect to a unix socket without a path")
try:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect("\0" + facts["token"])
except OSError as error:
    held(f"@{facts['token']}: {error.strerror or error}")
broke(f"it is connected to @{facts['token']}, on which the caller listens")
