"""Keeps each figure that the program shows, or draws and does not save where it is seen."""

import atexit
import io
import os
import sys
from importlib.machinery import PathFinder

FOLDER = os.path.dirname(os.path.abspath(__file__))


class Finder:
    """Adds to pyplot when, and only when, the program imports it."""

    @classmethod
    def enter(cls):
        sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != FOLDER]
        sys.meta_path.insert(0, cls)

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "matplotlib.pyplot":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                if cls in sys.meta_path:
                    sys.meta_path.remove(cls)
                    add_to(module)

            spec.loader.exec_module = exec_module
        return spec


def add_to(pyplot):
    try:
        install(pyplot, FOLDER)
    except Exception as error:
        print(f"figures cannot be shown: {error}", file=sys.stderr)


def install(pyplot, folder):
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    workspace = os.path.dirname(folder)
    pictures = (".png", ".jpg", ".jpeg", ".gif", ".webp")
    save = Figure.savefig
    shown = []

    def savefig(figure, name, *args, **options):
        result = save(figure, name, *args, **options)
        if is_seen(name, options.get("format")):
            settle(figure)
        return result

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
        if getattr(figure, "_settled", False) and not figure.stale or not figure.get_children()[1:]:
            return
        try:
            image = io.BytesIO()
            save(figure, image, format="png", bbox_inches="tight")
            settle(figure)
            keep.count += 1
            os.makedirs(folder, exist_ok=True)
            # Other processes of the program have figures, too.
            path = os.path.join(folder, f"figure-{os.getpid():07}-{keep.count:03}.png")
            # Whole or not at all: a program may be killed at any time.
            with open(path + ".part", "wb") as file:
                file.write(image.getvalue())
            os.rename(path + ".part", path)
        except Exception as error:
            print(f"a figure could not be shown: {error}", file=sys.stderr)

    keep.count = 0

    def show(*args, **options):
        """As in a notebook: what was shown is done, and what is drawn next is a new figure."""
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            keep(figure)
            shown[:] = [figure]
        pyplot.close("all")

    def save_current(*args, **options):
        """Models also save after they show; then the figure that they mean is the one shown."""
        if shown and not pyplot.get_fignums():
            return shown[0].savefig(*args, **options)
        return save_last(*args, **options)

    def at_exit():
        for number in pyplot.get_fignums():
            keep(pyplot.figure(number))

    save_last = pyplot.savefig
    Figure.savefig = savefig
    Figure.show = lambda figure, *args, **options: keep(figure)
    pyplot.savefig = save_current
    pyplot.show = show
    # Between the steps of an animation; only its last state is shown.
    pyplot.pause = lambda interval: None
    atexit.register(at_exit)
