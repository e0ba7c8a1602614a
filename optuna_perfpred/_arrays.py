"""The arrays that the package speaks of."""

import numpy as np
import numpy.typing as npt


Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
