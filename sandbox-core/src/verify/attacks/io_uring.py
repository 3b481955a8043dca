tried("to make calls past the filter")
answer = call("io_uring_setup", 1, 0)
if answer in ("EPERM", "ENOSYS"):
    held(f"io_uring_setup: {answer}")
broke(f"io_uring_setup reaches the kernel: {answer}")
