"""Found in the place of matplotlib: becomes the real one, of which the figures are kept."""

import _displays

_displays.become(__name__, globals())
