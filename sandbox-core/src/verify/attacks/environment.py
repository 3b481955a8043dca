tried("to inherit variables")
own = {"HOME", "LANG", "PATH", "TMPDIR", "USER", "LC_CTYPE"}
# How many threads libraries start.
pools = {f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "RAYON")}
pools |= {"POLARS_MAX_THREADS"}
try:
    # As it was when the program began: modules may have added to os.environ.
    given = {entry.partition(b"=")[0].decode("utf-8", "replace") for entry in open("/proc/self/environ", "rb").read().split(b"\0") if entry}
except OSError:
    given = set(os.environ)
extra = sorted(given - own - pools)
if extra:
    inherited = [name for name in extra if name in facts["variables"]] or extra
    broke(f"{len(extra)} variables that nobody gave it: " + " ".join(inherited[:5]))
held("it has " + " ".join(sorted(given - pools)))
