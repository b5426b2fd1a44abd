"""The adapter on the page about corpora does what the page says."""

from pathlib import Path

import numpy as np
import pytest
import torch

import polypool as pp
from polypool.corpus import CorpusError, embed, open_embeddings, verify
from tests.support import close, normal

PAGE = Path(__file__).parents[2] / "docs" / "corpus.md"


def code() -> str:
    blocks = [part.split("\n```")[0] for part in PAGE.read_text(encoding="utf-8").split("```python\n")[1:]]
    return next(block for block in blocks if "(Adapter)" in block) + "\n"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_adapter_of_the_page(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "signals.py").write_text(code(), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    frames = [normal(length, 8, seed=length) for length in (3, 11, 5, 7)]
    for number, each in enumerate(frames):
        np.save(recordings / f"r{number}.npy", each.numpy())
    np.save(recordings / "r9.npy", np.zeros(3))
    settings = {"shard_rows": 2, "workers": workers, "device": "cpu"}
    done = embed(recordings, tmp_path / "out", kind="signals:Signals", channels=8, **settings)  # type: ignore[arg-type]
    assert (done.embedded, done.quarantined) == (4, 1)
    vectors = open_embeddings(tmp_path / "out")
    assert list(vectors.ids) == ["r0", "r1", "r2", "r3"]
    expected = pp.build("mean+std")(pp.Packed.from_list([each.float() for each in frames]))
    close(torch.from_numpy(vectors.matrix()), expected)
    checked = verify(tmp_path / "out")
    assert (checked.ok, checked.encoded_again, checked.not_checked) == (True, 4, ())
    with pytest.raises(CorpusError, match="must be a folder"):
        embed(tmp_path / "signals.py", tmp_path / "other", kind="signals:Signals", channels=8)
