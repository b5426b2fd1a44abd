"""What `polypool.graph` offers, and what it says where PyG is missing."""

import subprocess
import sys

import pytest

from polypool import graph


def test_every_name_is_there() -> None:
    assert all(hasattr(graph, name) for name in graph.__all__)
    with pytest.raises(AttributeError, match=r"module 'polypool\.graph' has no attribute 'pool'"):
        _ = graph.pool


def test_without_pyg() -> None:
    program = """
import sys
sys.modules["torch_geometric"] = None
import polypool
try:
    polypool.graph
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == (
        "polypool.graph needs torch-geometric, which is not installed. pip install polypool[graph]."
    )


def test_readouts_do_not_load_coarsening() -> None:
    program = "import sys, polypool.graph; print('polypool.graph.coarsen' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "False", done.stderr
