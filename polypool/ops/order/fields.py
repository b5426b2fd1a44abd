"""What order kernels are asked for, and what they keep of the tile that they work on.

A tile is a set of members by lanes: channels of a cell (rows), cells and channels of about the same length
(contiguous ones), or parts of one long cell and channel.
"""

from polypool.ops.cpu.job import OWN

#: How many quantiles, or the one of the others that is computed.
PARTS, STATISTIC = OWN, OWN + 1
TRIMMED, TOP = range(2)
#: Tables with a row for each quantile and a number for each cell; `STEP` is 0 where all cells share one, else 1. The
#: members of a cell; a rank, the members cut off at an end, or those that are kept; and the share of the next rank.
NUMBER, RANK, SHARE, STEP = range(OWN + 2, OWN + 6)
#: Tiles beside each other in a row; contiguous cells and channels in a tile; rows that fit into scratch memory.
TILES, GROUP, ROOM = range(OWN + 6, OWN + 9)
#: Results. The places of both neighbours of a quantile; or the first and the last that are kept, by value and place.
OUT, LOW_AT, HIGH_AT, LOW_VALUE, HIGH_VALUE = range(OWN + 9, OWN + 14)
#: The gradient of the result.
G_OUT = OWN + 14
#: Where the code begins that feeds tiles, and that splits those which do not fit into scratch memory.
FEED, SPLIT_LONG = OWN + 15, OWN + 16

#: Bytes of a row of a tile: 32 lanes of float32, 16 of float64.
TILE_ROW = 128
#: Rows that are brought in at a time.
CHUNK = 64

# What a thread keeps of a tile in its scratch memory, by the bytes from its beginning.

#: Single numbers, int64 each: the address of its first channel in row 0, where its cell begins in the list, its rows,
#: whether its lanes are parts of one cell, the place of its first result and how many lanes have one.
ORIGIN, BEGIN, HEIGHT, SPREAD, AT, USED = range(0, 48, 8)
#: Of the tile after it: the same, the bytes from row to row, and how many rows have been asked for.
NEXT_ORIGIN, NEXT_BEGIN, NEXT_HEIGHT, NEXT_ROW, ASKED = range(48, 88, 8)
#: What code that is called by its address is told: where the job is, and rows to feed, or which of two ends to find.
JOB, FEED_FROM, FEED_ROWS, FEED_TO, END = range(88, 128, 8)
#: Of each lane, int64: where its numbers begin, how many there are, where their weights are, and where the next one of
#: those that are collected goes.
BASE, EXTENT, SHARES, CURSOR = range(128, 1152, 256)
#: Vectors: members and those that are not NaN, the smallest and the largest, the place of a lane's first member.
N, PRESENT, SMALLEST, LARGEST, SHIFT = range(1152, 1792, 128)
#: The members that belong before the split that is sought, and as many of them as there are; whether one less will
#: do; two keys between which it lies, and how many members are less than each.
SPLIT, GOAL, SLACK, LOW, HIGH, BELOW, UPTO = range(1792, 2688, 128)
#: What is found around it: the last member below, the first one above, members equal to it and the places of two.
UNDER, UNDER_AT, OVER, OVER_AT, SEEN, TIE, NEXT_TIE = range(2688, 3584, 128)
#: The ends of what is kept, and its sum in float64.
FIRST_VALUE, FIRST_AT, LAST_VALUE, LAST_AT, TOTAL = range(3584, 4224, 128)
#: What the tables say of the cells of the tile: ranks and shares of the next one. Keys that are
#: tried, two by two, each time followed by what is less than the one and the other.
RANKS, PARTIAL, OUTER, INNER = 4352, 4480, 4608, 5120
#: Ones, in memory. A compiler that knows them makes two operations of an addition where a mask is set.
ONES = 5632
#: A square of numbers on its way from lanes to rows, the rows of a chunk, and the staged rows of a tile.
SQUARE, ROWS_OF_CHUNK = 5760, 6784
STAGED_ROWS = ROWS_OF_CHUNK + CHUNK * TILE_ROW
