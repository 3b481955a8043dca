import os, shutil, signal, subprocess

print(subprocess.run("seq 5 | sort -r | paste -sd, ; echo $((6 * 7))", shell=True, capture_output=True, text=True).stdout.split())
print(subprocess.run(["false"]).returncode, subprocess.getoutput("uname -s"))
process = subprocess.Popen(["sleep", "60"], start_new_session=True)
os.killpg(process.pid, signal.SIGTERM)
print(process.wait())
try:
    subprocess.run(["sleep", "60"], timeout=0.1)
except subprocess.TimeoutExpired as error:
    print(type(error).__name__)
print(all(shutil.which(tool) for tool in ("awk", "sed", "grep", "tar", "gzip", "find", "xargs", "diff")))
