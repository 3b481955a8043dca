tried("to have a capability")
sets = {name: status(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
left = [f"{name} {value[0]}" for name, value in sets.items() if value and int(value[0], 16)]
if left:
    broke("not empty: " + ", ".join(left))
held("five sets are empty")
