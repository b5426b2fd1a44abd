"""Kernels are compiled on first use, kept on disk, and compiled anew when a kernel's source changes."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch

from polypool.ops.cpu import compiler, team
from polypool.ops.cpu.job import OWN, SIZE
from tests.ops.cpu.test_team import child
from tests.ops.cpu.tiny import describe_vectors

#: Lanes of wide and of short vectors, and bytes in a lane.
VECTORS = {torch.float32: 64 * 10_000 + 16 * 10 + 4, torch.float64: 32 * 10_000 + 8 * 10 + 8}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what is compiled, and nothing compiled yet."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiler, "_compiled", {})
    return tmp_path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.nb?")}


def run(address: int, threads: int = 1) -> int:
    job = np.zeros(SIZE, np.int64)
    team.launch("describe_vectors", address, job, threads)
    assert job[OWN + 1] >= 1
    return int(job[OWN])


@pytest.mark.parametrize("dtype", VECTORS)
def test_vectors_of_each_precision(cache: Path, dtype: torch.dtype) -> None:
    address = compiler.address(describe_vectors, dtype)
    assert run(address) == VECTORS[dtype]
    assert run(address, 3) == 3 * VECTORS[dtype]
    assert len(files(cache)) == 2


def test_once_in_a_process(cache: Path) -> None:
    address = compiler.address(describe_vectors, torch.float32)
    before = files(cache)
    shutil.rmtree(cache)
    assert compiler.address(describe_vectors, torch.float32) == address
    assert before
    assert not files(cache)


def test_threads_of_python_that_all_come_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One compiles, the others wait for it."""
    compiled: list[str] = []
    compile_ = compiler._compile

    def counted(kernel: Callable[[Any], None], dtype: torch.dtype) -> Any:
        compiled.append(kernel.__name__)
        return compile_(kernel, dtype)

    monkeypatch.setattr(compiler, "_compile", counted)
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: compiler.address(describe_vectors, torch.float64), range(8)))
    assert len(found) == 1
    assert compiled == ["describe_vectors"]


def test_what_other_processes_compiled_is_found(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once compile it, both rightly; this one reads it and writes nothing."""
    source = shutil.copy(Path(__file__).with_name("tiny.py"), cache)

    def one(_: int) -> Any:
        return child("compiled", str(cache), NUMBA_CACHE_DIR=str(cache))

    with ThreadPoolExecutor(2) as both:
        first = list(both.map(one, range(2)))
    assert all(found["warnings"] == [] for found in first)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}
    assert len(kept) == 4
    kernel = module_of(source, monkeypatch).describe_vectors
    for dtype in VECTORS:
        assert run(compiler.address(kernel, dtype)) == VECTORS[dtype]
    assert [each.cache_hits for each in compiler._compiled.values()] == [1, 1]
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")} == kept


def module_of(source: str | Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module from its file, wherever that is."""
    spec = importlib.util.spec_from_file_location("tiny", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "tiny", module)
    return module


def test_nowhere_to_keep_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where it was told to, nor beside the source, nor in the user's folder: it runs, and says so once."""
    source = shutil.copy(Path(__file__).with_name("tiny.py"), cache)
    (cache / "__pycache__").write_text("a file, where a folder should be made")
    nowhere = str(cache / "tiny.py" / "below a file")
    monkeypatch.setattr(numba.config, "CACHE_DIR", nowhere)
    for variable in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, nowhere)
    kernel = module_of(source, monkeypatch).describe_vectors
    compiler._say_uncached.cache_clear()
    try:
        with pytest.warns(UserWarning, match="polypool cannot write its compiled kernels to disk") as caught:
            addresses = {dtype: compiler.address(kernel, dtype) for dtype in VECTORS}
    finally:
        compiler._say_uncached.cache_clear()
    assert {dtype: run(address) for dtype, address in addresses.items()} == VECTORS
    assert len(caught) == 1
    assert "Set NUMBA_CACHE_DIR to a folder that can be written." in str(caught[0].message)
    assert not files(cache)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_what_was_kept_is_spoilt(cache: Path, suffix: str) -> None:
    """A full disk or a power cut leaves half a file: it is compiled once more, and nothing fails."""
    compiler.address(describe_vectors, torch.float32)
    for path in cache.rglob(f"*.{suffix}"):
        path.write_bytes(path.read_bytes()[:20])
    compiler._compiled.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(compiler.address(describe_vectors, torch.float32)) == VECTORS[torch.float32]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of one kind")
def test_a_processor_without_half_precision(tmp_path: Path) -> None:
    """LLVM would call a function that is not there and end the process, though no number is in half precision."""
    found = child(
        "old_processor", NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="+sse2", NUMBA_CACHE_DIR=str(tmp_path)
    )
    wanted = [float(i) for i in range(-8, 8)]
    assert found["torch.bfloat16"] == wanted
    assert found["torch.float16"] in (wanted, [0.0] * 16), "widened, or left to the definition"


def test_a_changed_source_is_another_kernel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba itself looks at the file of the function alone, not at what the function calls."""
    compiler.address(describe_vectors, torch.float32)
    before = files(cache)
    monkeypatch.setattr(compiler, "_fingerprint", lambda: "0123456789abcdef")
    compiler._compiled.clear()
    compiler.address(describe_vectors, torch.float32)
    new = files(cache) - before
    assert len(new) == 2
    assert all("float32_0123456789abcdef" in name for name in new)


def test_the_fingerprint_is_that_of_all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ops = Path(compiler.__file__).parents[1]
    copy = tmp_path / "ops"
    shutil.copytree(ops, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiler, "__file__", str(copy / "cpu" / "compiler.py"))

    def fingerprint() -> str:
        found: str = compiler._fingerprint.__wrapped__()
        return found

    first = fingerprint()
    assert len(first) == 16
    assert fingerprint() == first
    seen = {first}
    for changed in ("cpu/vec.py", "moments/rows.py", "source.py"):
        source = copy / changed
        source.write_text(source.read_text() + "\n")
        seen.add(fingerprint())
    (copy / "moments" / "fold.py").rename(copy / "moments" / "folded.py")
    seen.add(fingerprint())
    assert len(seen) == 5
    (copy / "moments" / "notes.txt").write_text("not a source")
    assert fingerprint() in seen
