tried("to be somebody outside")
lines = [line.split() for line in open("/proc/self/uid_map").read().splitlines()]
mapped = sum(int(count) for _, _, count in lines)
if mapped != 1:
    broke(f"{mapped} ids are mapped: user {os.getuid()} is a user of the host's")
held(f"one id is mapped, {os.getuid()}, and is nobody's outside")
