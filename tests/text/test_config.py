"""The config of a pooling: both forms of sentence-transformers in, one file that holds both out."""

import json
from pathlib import Path
from typing import Any

import pytest

import polypool as pp
from polypool.text.config import BOOLEANS, MODES, ModelFolderError, PoolingConfig

SIX = tuple(MODES)


def written(folder: Path, **data: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def booleans(*modes: str) -> dict[str, bool]:
    return {key: mode in modes for key, mode in BOOLEANS.items()}


def theirs(folder: Path) -> Any:
    """What sentence-transformers makes of the folder."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    return Pooling.load(str(folder))


@pytest.mark.parametrize("mode", SIX)
def test_the_older_form(mode: str, tmp_path: Path) -> None:
    read = PoolingConfig.read(written(tmp_path, word_embedding_dimension=8, **booleans(mode)))
    assert read == PoolingConfig(8, MODES[mode])
    assert read.modes == (mode,)


@pytest.mark.parametrize("mode", SIX)
def test_the_newer_form(mode: str, tmp_path: Path) -> None:
    read = PoolingConfig.read(
        written(tmp_path, embedding_dimension=8, pooling_mode=mode, include_prompt=False)
    )
    assert read == PoolingConfig(8, MODES[mode], include_prompt=False)


@pytest.mark.parametrize("modes", [("cls", "mean"), ("mean", "cls"), ("lasttoken", "weightedmean", "max")])
def test_a_list_keeps_its_order(modes: tuple[str, ...], tmp_path: Path) -> None:
    folder = written(tmp_path, embedding_dimension=8, pooling_mode=list(modes))
    assert PoolingConfig.read(folder).modes == modes == theirs(folder).pooling_mode


def test_booleans_have_the_order_of_sentence_transformers(tmp_path: Path) -> None:
    folder = written(tmp_path, word_embedding_dimension=8, **booleans(*SIX))
    assert PoolingConfig.read(folder).modes == theirs(folder).pooling_mode == SIX


def test_the_config_of_a_real_model() -> None:
    from polypool.demo.encoder import find_model

    folder = find_model(None)
    assert PoolingConfig.read(folder / "1_Pooling", dimension=384) == PoolingConfig(384, "mean")


@pytest.mark.parametrize("pool", ["mean", "first", "last", "mean_sqrt_len", "position_weighted", "max"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_one_file_holds_both_forms(pool: str, include_prompt: bool, tmp_path: Path) -> None:
    config = PoolingConfig(8, pool, include_prompt=include_prompt)
    config.write(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config.modes is not None
    assert data["pooling_mode"] == config.modes[0]
    assert {key: data[key] for key in BOOLEANS} == booleans(*config.modes)
    assert PoolingConfig.read(tmp_path) == config
    # Each form alone says the same.
    for form in ({"pooling_mode"}, set(BOOLEANS)):
        other = {
            key: value for key, value in data.items() if key in form or not key.startswith("pooling_mode")
        }
        assert PoolingConfig.parse(other) == config
    loaded = theirs(tmp_path)
    assert (loaded.pooling_mode, loaded.include_prompt) == (config.modes[0], include_prompt)


@pytest.mark.parametrize("pool", ["first+mean", "max+mean+last"])
def test_combinations_that_booleans_can_say(pool: str, tmp_path: Path) -> None:
    config = PoolingConfig(8, pool)
    config.write(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert {key: data[key] for key in BOOLEANS} == booleans(*(config.modes or ()))
    assert PoolingConfig.read(tmp_path) == config
    assert theirs(tmp_path).pooling_mode == config.modes


@pytest.mark.parametrize("pool", ["mean+first", "mean+mean"])
def test_combinations_that_booleans_cannot_say_are_not_said_by_them(pool: str, tmp_path: Path) -> None:
    config = PoolingConfig(8, pool)
    config.write(tmp_path)
    assert not set(BOOLEANS) & set(json.loads((tmp_path / "config.json").read_text(encoding="utf-8")))
    assert PoolingConfig.read(tmp_path) == config
    assert theirs(tmp_path).pooling_mode == config.modes


@pytest.mark.parametrize(
    ("pool", "settings"),
    [("gem", {"p": 4.0}), ("quantile", {"q": 0.25}), ("mean+std", {}), ("attention", {"heads": 2})],
)
def test_our_own_form(pool: str, settings: dict[str, Any], tmp_path: Path) -> None:
    config = PoolingConfig(8, pool, settings, include_prompt=False)
    config.write(tmp_path)
    assert PoolingConfig.read(tmp_path) == config
    assert config.modes is None
    with pytest.raises(TypeError, match="pool"):
        theirs(tmp_path)


@pytest.mark.parametrize("name", pp.names("tokens"))
def test_every_operator_can_be_written(name: str, tmp_path: Path) -> None:
    config = PoolingConfig(8, name)
    config.write(tmp_path)
    assert PoolingConfig.read(tmp_path) == config


def test_what_is_not_said_is_what_sentence_transformers_takes(tmp_path: Path) -> None:
    folder = written(tmp_path, word_embedding_dimension=8)
    assert PoolingConfig.read(folder).modes == (theirs(folder).pooling_mode,) == ("mean",)


def test_comments_and_modes_of_later_versions_that_are_off(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        word_embedding_dimension=8,
        _comment="hello",
        pooling_mode_mean_tokens=True,
        pooling_mode_newest_tokens=False,
    )
    assert PoolingConfig.read(folder).pool == "mean"


def test_defaults_fill_gaps_only(tmp_path: Path) -> None:
    folder = written(tmp_path, word_embedding_dimension=8, pooling_mode_cls_token=True)
    read = PoolingConfig.read(folder, defaults={"include_prompt": False, "pooling_mode": "max"})
    assert (read.pool, read.include_prompt) == ("first", False)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"pooling_mode": "avg"}, "unknown pooling mode 'avg'"),
        ({"pooling_mode": ["mean", "best"]}, "unknown pooling mode 'best'"),
        ({"pooling_mode": 3}, "'pooling_mode' must be a name"),
        ({"pooling_mode": []}, "'pooling_mode' must be a name"),
        ({"pooling_mode": "mean", **booleans("cls")}, "says mean and the booleans say cls"),
        (booleans(), "all booleans are false"),
        ({"pooling_mode_newest_tokens": True}, "unknown key 'pooling_mode_newest_tokens'"),
        ({"temperature": 2}, "unknown key 'temperature'"),
        ({"pool": "gem", "pooling_mode": "mean"}, "exclude each other"),
        ({"pool": "gem", "settings": {"q": 1}}, "gem has no setting 'q'"),
        ({"pool": "mean+max", "settings": {"q": 1}}, "no setting 'q'"),
        ({"pool": "best"}, "no pooling is named 'best'"),
        ({"pool": "concat"}, "join names with +"),
        ({"pool": ["mean"]}, "must be a str"),
        ({"settings": {}}, "'settings' goes with 'pool'"),
        ({"embedding_dimension": 7}, "differ: 8 and 7"),
        ({"word_embedding_dimension": "8"}, "must be an int; found '8'"),
        ({"word_embedding_dimension": 0}, "must be 1 or more; found 0"),
        ({"word_embedding_dimension": True}, "must be an int; found True"),
        ({"include_prompt": "yes"}, "include_prompt must be a bool; found 'yes'"),
    ],
)
def test_what_cannot_be_is_one_line(data: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = written(tmp_path, **{"word_embedding_dimension": 8, **data})
    with pytest.raises(ModelFolderError) as caught:
        PoolingConfig.read(folder)
    assert said in str(caught.value)
    assert str(folder / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_dimension_than_that_of_the_encoder(tmp_path: Path) -> None:
    folder = written(tmp_path, word_embedding_dimension=8, pooling_mode="mean")
    with pytest.raises(ModelFolderError, match="token embeddings, 16; found 8"):
        PoolingConfig.read(folder, dimension=16)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "no JSON"), ("[]", "JSON object; found a list"), ("\xff", "JSON")]
)
def test_a_file_that_is_no_config(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelFolderError, match=said):
        PoolingConfig.read(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="is missing"):
        PoolingConfig.read(tmp_path)


def test_no_dimension(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="no dimension"):
        PoolingConfig.read(written(tmp_path, pooling_mode="mean"))


def test_a_setting_that_json_cannot_hold_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        PoolingConfig(8, "gem", {"p": object()}).write(tmp_path)
    assert not (tmp_path / "config.json").exists()
