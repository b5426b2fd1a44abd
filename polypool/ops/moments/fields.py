"""What moments kernels are asked for, and what they keep of a cell that is not finished."""

from polypool.ops.cpu.job import OWN

#: Where results go, or come from in a backward pass; 0 for those that are not wanted.
LEVEL, SUM, MEAN, M2, M3, M4, MAX, MIN, ARGMAX, ARGMIN = range(OWN, OWN + 10)
#: Where the gradients of results come from, and where the gradient of the weights goes.
G_SUM, G_MEAN, G_M2, G_M3, G_M4, G_MAX, G_MIN, GRAD_WEIGHT = range(OWN + 10, OWN + 18)

#: How much is computed: each level holds the ones below.
SUMS, EXTREMES, SPREAD, SHAPE = range(4)
#: Of a backward pass: gradients that are the same for a whole cell, those of extremes, of second and of higher moments.
EVEN, CHOSEN, LINEAR, CUBIC = range(4)
#: Numbers (float64) of each channel: total, m2, m3, m4, max, min, and where these are; and, by head, mass and members.
STATE = 10
