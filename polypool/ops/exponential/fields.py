"""What exponential kernels are asked for, and what they keep of a cell.

Everything is to base two and about the largest member of the cell: with `k2 = k log2 e` and `y = k2 (x - top)`, which
is at most 0, a member counts `2^y`. Where k is negative, the smallest member takes the place of the largest.
"""

from polypool.ops.cpu.job import OWN

LEVEL = OWN
#: k2 of each channel and 1 / k2 of each, how many there are where cells are contiguous, and whether some k is negative.
EXPONENT, INVERSE, PERIOD, NEGATIVE = OWN + 1, OWN + 2, OWN + 3, OWN + 4
#: Results of each cell. `TOP` and `SHARE_OF_ONE`, which is `1 / sum w 2^y`, are kept for the way back.
OUT, TOP, SHARE_OF_ONE = OWN + 5, OWN + 6, OWN + 7
#: Of an average: `mean y` under its weights, kept for the way back. And the derivative of the result by k, or by t.
MEAN_EXPONENT, SLOPE = OWN + 8, OWN + 9
#: The gradients of the results; for a density, what they add up to. And its own, as bytes from the values to it.
G_OUT, G_DENSITY = OWN + 10, OWN + 11

#: What is computed of each cell: an average or a log-mean-exp, each without its slope or with it.
AVERAGE, AVERAGE_SLOPE, LOG_MEAN, LOG_MEAN_SLOPE = range(4)
#: What is written for each member: its density; the gradient of a log-mean-exp, of an average, or of a density.
DENSITY, OF_LOG_MEAN, OF_AVERAGE, OF_DENSITY = range(4)
#: Numbers (float64) of each channel that a piece leaves: top, `sum w 2^y`, `sum w 2^y y`, and `sum w 2^y y^2` or
#: `sum w (2^y - 1)`; then the mass.
STATE = 5
