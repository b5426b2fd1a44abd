"""Whatever happens to a job, no row is lost and none is there twice; whatever happens to its files, `verify` says so.

The jobs run the whole code of `embed` with an encoder that takes no time (see `faults` and `stub`). The slow tests take
more moments, the command line, Ray and the real model.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from polypool.corpus import StoppedError, embed, open_embeddings, verify
from tests.corpus.damages import DAMAGES
from tests.corpus.faults import DONE, ONCE, REFUSED, SLOW, STOPPED, Ended, Jobs, jobs
from tests.corpus.stub import KIND, contents
from tests.support import shared_data

ROWS = 40
LONG = 10 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with jobs(tmp_path_factory.mktemp("jobs")) as found:
        yield found


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of all kinds; some cannot be read, and some cannot be encoded."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    with path.open("wb") as file:
        for number in range(ROWS):
            text = f"text number {number}" + {7: " BAD", 12: " NAN", 39: " BAD"}.get(number, "")
            line = json.dumps({"id": f"row {number}", "text": text}).encode()
            file.write({20: b'{"id": "cut off"', 21: b"\xff\xfe"}.get(number, line) + b"\n")
    return path


@pytest.fixture(scope="module")
def whole(
    server: Jobs, texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], Ended]:
    """What a job leaves that nobody disturbs, and its moments."""
    out = tmp_path_factory.mktemp("whole") / "out"
    ended = server.run(texts, out, id_column="id")
    assert ended.code == DONE, ended.said
    return contents(out), ended


def every_row_is_there_once(out: Path) -> None:
    vectors = open_embeddings(out)
    quarantine = (out / "quarantine.jsonl").read_text().splitlines()
    lost = [json.loads(line)["row"] for line in quarantine]
    assert lost == [7, 20, 21, 39]
    assert list(vectors.ids) == [f"row {number}" for number in range(ROWS) if number not in lost]


def as_if_undisturbed(out: Path, whole: dict[str, bytes]) -> None:
    assert contents(out) == whole
    assert not any((out / "_job" / "tmp").iterdir())
    every_row_is_there_once(out)


def chosen(moments: tuple[str, ...], count: int) -> list[int]:
    """Moments by chance, among them those that matter most."""
    named = [
        "while writing part-000004",
        "before the rename to part-000004.parquet",
        "after the rename to part-000004.parquet",
        "while writing manifest",
        "before the rename to manifest.json",
        "after the rename to manifest.json",
        "before the rename to job.json",
        "before the rename to quarantine.jsonl",
    ]
    must = [moments.index(name) for name in named]
    rest = [place for place in range(len(moments)) if place not in must]
    return must + random.Random(7).sample(rest, count - len(must))


def test_killed_at_twenty_moments(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    wanted, undisturbed = whole
    for place in chosen(undisturbed.moments, 20):
        out = tmp_path / f"out-{place}"
        killed = server.run(texts, out, id_column="id", kill=place)
        assert killed.code == -signal.SIGKILL
        assert killed.moments[-1] == undisturbed.moments[place]
        again = server.run(texts, out, id_column="id")
        assert again.code == DONE, (undisturbed.moments[place], again.said)
        as_if_undisturbed(out, wanted)


@pytest.mark.slow
def test_killed_at_every_moment(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    wanted, undisturbed = whole
    for place, name in enumerate(undisturbed.moments):
        out = tmp_path / f"out-{place}"
        assert server.run(texts, out, id_column="id", kill=place).code == -signal.SIGKILL
        again = server.run(texts, out, id_column="id")
        assert again.code == DONE, (name, again.said)
        as_if_undisturbed(out, wanted)
        assert verify(out, sample=4).not_checked == ()


def test_a_careless_job_is_seen(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    """One that writes files in their place leaves half a file behind, and nobody makes it again."""
    undisturbed = server.run(texts, tmp_path / "undisturbed", id_column="id", careless=True)
    assert undisturbed.code == DONE
    assert contents(tmp_path / "undisturbed") == whole[0]
    place = undisturbed.moments.index("while writing part-000004")
    server.run(texts, tmp_path / "out", id_column="id", careless=True, kill=place)
    assert server.run(texts, tmp_path / "out", id_column="id", careless=True).code == DONE
    with pytest.raises(AssertionError):
        as_if_undisturbed(tmp_path / "out", whole[0])


def test_killed_again_and_again(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    """One folder, killed after some more moments each time, until a run gets through."""
    chance, kills = random.Random(3), 0
    while (
        ended := server.run(texts, tmp_path / "out", id_column="id", kill=chance.randint(4, 30))
    ).code != DONE:
        assert ended.code == -signal.SIGKILL, ended.said
        kills += 1
        assert kills < 100
    assert kills >= 4
    as_if_undisturbed(tmp_path / "out", whole[0])


def test_work_that_is_done_is_not_done_again(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    moments = whole[1].moments
    place = moments.index("after the rename to part-000006.parquet")
    server.run(texts, tmp_path / "out", id_column="id", kill=place)
    again = server.run(texts, tmp_path / "out", id_column="id")
    encoded = again.moments.count("while encoding")
    assert encoded == moments[place:].count("while encoding")
    assert 0 < encoded < moments.count("while encoding")


def test_two_jobs_on_one_output(server: Jobs, texts: Path, tmp_path: Path) -> None:
    first = server.start(texts, tmp_path / "out", id_column="id", kind=SLOW)
    _wait_for(lambda: (tmp_path / "out" / "part-000001.parquet").exists())
    second = server.run(texts, tmp_path / "out", id_column="id", kind=SLOW)
    assert second.code == REFUSED
    assert "another job" in second.said
    assert "\n" not in second.said
    ended = server.wait(first)
    assert ended.code == DONE, ended.said
    every_row_is_there_once(tmp_path / "out")
    assert verify(tmp_path / "out").not_checked == ()


def test_jobs_that_start_at_once(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    """One of them gets the folder; the others are refused, or find everything done."""
    for attempt in range(5):
        out = tmp_path / f"out-{attempt}"
        started = [server.start(texts, out, id_column="id") for _ in range(3)]
        ended = [server.wait(number) for number in started]
        assert {each.code for each in ended} <= {DONE, REFUSED}, [each.said for each in ended]
        assert all("another job" in each.said for each in ended if each.code == REFUSED)
        assert any(each.code == DONE for each in ended)
        as_if_undisturbed(out, whole[0])


def test_a_job_that_is_refused_leaves_the_lock_to_the_other(
    server: Jobs, texts: Path, tmp_path: Path
) -> None:
    """A job that fails at its start clears what it made, and not what another job has just begun."""
    for attempt in range(10):
        out = tmp_path / f"out-{attempt}"
        failing = server.start(texts, out, id_column="none")
        good = server.start(texts, out, id_column="id")
        assert server.wait(failing).code == REFUSED
        ended = server.wait(good)
        assert ended.code == DONE or "another job" in ended.said, ended.said
        if ended.code == DONE:
            every_row_is_there_once(out)
        elif out.exists():
            assert server.run(texts, out, id_column="id").code == DONE


def test_a_file_that_cannot_grow(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    """As on a full disk: the write fails half-way, the job says why, and goes on when there is room."""
    full = server.run(texts, tmp_path / "out", id_column="id", file_size=900)
    assert full.code == STOPPED
    assert "File too large" in full.said
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert server.run(texts, tmp_path / "out", id_column="id").code == DONE
    as_if_undisturbed(tmp_path / "out", whole[0])


def test_a_full_disk(
    server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no mount to make a small disk with")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        full = server.run(texts, disk / "out", id_column="id")
        assert full.code == STOPPED
        assert "No space left on device" in full.said
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True, timeout=30)
        assert server.run(texts, disk / "out", id_column="id").code == DONE
        as_if_undisturbed(disk / "out", whole[0])
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=30)


def test_rows_of_every_bad_kind(tmp_path: Path) -> None:
    """What cannot be read or encoded is named with its place; all other rows are there, the long one too."""
    path = tmp_path / "rows.csv"
    rows: list[bytes] = [
        b"id,text",
        b"a,one",
        b"b,\xff\xfe",
        b"c",
        b"a,a second time",
        b"d," + b"long " * (LONG // 5),
        b"e,this one is BAD",
        b'f,"two\nlines"',
        b"g,last",
    ]
    path.write_bytes(b"\n".join(rows) + b"\n")
    done = embed(path, tmp_path / "out", kind=KIND, id_column="id", workers=1, shard_rows=3, device="cpu")
    assert (done.rows, done.embedded, done.quarantined) == (8, 5, 3)
    assert list(open_embeddings(tmp_path / "out").ids) == ["a", "a", "d", "f", "g"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 2, 5]
    assert "invalid UTF-8" in lines[0]["reason"]
    assert "this row is bad" in lines[2]["reason"]
    assert all("line" in line["position"] for line in lines)
    found = verify(tmp_path / "out")
    assert [problem.what for problem in found.problems] == ["duplicate id"]
    assert "'a'" in str(found.problems[0])


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_named(name: str, server: Jobs, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert server.run(texts, out, id_column="id").code == DONE
    # Row 12 has a vector that is not finite, and says so.
    before = [str(problem) for problem in verify(out, sample=ROWS).problems]
    damage, what = DAMAGES[name]
    damage(out)
    found = [problem for problem in verify(out, sample=ROWS).problems if str(problem) not in before]
    assert what in [problem.what for problem in found], [str(problem) for problem in found]
    assert all("\n" not in str(problem) for problem in found)


@pytest.mark.parametrize("count", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_random_bytes_are_named(count: int, server: Jobs, texts: Path, tmp_path: Path) -> None:
    """Whatever the bytes of a file have become, it is a problem and no exception."""
    out = tmp_path / "out"
    server.run(texts, out, id_column="id")
    path = out / "part-000002.parquet"
    whole, chance = path.read_bytes(), random.Random(count)
    for _ in range(count):
        data = bytearray(whole)
        begin = chance.randrange(len(data))
        for place in range(begin, min(begin + chance.choice([1, 1, 4, 20]), len(data))):
            data[place] = chance.randrange(256)
        path.write_bytes(data)
        problems = [
            problem
            for problem in verify(out, sample=chance.choice([0, 8])).problems
            if problem.file == path.name
        ]
        assert ("checksum" in [problem.what for problem in problems]) == (data != whole)


@pytest.mark.parametrize("name", ["cut off", "empty", "removed", "one bit of the middle"])
def test_damage_is_mended_by_the_same_command(
    name: str, server: Jobs, texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    """What `verify` names is removed, if it is there; then the same command makes it again."""
    out = tmp_path / "out"
    server.run(texts, out, id_column="id")
    DAMAGES[name][0](out)
    for problem in verify(out, sample=0).problems:
        if problem.what == "checksum" and problem.file is not None:
            (out / problem.file).unlink()
    assert server.run(texts, out, id_column="id").code == DONE
    as_if_undisturbed(out, whole[0])


@contextmanager
def command(texts: Path, out: Path, *more: str, kind: str = SLOW) -> Iterator[subprocess.Popen[bytes]]:
    """The command line, in a process of its own; what it says is in a file, which keeps nobody waiting."""
    words = ["embed", str(texts), "-o", str(out), "--kind", kind, "--id-column", "id", "--shard-rows", "4"]
    root = str(Path(__file__).parents[2])
    start = "import sys; from polypool.cli import main; sys.exit(main())"
    with _said(out).open("wb") as said:
        running = subprocess.Popen(
            [sys.executable, "-c", start, *words, "--device", "cpu", *more],
            cwd=root,
            env={**os.environ, "PYTHONPATH": root},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(timeout=30)


def _said(out: Path) -> Path:
    return out.with_name(f"{out.name}.said")


def _works(pid: str) -> bool:
    """Whether a process is one of ours, and at work."""
    try:
        return b"engines.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _wait_for(done: Callable[[], object], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_the_command_with_two_workers_is_killed(
    texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path, server: Jobs
) -> None:
    """Its workers end with it, and do not disturb the next run."""
    out = tmp_path / "out"
    with command(texts, out, "--workers", "2") as running:
        _wait_for(lambda: (out / "_job" / "shards").is_dir() and any((out / "_job" / "shards").iterdir()))
        workers = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    assert len(workers) == 2
    again = server.run(texts, out, id_column="id", kind=SLOW)
    assert again.code == DONE, again.said
    _wait_for(lambda: not any(_works(pid) for pid in workers))
    _as_by_the_stub(out, whole[0])


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(
    texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    deadly = _deadly(texts, tmp_path, f"FATAL {tmp_path / 'died'}")
    done = embed(
        deadly,
        tmp_path / "out",
        kind=ONCE,
        id_column="id",
        workers=2,
        shard_rows=4,
        device="cpu",
        progress=False,
    )
    assert (tmp_path / "died").exists()
    assert (done.rows, done.embedded) == (ROWS, ROWS - 4)
    every_row_is_there_once(tmp_path / "out")


SETTINGS: dict[str, Any] = {
    "kind": ONCE,
    "id_column": "id",
    "shard_rows": 4,
    "device": "cpu",
    "progress": False,
}


@pytest.mark.slow
def test_a_worker_of_ray_that_is_killed_is_replaced(texts: Path, tmp_path: Path) -> None:
    deadly = _deadly(texts, tmp_path, f"FATAL {tmp_path / 'died'}")
    done = embed(deadly, tmp_path / "out", engine="ray", workers=2, **SETTINGS)
    assert (tmp_path / "died").exists()
    assert (done.rows, done.embedded) == (ROWS, ROWS - 4)
    every_row_is_there_once(tmp_path / "out")
    embed(deadly, tmp_path / "one", workers=1, **SETTINGS)
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


@pytest.mark.slow
def test_more_workers_than_ray_has_room_for(
    texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    """Those for whom there is no room get no shard that would wait for them."""
    script = f"""
import ray
from polypool.corpus import embed
ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 << 20)
embed({str(texts)!r}, {str(tmp_path / "out")!r}, kind={SLOW!r}, id_column="id", shard_rows=4, device="cpu",
      engine="ray", workers=3, progress=False)
"""
    root = str(Path(__file__).parents[2])
    # The last one keeps Ray on loopback, as the job's own Ray is.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    environment = {**os.environ, "PYTHONPATH": root, **quiet}
    with (tmp_path / "said").open("wb") as said:
        running = subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        code = running.wait(timeout=120)
    finally:
        with suppress(ProcessLookupError):  # with what Ray may have left of itself
            os.killpg(running.pid, signal.SIGKILL)
    assert code == 0, (tmp_path / "said").read_text()
    _as_by_the_stub(tmp_path / "out", whole[0])


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_stops_the_job(texts: Path, tmp_path: Path) -> None:
    """Nothing is written of it, and the rest is kept."""
    path = _deadly(texts, tmp_path, "DEADLY")
    with pytest.raises(StoppedError, match="shard 4"):
        embed(path, tmp_path / "out", workers=2, **SETTINGS)
    assert not (tmp_path / "out" / "part-000004.parquet").exists()
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
def test_the_command_is_killed_at_random_times(
    texts: Path, whole: tuple[dict[str, bytes], Ended], tmp_path: Path
) -> None:
    """From outside, at any time, the imports and the end too: until it gets through."""
    chance, kills = random.Random(1), 0
    while True:
        with command(texts, tmp_path / "out", "--workers", str(1 + kills % 2)) as running:
            with suppress(subprocess.TimeoutExpired):
                running.wait(timeout=chance.uniform(0.3, 4))
            if running.poll() is not None:
                break
        kills += 1
        assert kills < 60
    assert running.returncode == 1, _said(tmp_path / "out").read_text()
    assert kills
    _as_by_the_stub(tmp_path / "out", whole[0])


@pytest.mark.slow
def test_one_process_two_workers_and_ray_give_the_same_bytes(tmp_path: Path) -> None:
    """With the real model, on real sentences of many lengths."""
    from polypool.demo.encoder import find_model

    lines = shared_data("stsb-en-dev.csv").read_text(encoding="utf-8").splitlines()[:240]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = []
    for name, engine, workers in (("one", "local", 1), ("two", "local", 2), ("ray", "ray", 2)):
        embed(
            tmp_path / "texts.txt",
            tmp_path / name,
            find_model(None),
            engine=engine,
            workers=workers,
            shard_rows=32,
            device="cpu",
            progress=False,
        )
        found.append(contents(tmp_path / name))
    assert found[0] == found[1] == found[2]
    assert verify(tmp_path / "one").ok


def _deadly(texts: Path, folder: Path, text: str) -> Path:
    """The texts, one of which is another one."""
    path = folder / "deadly.jsonl"
    lines = texts.read_bytes().splitlines(keepends=True)
    lines[17] = json.dumps({"id": "row 17", "text": text}).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    return path


def _as_by_the_stub(out: Path, whole: dict[str, bytes]) -> None:
    """The slow encoder gives the vectors of the stub; only the manifest says another kind."""
    found = contents(out)
    assert {name: found[name] for name in found if name != "manifest.json"} == {
        name: whole[name] for name in whole if name != "manifest.json"
    }
    every_row_is_there_once(out)
