tried("to inherit variables")
own = {"HOME", "LANG", "PATH", "TMPDIR", "USER", "LC_CTYPE"}
extra = sorted(set(os.environ) - own)
if extra:
    inherited = [name for name in extra if name in facts["variables"]] or extra
    broke(f"{len(extra)} variables that nobody gave it: " + " ".join(inherited[:5]))
held("it has " + " ".join(sorted(os.environ)))
