"""Images: what is read, what the network sees, and what is pooled."""

import io
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import polypool as pp
from polypool.corpus import CorpusError, embed, open_embeddings
from polypool.corpus.adapter import Row, Source, Unreadable, no_tick
from polypool.corpus.images import MEAN, STD, ImageAdapter
from polypool.corpus.networks import load_network
from polypool.corpus.pictures import FITS, Picture, Preparation
from polypool.corpus.plan import make_plan, read_shard
from tests.corpus.nets import CHANNELS
from tests.support import close

NETS = "tests.corpus.nets"
MAPS = f"{NETS}:maps"


def drawn(height: int, width: int, seed: int) -> Image.Image:
    """Smooth colours, another picture for each seed."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + seed) + channel) + np.cos(columns / (4 + channel)) for channel in range(3)]
    return Image.fromarray((63 * np.stack(waves, -1) + 127).clip(0, 255).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images in a folder and one below it, beside what is none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for seed, (name, size) in enumerate(
        {
            "b.png": (20, 30),
            "a.jpg": (24, 24),
            "c.webp": (40, 16),
            "more/d.png": (16, 16),
            "e.PNG": (12, 90),
        }.items()
    ):
        drawn(*size, seed).save(folder / name)
    (folder / "labels.csv").write_text("a,1\n")
    (folder / ".thumb.png").write_bytes(b"")
    return folder


def rows_of(sources: list[Source], shard_rows: int = 100) -> list[Row | Unreadable]:
    plan = make_plan(sources, shard_rows)
    return [row for shard in plan.shards for _, row in read_shard(sources, shard)]


def run(inputs: Any, out: Path, **settings: Any) -> Any:
    wanted: dict[str, Any] = {
        "model": MAPS,
        "size": 16,
        "workers": 1,
        "device": "cpu",
        "progress": False,
    } | settings
    return embed(inputs, out, kind="images", **wanted)


def loaded(**settings: Any) -> ImageAdapter:
    wanted: dict[str, Any] = {"model": MAPS, "size": 16} | settings
    adapter = ImageAdapter(**wanted)
    adapter.load("cpu")
    return adapter


def test_a_folder_becomes_vectors_of_the_pooled_maps(photos: Path, tmp_path: Path) -> None:
    done = run(photos, tmp_path / "out", pool="mean+max")
    vectors = open_embeddings(tmp_path / "out")
    assert done.embedded == 5
    assert done.complete
    assert list(vectors.ids) == ["a.jpg", "b.png", "c.webp", "e.PNG", "more/d.png"]
    assert vectors.manifest["versions"][0]["pillow"] == version("pillow")
    # By hand, from the file to the vector.
    image = Image.open(photos / "a.jpg").resize((16, 16), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
    pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    features = load_network(MAPS, "cpu")(pixels[None])
    expected = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
    close(torch.from_numpy(vectors[:1]), expected)
    table = pq.read_table(tmp_path / "out" / "part-000000.parquet")
    assert table.column("n_tokens").to_pylist() == [16] * 5
    assert table.column("truncated").to_pylist() == [False, True, True, True, False]


@pytest.mark.parametrize("pool", pp.names("grid"))
def test_every_pooling_without_random_weights_does(pool: str) -> None:
    if pp.card(pool).learnable and pool != "gem":
        with pytest.raises(CorpusError, match="would be random"):
            loaded(pool=pool)
        return
    adapter = loaded(pool=pool)
    picture = Preparation(16)(png(drawn(16, 16, 1)))
    found = adapter.encode([picture], no_tick)
    assert found.vectors.shape == (1, adapter.dimension)
    assert np.isfinite(found.vectors).all()


def test_a_trained_pooling_by_callable() -> None:
    adapter = loaded(pool=f"{NETS}:attention")
    picture = Preparation(16)(png(drawn(16, 16, 1)))
    other = loaded(pool="mean").encode([picture], no_tick).vectors
    found = adapter.encode([picture], no_tick).vectors
    assert found.shape == (1, CHANNELS)
    assert not np.allclose(found, other)


@pytest.mark.parametrize("fit", FITS)
def test_a_vector_does_not_depend_on_the_images_beside_it(fit: str) -> None:
    preparation = Preparation(24, fit)
    pictures = [
        preparation(png(drawn(height, width, seed)))
        for seed, (height, width) in enumerate([(24, 24), (12, 24), (24, 12), (7, 24), (12, 24), (50, 40)])
    ]
    adapter = loaded(size=24, fit=fit, batch=4, pool="mean+max+std")
    together = adapter.encode(pictures, no_tick)
    for place, picture in enumerate(pictures):
        alone = adapter.encode([picture], no_tick)
        close(torch.from_numpy(together.vectors[place : place + 1]), torch.from_numpy(alone.vectors))
        assert together.tokens[place] == alone.tokens[0]


def test_padding_is_not_pooled() -> None:
    """With one position for each 4 x 4 pixels, a padded image has the positions of the image itself."""
    picture = Preparation(24, "pad")(png(drawn(12, 24, 3)))
    assert picture.pixels.shape == (12, 24, 3)
    padded = loaded(model=f"{NETS}:patches", size=24, fit="pad", pool="mean+std+min").encode(
        [picture], no_tick
    )
    kept = loaded(model=f"{NETS}:patches", size=24, fit="keep", pool="mean+std+min").encode(
        [picture], no_tick
    )
    assert padded.tokens.tolist() == kept.tokens.tolist() == [3 * 6]
    close(torch.from_numpy(padded.vectors), torch.from_numpy(kept.vectors))


def test_images_of_other_sizes_keep_their_form() -> None:
    preparation = Preparation(24, "keep")
    shapes = [
        preparation(png(drawn(*size, 0))).pixels.shape[:2]
        for size in [(10, 20), (48, 24), (24, 25), (1, 100)]
    ]
    assert shapes == [(10, 20), (24, 12), (23, 24), (1, 24)]


def test_the_crop_is_that_of_torchvision() -> None:
    """Its `Resize(20)` and `CenterCrop(16)`: the longer side rounded down, the middle rounded to even."""
    picture = Preparation(16, "crop", resize=20)(png(drawn(30, 47, 2)))
    whole = drawn(30, 47, 2).resize((31, 20), Image.Resampling.BILINEAR)
    left, top = round((31 - 16) / 2), round((20 - 16) / 2)
    assert np.array_equal(picture.pixels, np.asarray(whole.crop((left, top, left + 16, top + 16))))
    assert picture.cropped


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16", "F"])
def test_every_kind_of_file_gives_three_channels(mode: str, tmp_path: Path) -> None:
    grey = drawn(16, 16, 0).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256)
    else:
        image = grey.convert(mode)
    image.save(tmp_path / "image.tif")
    pixels = Preparation(16)((tmp_path / "image.tif").read_bytes()).pixels
    assert pixels.shape == (16, 16, 3)
    if mode not in ("1", "CMYK"):
        assert np.array_equal(pixels, np.asarray(grey.convert("RGB")))


def test_images_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn(16, 32, 0).save(tmp_path / "turned.png", exif=exif)
    picture = Preparation(32, "keep")((tmp_path / "turned.png").read_bytes())
    assert np.array_equal(picture.pixels, np.asarray(drawn(16, 32, 0).rotate(-90, expand=True)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no image that Pillow can read"),
        (b"text", "no image that Pillow can read"),
        (png(drawn(16, 16, 0))[:200], "broken image"),
        (png(Image.new("1", (10_000, 10_000))), "more than"),
        (png(Image.new("1", (1, 60_000))), "after it is resized"),
    ],
    ids=["empty", "text", "cut off", "huge", "thin"],
)
def test_what_cannot_be_read_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Preparation(224)(data)
    assert " at 0x" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_images_go_to_the_quarantine(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    done = run(photos, tmp_path / "out")
    assert (done.rows, done.embedded, done.quarantined) == (7, 5, 2)
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["broken.jpg", "gone.png"]
    assert [line["position"] for line in lines] == ["broken.jpg", "gone.png"]
    assert "broken image" in lines[0]["reason"]
    assert "No such file" in lines[1]["reason"]


def test_shards_begin_anywhere_in_the_folders(photos: Path) -> None:
    adapter = ImageAdapter(MAPS, size=16)
    whole = [row.id for row in rows_of(adapter.sources([str(photos)]))]
    for shard_rows in (1, 2, 3, 4):
        assert [row.id for row in rows_of(adapter.sources([str(photos)]), shard_rows)] == whole


def test_ids_tell_files_of_several_folders_apart(photos: Path, tmp_path: Path) -> None:
    adapter = ImageAdapter(MAPS, size=16)
    inputs = [str(photos / "more"), str(photos / "*.png"), str(photos / "a.jpg"), str(photos / "c.webp")]
    assert [row.id for row in rows_of(adapter.sources(inputs))] == ["more/d.png", "b.png", "a.jpg", "c.webp"]
    assert len(adapter.sources(inputs)) == 2
    assert [row.id for row in rows_of(adapter.sources([str(photos / "more" / "d.png")]))] == ["d.png"]
    assert adapter.id_type == "string"


def test_a_moved_folder_is_the_same_input_and_a_renamed_file_is_not(photos: Path, tmp_path: Path) -> None:
    adapter = ImageAdapter(MAPS, size=16)
    before = make_plan(adapter.sources([str(photos)]), 2).identity
    moved = photos.rename(tmp_path / "elsewhere")
    assert make_plan(adapter.sources([str(moved)]), 2).identity == before
    (moved / "b.png").rename(moved / "bb.png")
    assert make_plan(adapter.sources([str(moved)]), 2).identity != before


def test_a_folder_that_changes_during_the_job_stops_it(photos: Path) -> None:
    """A new file would shift every later row by one, and lose the last row of a shard."""
    sources = ImageAdapter(MAPS, size=16).sources([str(photos)])
    plan = make_plan(sources, 2)
    drawn(8, 8, 0).save(photos / "aa.png")
    with pytest.raises(OSError, match="has changed since"):
        list(read_shard(sources, plan.shards[1]))


def test_a_folder_behind_a_url(photos: Path, tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.put(str(photos), "/elsewhere", recursive=True)
    try:
        run("memory://elsewhere", tmp_path / "remote", shard_rows=2)
        run("memory://elsewhere/*.jpg", tmp_path / "one")
    finally:
        fs.rm("/elsewhere", recursive=True)
    run(photos, tmp_path / "local", shard_rows=2)
    remote, local = (open_embeddings(tmp_path / name) for name in ("remote", "local"))
    assert list(remote.ids) == list(local.ids)
    assert np.array_equal(remote.matrix(), local.matrix())
    assert list(open_embeddings(tmp_path / "one").ids) == ["a.jpg"]


def test_names_that_are_no_unicode_are_quarantined(photos: Path, tmp_path: Path) -> None:
    try:
        (photos / os.fsdecode(b"caf\xe9.png")).write_bytes((photos / "b.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    done = run(photos, tmp_path / "out")
    assert (done.embedded, done.quarantined) == (5, 1)
    line = json.loads((tmp_path / "out" / "quarantine.jsonl").read_text())
    assert line["position"] == "caf\\xe9.png"
    assert "no UTF-8" in line["reason"]


def test_an_output_folder_inside_is_no_input(photos: Path) -> None:
    first = run(photos, photos / "vectors", shard_rows=2)
    again = run(photos, photos / "vectors", shard_rows=2)
    assert (first.rows, again.rows, again.made) == (5, 5, 0)


@pytest.mark.parametrize("form", ["binary", "struct"])
def test_images_in_parquet(form: str, tmp_path: Path, photos: Path) -> None:
    names = ["b.png", "a.jpg", "c.webp"]
    data: list[Any] = [(photos / name).read_bytes() for name in names]
    data = [*data[:2], None, b"text", data[2]]
    if form == "struct":
        data = [None if each is None else {"bytes": each, "path": "x"} for each in data]
    table = pa.table({"image": data, "key": [7, 5, 3, 2, 1]})
    pq.write_table(table, tmp_path / "images.parquet", row_group_size=2)
    done = run(tmp_path / "images.parquet", tmp_path / "out", id_column="key", shard_rows=2)
    assert (done.embedded, done.quarantined) == (3, 2)
    vectors = open_embeddings(tmp_path / "out")
    assert vectors.ids.tolist() == [7, 5, 1]
    run(photos, tmp_path / "folder")
    of_files = open_embeddings(tmp_path / "folder")
    places = [list(of_files.ids).index(name) for name in names]
    close(torch.from_numpy(vectors.matrix()), torch.from_numpy(of_files[places]))


def test_grey_images_have_one_channel() -> None:
    adapter = loaded(model=f"{NETS}:grey_maps", mode="L")
    assert adapter.settings["mean"] == pytest.approx([sum(MEAN) / 3])
    assert adapter.encode([Preparation(16, mode="L")(png(drawn(16, 16, 0)))], no_tick).vectors.shape == (
        1,
        CHANNELS,
    )


def test_normalisation_can_be_a_string() -> None:
    adapter = ImageAdapter(MAPS, mean="0.5,0.5,0.5", std="0.5, 0.25, 1")
    assert adapter.settings["mean"] == [0.5, 0.5, 0.5]
    assert adapter.settings["std"] == [0.5, 0.25, 1.0]


def test_settings_make_the_same_adapter() -> None:
    adapter = ImageAdapter(MAPS, size=32, fit="pad", mean="0,0,0")
    assert ImageAdapter(**adapter.settings).settings == adapter.settings
    json.dumps(adapter.settings)


def test_the_fingerprint_follows_weights_pooling_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import torch\ndef model():\n    torch.manual_seed({seed})\n    return torch.nn.Conv2d(3, 4, 3)\n"
    (tmp_path / "nets_one.py").write_text(code.format(seed=0))
    (tmp_path / "nets_two.py").write_text(code.format(seed=1))
    one, two = (loaded(model=f"nets_{name}:model").fingerprint()["model"] for name in ("one", "two"))
    assert one["structure_sha256"] == two["structure_sha256"]
    assert one["weights_sha256"] != two["weights_sha256"]
    assert one["code_sha256"] != two["code_sha256"]
    assert loaded(pool="max").fingerprint()["pooling"] != loaded(pool="mean").fingerprint()["pooling"]
    assert loaded().fingerprint() == loaded().fingerprint()


def test_random_weights_are_the_same_everywhere_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert loaded().fingerprint() == loaded().fingerprint()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_changed_pooling_does_not_continue(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"pool was .mean., is now .max."):
        run(photos, tmp_path / "out", pool="max")


@pytest.mark.slow
def test_two_workers_make_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        run(photos, tmp_path / str(workers), workers=workers, shard_rows=2)
    files = [sorted(path.name for path in (tmp_path / each).glob("*.*")) for each in ("1", "2")]
    assert files[0] == files[1]
    for name in files[0]:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None}, "model must be named"),
        ({"model": "resnet18"}, "written module:callable"),
        ({"model": "no_such_module:model"}, "cannot import no_such_module"),
        ({"model": f"{NETS}:nothing"}, "has no callable 'nothing'"),
        ({"model": f"{NETS}:no_network"}, "must give a torch.nn.Module; found str"),
        ({"model": f"{NETS}:broken"}, "raised FileNotFoundError: there are no weights"),
        ({"model": f"{NETS}:classifier"}, "feature maps"),
        ({"model": f"{NETS}:grey_maps"}, "cannot read images"),
        ({"pool": "maen"}, "Did you mean 'mean'"),
        ({"pool": f"{NETS}:maps"}, "must give a polypool.Pooling"),
        ({"pool": "attention"}, "would be random"),
        ({"size": 0}, "size must be"),
        ({"fit": "cut"}, "fit must be one of crop"),
        ({"resize": 8}, "resize must be at least size"),
        ({"resize": 32, "fit": "pad"}, "with fit = 'crop'"),
        ({"mean": "0.5"}, "mean must be 3 numbers"),
        ({"std": "1,0,1"}, "std must be above 0"),
        ({"batch": 0}, "batch must be"),
        ({"sise": 16}, "no setting 'sise'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_one_line(
    settings: dict[str, Any], message: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        run(photos, tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_one_line(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="device cuda cannot be used here"):
        run(photos, tmp_path / "out", device="cuda")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("empty", "holds no images"), ("missing", "no file"), ("labels.csv", "must be a folder, an image")],
)
def test_wrong_inputs_are_one_line(name: str, message: str, photos: Path, tmp_path: Path) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(CorpusError, match=message):
        run(photos / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_columns_are_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["text"]}), tmp_path / "texts.parquet")
    for column, message in (
        ("image", "must hold the bytes of image files"),
        ("picture", "no column 'picture'"),
    ):
        with pytest.raises(CorpusError, match=message):
            run(tmp_path / "texts.parquet", tmp_path / "out", image_column=column)


def test_a_picture_is_small() -> None:
    """Rows wait for their batch as pixels of the size that is needed, however large the file."""
    picture = Preparation(16)(png(drawn(900, 900, 0)))
    assert isinstance(picture, Picture)
    assert picture.pixels.nbytes == 16 * 16 * 3
