"""Found in the place of matplotlib: brings the real one, of which the figures are kept."""

import sys

from _displays import Finder

# From here on this folder is not looked into, and the program has the path that is its own.
Finder.enter()
del sys.modules[__name__]
import matplotlib

# A thread may have found this module meanwhile, and waited for it.
__getattr__ = matplotlib.__getattribute__
