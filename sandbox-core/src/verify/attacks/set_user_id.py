tried("to gain rights from a program")
PR_GET_NO_NEW_PRIVS = 39
flag = libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
if flag != 1 and status("NoNewPrivs") != ["1"]:
    broke("a set-user-id program would have the rights of its owner: no_new_privs is not set")
held("no_new_privs is set")
