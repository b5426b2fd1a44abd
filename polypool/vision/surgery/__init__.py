"""Finding the places where a model pools, and putting something else there."""

from polypool.vision.surgery.insertion import insert_se
from polypool.vision.surgery.listing import sites
from polypool.vision.surgery.report import Report, Swapped
from polypool.vision.surgery.signed_gem import SignedGeMPool
from polypool.vision.surgery.site import Site
from polypool.vision.surgery.swapping import swap

__all__ = ["Report", "SignedGeMPool", "Site", "Swapped", "insert_se", "sites", "swap"]
