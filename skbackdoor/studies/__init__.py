"""Many experiments as one table: grids of cells that are kept, and slopes over a grid."""

from .slope_grid import SlopeGrid, slope_grid
from .study import Study

__all__ = ["SlopeGrid", "Study", "slope_grid"]
