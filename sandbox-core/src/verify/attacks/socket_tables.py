tried("to list the sockets of the host")
wanted = {"tcp": ":%04X" % facts["port"], "unix": "@" + facts["token"]}
for table, mark in wanted.items():
    try:
        if mark in open("/proc/self/net/" + table).read():
            broke(f"the caller's socket is in /proc/self/net/{table}")
    except OSError:
        pass
held("the caller's sockets are in no table of the job's")
