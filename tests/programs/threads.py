import concurrent.futures, queue, threading

results, lock = queue.Queue(), threading.Lock()
barrier = threading.Barrier(8)
def work(n):
    barrier.wait()
    with lock:
        results.put(n * n)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(results.queue))
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(sum(pool.map(lambda n: n + 1, range(1000))))
with concurrent.futures.ProcessPoolExecutor(2) as pool:
    print(list(pool.map(abs, [-1, -2, -3])))
