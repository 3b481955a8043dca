"""Read by the interpreter at its start, before the program: makes matplotlib keep its figures."""

import os
import sys

# What importlib is made of. The package itself takes longer to import than all of this.
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder

FOLDER = os.path.dirname(os.path.abspath(__file__))
# Now: the program may remove the file before it draws.
with open(os.path.join(FOLDER, "displays.py"), encoding="utf-8") as file:
    SOURCE = file.read()


class Finder:
    """Adds to pyplot when, and only when, the program imports it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "matplotlib.pyplot":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                if Finder in sys.meta_path:
                    sys.meta_path.remove(Finder)
                    add_to(module)

            spec.loader.exec_module = exec_module
        return spec


def add_to(pyplot):
    try:
        names = {"__name__": "_displays"}
        exec(compile(SOURCE, "displays.py", "exec"), names)
        names["install"](pyplot, FOLDER)
    except Exception as error:
        print(f"figures cannot be shown: {error}", file=sys.stderr)


def load(spec):
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The program sees the path that it would have without this file, and the file that this one hides.
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != FOLDER]
others = os.environ.pop("PYTHONPATH", "").split(os.pathsep)[1:]
if others:
    os.environ["PYTHONPATH"] = os.pathsep.join(others)
sys.meta_path.insert(0, Finder)
hidden = PathFinder.find_spec("sitecustomize")
if hidden is not None and hidden.origin:
    sys.modules["sitecustomize"] = load(hidden)
