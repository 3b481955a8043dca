import fcntl, glob, gzip, lzma, mmap, os, pathlib, shelve, shutil, tarfile, tempfile, zipfile

with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile() as file:
    file.write(b"x" * 100); file.flush()
    shutil.copy(file.name, pathlib.Path(folder, "copy"))
    print(os.stat(pathlib.Path(folder, "copy")).st_size)
with zipfile.ZipFile("z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("a/b.txt", "data")
zipfile.ZipFile("z.zip").extractall("out")
with tarfile.open("t.tar.xz", "w:xz") as archive:
    archive.add("out")
print(tarfile.open("t.tar.xz").getnames(), gzip.decompress(gzip.compress(b"g")), lzma.decompress(lzma.compress(b"l")))
with open("locked", "w+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_EX)
    file.truncate(4096)
    with mmap.mmap(file.fileno(), 4096) as view:
        view[:4] = b"mmap"
print(open("locked", "rb").read(4), sorted(glob.glob("out/**/*.txt", recursive=True)))
with shelve.open("s") as shelf:
    shelf["k"] = [1]
os.symlink("locked", "link"); os.chmod("locked", 0o600); os.utime("locked", (1, 1))
print(os.readlink("link"), os.path.getmtime("link"), pathlib.Path.home().is_dir(), os.access(tempfile.gettempdir(), os.W_OK))
