# Where a job in an image is: languages, zones, fonts, and what it can change.
import datetime, locale, os, stat, subprocess, zoneinfo

locale.setlocale(locale.LC_ALL, "en_US.UTF-8")
noon = datetime.datetime(2026, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo"))
print(locale.format_string("%d", 1234567, grouping=True), noon.utcoffset())
fonts = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True).stdout
print([name for name in ("DejaVu Sans", "Liberation Sans", "Droid Sans Fallback") if name not in fonts])

changeable, special = [], []
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/dev", "/tmp")]
    for name in [".", *files]:
        path = os.path.join(folder, name)
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISLNK(found.st_mode):
            continue
        if found.st_mode & 0o6000:
            special.append(path)
        # By its mode, whatever else keeps the job from it.
        if found.st_mode & 0o022 or found.st_uid != 0:
            changeable.append(path)
print(changeable, special)
runner = os.stat("/usr/local/bin/sandbox-runner")
print(oct(runner.st_mode & 0o7777), runner.st_uid, os.access("/usr/local/bin/sandbox-runner", os.R_OK))
