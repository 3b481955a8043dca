# Puts 30 times 253 descriptors in flight, although each process may send 256: every sender passes
# the check while nothing is in flight, and waits for a receiver that is full.
import array, os, socket, sys, time

PAIRS = 30
start_read, start_write = os.pipe()
ready_read, ready_write = os.pipe()

def send(address):
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.connect(address)
    os.write(ready_write, b".")
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 253))
    sender.sendmsg([b"x"], [rights])
    time.sleep(6)

def receive(number):
    address = f"\0receiver-{number}"
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    filler.setblocking(False)
    try:
        while True:
            filler.sendto(b"", address)
    except BlockingIOError:
        pass
    if os.fork() == 0:
        send(address)
        os._exit(0)
    os.read(start_read, 1)
    receiver.recv(1)
    time.sleep(6)

for number in range(PAIRS):
    if os.fork() == 0:
        receive(number)
        os._exit(0)
waiting = 0
while waiting < PAIRS:
    waiting += len(os.read(ready_read, PAIRS))
time.sleep(0.5)
os.write(start_write, b"g" * PAIRS)
time.sleep(0.5)
print("in flight", flush=True)
time.sleep(4)
