tried("to be root in a namespace of its own")
if os.fork() == 0:
    CLONE_NEWUSER = 0x10000000
    answer = call("unshare", CLONE_NEWUSER)
    os._exit(0 if answer == 0 else 1)
if os.wait()[1] == 0:
    broke("it has made a user namespace, in which it has every capability")
held("unshare is refused")
