# A child of the parent's: whoever waits for the sandbox's processes would have to wait for it too.
tried("to make a child for the supervisor")
CLONE_PARENT, SIGCHLD = 0x8000, 17
answer = call("clone", CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
if answer == 0 and os.getpid() != started_as:
    os._exit(0)
if answer == 0:
    broke("the supervisor has a child that it did not make")
held(f"clone with CLONE_PARENT: {answer}")
