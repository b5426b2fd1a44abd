"""What power kernels are asked for, and what they keep of a cell.

A cell is known as the largest `top` of its members and `sum w (|x| / top)^p`, so that no power overflows. While float32
can hold `sum w |x|^p` itself, the top is 1: that takes one pass instead of two.
"""

from polypool.ops.cpu.job import OWN

#: p of each of `PERIOD` channels; `STEP` bytes from one channel to the next, 0 for one p.
POWERS, STEP, PERIOD = OWN, OWN + 1, OWN + 2
#: p where every p is the same and it is 1, 2 or 3; otherwise 0.
PRODUCTS = OWN + 3
#: Whether to begin with a top of 1.
PLAIN = OWN + 4
#: Whether powers keep the sign of their number.
SIGNED = OWN + 5
#: Where the number is that members are clamped to from below: NaN where they are not.
FLOOR = OWN + 6
#: The result of each cell; where the gradient of it comes from, and where that of p goes, one row for each work item.
OUT, G_OUT, G_POWER = OWN + 7, OWN + 8, OWN + 9

#: Numbers (float64) of each channel: the sum, top, and the mass.
STATE = 3
