"""How much work the demo does: the full run, and the small one that the tests use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Numbers that only change how long the demo takes and how good its networks become.

    Attributes:
        seed: seeds every network and every split.
        scans: how many digit scans to use.
        image_epochs: passes over the training scans, per head.
        folds: parts of the atlas; each is tested by a network that was trained on the others.
        tested_folds: how many of those parts are in fact tested.
        graph_epochs: passes over the training graphs, per readout and part.
        rival: whether to compare with sentence-transformers, whose import takes seconds.
    """

    seed: int = 0
    scans: int = 1797
    image_epochs: int = 15
    folds: int = 3
    tested_folds: int = 3
    graph_epochs: int = 40
    rival: bool = True


FULL = Budget()
TINY = Budget(scans=300, image_epochs=1, tested_folds=1, graph_epochs=1, rival=False)
