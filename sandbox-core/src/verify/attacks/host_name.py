tried("to learn the name of the host")
if socket.gethostname() == facts["hostname"]:
    broke(f"the job's host is called {facts['hostname']}, as the caller's")
held(f"its host is called {socket.gethostname()}")
