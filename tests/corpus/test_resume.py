"""Going on after a stop: the same files as without it, and no other job on top of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polypool.corpus import CorpusError, verify
from polypool.corpus import manifest as manifest_module
from tests.corpus.stub import contents, lines, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """What a run without any stop writes."""
    run(lines(tmp_path, 18), tmp_path / "whole")
    return contents(tmp_path / "whole")


class Killed(BaseException):
    """As sudden as a signal: nothing that handles errors sees it."""


@pytest.mark.parametrize("at", range(14))
def test_stopped_before_each_rename(
    at: int, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job, records, shards, manifest: whichever file is not in its place, the next run ends the same."""
    from polypool.corpus import stores

    done = 0
    original = stores.rename

    def rename(temporary: Path, final: Path) -> None:
        nonlocal done
        done += 1
        if done > at:
            raise Killed
        original(temporary, final)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(stores, "rename", rename)
        stopped = False
        try:
            run(tmp_path / "texts.txt", out)
        except Killed:
            stopped = True
    assert stopped == (at < 12), "1 job, 5 records, 5 shards, 1 manifest"
    run(tmp_path / "texts.txt", out)
    assert contents(out) == whole


def remove_shard(out: Path) -> None:
    (out / "part-000002.parquet").unlink()


def cut_shard(out: Path) -> None:
    os.truncate(out / "part-000001.parquet", 100)


def remove_record(out: Path) -> None:
    (out / manifest_module.record_name(3)).unlink()


def break_record(out: Path) -> None:
    (out / manifest_module.record_name(3)).write_text("{")


def remove_manifest(out: Path) -> None:
    (out / "manifest.json").unlink()


def change_manifest(out: Path) -> None:
    (out / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "made"),
    [
        (remove_shard, 1),
        (cut_shard, 1),
        (remove_record, 1),
        (break_record, 1),
        (remove_manifest, 0),
        (change_manifest, 0),
    ],
)
def test_what_is_missing_is_made_again(
    damage: Callable[[Path], None], made: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    damage(tmp_path / "whole")
    assert run(tmp_path / "texts.txt", tmp_path / "whole").made == made
    assert contents(tmp_path / "whole") == whole


def test_a_finished_job_is_left_alone(whole: dict[str, bytes], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir() if path.is_file()}
    assert run(tmp_path / "texts.txt", tmp_path / "whole").made == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert contents(tmp_path / "whole") == whole


def test_the_input_and_the_folder_may_move(whole: dict[str, bytes], tmp_path: Path) -> None:
    """What matters is what they hold."""
    (tmp_path / "texts.txt").rename(tmp_path / "elsewhere.txt")
    (tmp_path / "whole").rename(tmp_path / "moved")
    remove_shard(tmp_path / "moved")
    assert run(tmp_path / "elsewhere.txt", tmp_path / "moved").made == 1
    found = contents(tmp_path / "moved")
    now, before = json.loads(found.pop("manifest.json")), json.loads(whole.pop("manifest.json"))
    assert found == whole
    assert (now["shards"], now["inputs"]) == (before["shards"], [str(tmp_path / "elsewhere.txt")])
    assert verify(tmp_path / "moved").not_checked == ()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "other"}, "model.sha256 was a7937b64b8ca..., is now"),
        ({"dimension": 5}, "dimension was 4, is now 5"),
        ({"shard_rows": 5}, "input.shard_rows was 4, is now 5"),
        ({"dtype": "float16"}, "vectors.dtype was 'float32', is now 'float16'"),
        ({"threads": 2}, "compute.threads was 1, is now 2"),
    ],
)
def test_another_job_is_refused(
    settings: dict[str, Any], said: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match="was begun as another job") as error:
        run(tmp_path / "texts.txt", tmp_path / "whole", **settings)
    assert said.split(" was ")[0] in str(error.value)
    assert said.partition(", is now")[2] in str(error.value)
    assert contents(tmp_path / "whole") == whole


def test_another_input_is_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    with (tmp_path / "texts.txt").open("a") as file:
        file.write("one more\n")
    with pytest.raises(CorpusError, match=r"input.files\[0\].rows was 18, is now 19") as error:
        run(tmp_path / "texts.txt", tmp_path / "whole")
    assert "\n" not in str(error.value)
    assert contents(tmp_path / "whole") == whole


def test_versions_that_changed_are_kept(
    whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polypool.corpus import job

    remove_shard(tmp_path / "whole")
    monkeypatch.setattr(job, "versions", lambda packages: {"torch": "99.0"})
    run(tmp_path / "texts.txt", tmp_path / "whole")
    found = json.loads((tmp_path / "whole" / "manifest.json").read_text())
    assert len(found["versions"]) == 2
    assert found["versions"][1] == {"torch": "99.0"}
    assert found["shards"] == json.loads(whole["manifest.json"])["shards"]


# What a shell starts in the background is deaf to interrupts, and so is all that it starts, unless it says otherwise.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.corpus import stub
encode = stub.Stub.encode
stub.Stub.encode = lambda self, rows, tick: (time.sleep(0.05), encode(self, rows, tick))[1]
from polypool.cli import main
sys.exit(main(sys.argv[1:]))
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The command line; what it says is in the file `said`."""
    words = ["embed", str(folder / "many.txt"), "-o", str(folder / "out"), "--kind", "tests.corpus.stub:Stub"]
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-c", SLOW, *words, "--shard-rows", "4", "--device", "cpu", "--workers", "1"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def wait_for(path: Path) -> None:
    for _ in range(2000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.parametrize(
    ("how", "code"), [pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow), (signal.SIGINT, 130)]
)
def test_killed_and_interrupted(how: signal.Signals, code: int, tmp_path: Path) -> None:
    many, out = lines(tmp_path, 200, "many.txt"), tmp_path / "out"
    job = start(tmp_path)
    try:
        wait_for(out / "part-000002.parquet")
        with pytest.raises(CorpusError, match=rf"another job \(process {job.pid}\) is writing to {out}"):
            run(many, out)
        job.send_signal(how)
        job.wait(timeout=40)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait(timeout=10)
    assert job.returncode == code
    if how is signal.SIGINT:
        said = (tmp_path / "said").read_text()
        assert said == f"polypool: stopped. What is done is in {out}; the same command continues.\n"
    assert not (out / "manifest.json").exists()
    done = run(many, out)
    assert 0 < done.made < 50
    run(many, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert verify(out).ok
