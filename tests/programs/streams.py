# Standard streams by name, and tools that programs start.
import os, subprocess

print(open("/dev/stdin").read() == "", file=open("/dev/stdout", "w"))
script = """
echo one > /dev/stdout; echo two | tee /dev/stdout; exec 3>/dev/stderr; echo unseen >&3
seq 3 | sort -r -o /dev/stdout; mkdir -p /var/tmp/x && rmdir /var/tmp/x && echo made
openssl version >/dev/null && openssl req -new -x509 -newkey rsa:1024 -nodes -keyout key -subj /CN=a -out cert 2>/dev/null; ls cert
"""
print(subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True).stdout)
