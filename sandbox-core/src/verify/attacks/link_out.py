# Whether one of them came back is seen by whoever runs this.
tried("to have files of the host's collected as the job's")
for name, target in (("link.txt", "/etc/passwd"), ("self.txt", "/proc/self/environ"), ("up", "../..")):
    os.symlink(target, name)
try:
    os.link("/etc/passwd", "hard.txt")
except OSError:
    pass
os.mkdir("folder")
os.symlink("/etc", "folder/deep")
print("left:", len(os.listdir(".")), flush=True)
