"""Keeps each figure that the program shows, or draws and does not save where it is seen."""

import atexit
import functools
import io
import os
import sys
import time
from importlib.util import module_from_spec

FOLDER = os.path.dirname(os.path.abspath(__file__))


def become(name, names):
    """Makes of a module that is being imported, of these names, the one that it stands before."""
    # From here on the program has the path that is its own.
    sys.path[:] = [entry for entry in sys.path if not is_here(entry)]
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    names.clear()
    names.update(vars(module_from_spec(spec)))
    sys.meta_path.insert(0, Finder)
    # Other threads wait for it, as for any module.
    spec._initializing = True
    try:
        spec.loader.exec_module(sys.modules[name])
    finally:
        spec._initializing = False


def is_here(entry):
    try:
        return os.path.abspath(entry) == FOLDER
    except (OSError, TypeError):
        return False


def find_spec(name, path=None, target=None):
    """What would be found without this."""
    for finder in sys.meta_path:
        if finder is not Finder and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


class Finder:
    """Adds to pyplot when, and only when, the program imports it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "matplotlib.pyplot":
            return None
        spec = find_spec(name, path, target)
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
        install(pyplot)
    except Exception as error:
        print(f"figures cannot be shown: {error}", file=sys.stderr)


def install(pyplot):
    from matplotlib import get_backend, rcParams
    from matplotlib._pylab_helpers import Gcf
    from matplotlib.figure import Figure

    workspace = os.path.dirname(FOLDER)
    pictures = (".png", ".jpg", ".jpeg", ".gif", ".webp")
    count = 0
    # The figure that was shown last and is closed.
    shown = None

    def replace(owner, name):
        """What is replaced keeps its name and signature; it can be pickled, for one."""
        original = getattr(owner, name)

        def with_original(function):
            @functools.wraps(original)
            def replacement(*args, **options):
                return function(original, *args, **options)

            setattr(owner, name, replacement)
            return original

        return with_original

    def open_figures():
        """By their numbers; pyplot's own way to them would change which is the current one."""
        managers = sorted(Gcf.get_all_fig_managers(), key=lambda manager: manager.num)
        return {manager.num: manager.canvas.figure for manager in managers}

    def is_seen(name, format):
        """Whether what was saved is a picture among the files that the program leaves."""
        if not isinstance(name, (str, os.PathLike)):
            return False
        path = os.path.abspath(os.fspath(name))
        end = "." + (format or rcParams["savefig.format"])
        if not format and os.path.splitext(path)[1]:
            end = os.path.splitext(path)[1]
        return path.startswith(workspace + os.sep) and end.lower() in pictures

    def settle(figure):
        figure._settled = True
        # From here on it says whether something was drawn since.
        figure.stale = False

    def keep(figure):
        nonlocal count
        is_done = getattr(figure, "_settled", False) and not figure.stale
        if is_done or not figure.get_children()[1:]:
            return
        try:
            image = io.BytesIO()
            save(figure, image, format="png", bbox_inches="tight")
            settle(figure)
            # A figure that stays open is one, whatever is drawn on it later.
            if not is_kept(figure):
                count += 1
                # Other processes of the program have figures, too.
                name = f"figure-{os.getpid():07}-{count:03}.png"
                figure._place = os.path.join(FOLDER, name)
            os.makedirs(FOLDER, exist_ok=True)
            # Whole or not at all: a program may be killed at any time.
            with open(figure._place + ".part", "wb") as file:
                file.write(image.getvalue())
            os.rename(figure._place + ".part", figure._place)
        except Exception as error:
            print(f"a figure could not be shown: {error}", file=sys.stderr)

    def is_kept(figure):
        return getattr(figure, "_place", None) is not None

    def keep_last(figure):
        """Once more, as it is now: drawing it on a screen has made of it what is not stale."""
        figure.stale = True
        keep(figure)

    @replace(Figure, "savefig")
    def save(original, figure, *args, **options):
        result = original(figure, *args, **options)
        if is_seen(args[0] if args else options.get("fname"), options.get("format")):
            settle(figure)
        return result

    @replace(Figure, "show")
    def _(original, figure, *args, **options):
        keep(figure)

    @replace(pyplot, "show")
    def _(original, *args, block=None, **options):
        """As in a notebook: what was shown is done, and what is drawn next is a new figure."""
        nonlocal shown
        figures = list(open_figures().values())
        for figure in figures:
            keep(figure)
        if get_backend().startswith("module://"):
            # The program's own, or one that prints.
            return original(*args, **options, **({} if block is None else {"block": block}))
        if block or block is None and not pyplot.isinteractive():
            shown = figures[-1] if figures else shown
            close("all")

    @replace(pyplot, "close")
    def close(original, *args, **options):
        """What was shown and stayed open is kept as it was at last."""
        before = open_figures()
        result = original(*args, **options)
        for number in before.keys() - open_figures().keys():
            if is_kept(before[number]):
                keep_last(before[number])
        return result

    @replace(pyplot, "savefig")
    def _(original, *args, **options):
        """Models also save after they show; then the figure that they mean is the one shown."""
        if shown is not None and not pyplot.get_fignums():
            return shown.savefig(*args, **options)
        return original(*args, **options)

    @replace(pyplot, "pause")
    def _(original, interval):
        """Between the steps of an animation, of which the last state is kept."""
        time.sleep(interval)

    @atexit.register
    def _():
        for figure in open_figures().values():
            keep_last(figure) if is_kept(figure) else keep(figure)
