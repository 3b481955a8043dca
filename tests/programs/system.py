# What programs ask the system before they begin.
import getpass, grp, locale, os, platform, pwd, resource, socket, sys, time, uuid, zoneinfo

print(pwd.getpwuid(os.getuid()).pw_name == getpass.getuser() or os.getuid() != 1000, len(grp.getgrgid(os.getgid()).gr_name) > 0)
print(os.cpu_count() >= len(os.sched_getaffinity(0)) > 0, platform.system(), platform.machine(), sys.getfilesystemencoding())
print(locale.setlocale(locale.LC_ALL, "C.UTF-8"), zoneinfo.ZoneInfo("Asia/Tokyo").key, time.tzname[0] != "")
print(socket.getservbyname("https"), socket.getprotobyname("tcp"), len(socket.gethostname()) > 0)
print(uuid.uuid4().version, len(os.urandom(8)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0)
print("MemTotal" in open("/proc/meminfo").read(), "processor" in open("/proc/cpuinfo").read(), os.getloadavg()[0] >= 0)
print(os.path.exists("/dev/null"), open("/etc/os-release").readline() != "", sys.stdin.read() == "")
