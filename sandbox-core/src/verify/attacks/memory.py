tried("to take three times its memory")
blocks = []
try:
    for _ in range(facts["memory"] * 3 >> 20):
        blocks.append(b"x" * (1 << 20))
except MemoryError:
    count = len(blocks)
    blocks.clear()
    held(f"after {count} MiB: allocation refused")
broke(f"it has taken {len(blocks)} MiB; {facts['memory'] >> 20} are allowed")
