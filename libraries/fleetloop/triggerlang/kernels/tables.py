"""What stands where in the tables that the kernels share.

Nothing is allocated while a vehicle is evaluated. Registers are stretches of four pools (``T`` instants and ids,
``F`` numbers, ``C`` codes, ``P`` positions), filled from the same place for every vehicle; what does not fit is
reported as a need, and the caller comes again with larger pools.
"""

from __future__ import annotations

# places in the tables of one vehicle
TL_AT, TL_LEN, TL_NEW, TL_KEEP, TL_RAW, TL_COLUMN, TL_TAIL, TL_ROWS, TL_CADENCE, TL_GAP = range(10)
CAD_AT, CAD_LEN, CAD_ID, CAD_COLUMN = range(4)
Q_AT, Q_LEN, Q_SHIFT, Q_ID, Q_GROUP, Q_TIMELINE, Q_CADENCE = range(7)
G_LISTS, G_FIRST, G_IDS, G_ENTRIES, G_TIMES, G_BEGINS, G_TRACKS, G_OWNER, G_ORDER, G_ID = range(10)
# tops of the pools
TOP_T, TOP_F, TOP_C, TOP_P, NEXT_ID, TIMELINES, CADENCES = range(7)
MEMO = 4096
# rooms that may be too small
FULL_CANDIDATES, FULL_DETAILS, FULL_PACKED, FULL_POOLS, FULL_PAGE = -1, -2, -3, -4, -5
