import multiprocessing as mp
from multiprocessing import shared_memory

def work(n):
    return n * n

def fill(name):
    memory = shared_memory.SharedMemory(name)
    memory.buf[0] = 7
    memory.close()

def put(queue):
    queue.put({"from": "child"})

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = mp.get_context(method)
        with context.Pool(2) as pool:
            print(method, pool.map(work, [1, 2, 3]))
    memory = shared_memory.SharedMemory(create=True, size=16)
    child = mp.Process(target=fill, args=(memory.name,))
    child.start(); child.join()
    print(memory.buf[0], child.exitcode)
    memory.close(); memory.unlink()
    queue = mp.Queue()
    child = mp.Process(target=put, args=(queue,))
    child.start(); print(queue.get()); child.join()
    with mp.Manager() as manager:
        shared = manager.dict(a=1)
        print(dict(shared), mp.Value("i", 3).value, mp.cpu_count() > 0)
