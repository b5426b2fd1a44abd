"""What a model folder may declare, and what is refused."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from polypool.text import ModelFolderError, SentencePooling, TextEncoder
from polypool.text.folder import TYPES, ModelFolder, find_folder
from tests.text import tiny

OLD = "sentence_transformers.models"
NEW = "sentence_transformers.sentence_transformer.modules"
BASE = "sentence_transformers.base.modules"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything in its place."""
    place = tmp_path_factory.mktemp("model")
    folder = place / "whole"
    TextEncoder.load(tiny.plain_folder(place / "plain"), pool="mean", device="cpu").save(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refused(folder: Path, message: str, **settings: Any) -> None:
    with pytest.raises(ModelFolderError, match=message) as caught:
        TextEncoder.load(folder, device="cpu", **settings)
    assert "\n" not in str(caught.value)


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def declare(folder: Path, *modules: tuple[str, str]) -> None:
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("transformer", "pooling", "normalize"),
    [
        (f"{OLD}.Transformer", f"{OLD}.Pooling", f"{OLD}.Normalize"),
        (f"{OLD}.Transformer.Transformer", f"{OLD}.Pooling.Pooling", f"{OLD}.Normalize.Normalize"),
        (f"{BASE}.transformer.Transformer", f"{NEW}.pooling.Pooling", f"{BASE}.normalize.Normalize"),
        (f"{OLD}.Transformer", "polypool.text.SentencePooling", f"{NEW}.Normalize"),
        (f"{OLD}.Transformer", "polypool.text.sentence_pooling.SentencePooling", f"{OLD}.Normalize"),
    ],
)
def test_old_and_new_names(transformer: str, pooling: str, normalize: str, folder: Path) -> None:
    declare(folder, ("", transformer), ("1_Pooling", pooling), ("2_Normalize", normalize))
    found = ModelFolder.read(folder)
    assert (found.transformer, found.pooling) == (folder, folder / "1_Pooling")
    assert found.after == (("Normalize", folder / "2_Normalize"),)
    assert [type(module).__name__ for module in TextEncoder.load(folder, device="cpu").after] == ["Normalize"]


def test_the_names_are_those_of_the_installed_release() -> None:
    from sentence_transformers.sentence_transformer import modules

    for kind in (
        "Transformer",
        "WeightedLayerPooling",
        "Pooling",
        "Dense",
        "LayerNorm",
        "Normalize",
        "Dropout",
    ):
        cls = getattr(modules, kind)
        assert TYPES[f"{cls.__module__}.{cls.__qualname__}"] == kind


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        f"{OLD}.WordEmbeddings",
        f"{OLD}.Pooling.load",
        "transformer.Transformer",
        "custom_st.Pooling",
        "",
    ],
)
def test_other_types_are_refused(kind: str, folder: Path) -> None:
    declare(folder, ("", f"{OLD}.Transformer"), ("1_Pooling", kind))
    refused(folder, f"module 1 in .*modules.json has a type that is not known here: {kind!r}")


@pytest.mark.parametrize(
    "path",
    ["../other", "1_Pooling/../../other", "/etc", "..", "C:\\models", "..\\other", "\\\\host\\share", "a\0b"],
)
def test_paths_that_leave_the_folder(path: str, folder: Path) -> None:
    declare(folder, ("", f"{OLD}.Transformer"), (path, f"{OLD}.Pooling"))
    refused(folder, "module 1 in .* has a path that leaves the folder")


def test_links_that_leave_the_folder(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "1_Pooling", tmp_path / "elsewhere")
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    refused(folder, "has a path that leaves the folder: '1_Pooling'")


def test_files_may_be_links(folder: Path, tmp_path: Path) -> None:
    """The Hugging Face cache is made of them."""
    (tmp_path / "blobs").mkdir()
    for path in [each for each in folder.rglob("*") if each.is_file()]:
        blob = tmp_path / "blobs" / f"{path.parent.name}-{path.name}"
        shutil.move(path, blob)
        path.symlink_to(blob)
    assert TextEncoder.load(folder, device="cpu").dimension == tiny.HIDDEN


@pytest.mark.parametrize(
    "modules",
    [
        [],
        [("", "Transformer")],
        [("1_Pooling", "Pooling"), ("", "Transformer")],
        [("", "Transformer"), ("2_Normalize", "Normalize"), ("1_Pooling", "Pooling")],
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("1_Pooling", "Pooling")],
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("1_Pooling", "WeightedLayerPooling")],
        [("", "Transformer"), ("1_Pooling", "WeightedLayerPooling")],
    ],
)
def test_orders_that_make_no_encoder(modules: list[tuple[str, str]], folder: Path) -> None:
    declare(folder, *[(path, f"{OLD}.{kind}") for path, kind in modules])
    refused(
        folder,
        "must list a Transformer, a WeightedLayerPooling or none, a Pooling, and after them only Dense, LayerNorm, "
        "Normalize, Dropout; found",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "must hold a list of modules; found a JSON dict"),
        ("[1]", "module 0 in .* must have a path and a type; found 1"),
        ('[{"type": "x"}]', "module 0 in .* must have a path and a type"),
        ('[{"type": 3, "path": ""}]', "module 0 in .* must have a path and a type"),
        ("[", "cannot be read as JSON"),
    ],
)
def test_a_broken_list_of_modules(content: str, message: str, folder: Path) -> None:
    (folder / "modules.json").write_text(content)
    refused(folder, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "CrossEncoder"},
            "model_type in .* must be 'SentenceTransformer'; found 'CrossEncoder'",
        ),
        ({"prompts": ["query"]}, r"prompts in .* must map names to texts; found \['query'\]"),
        ({"prompts": {"query": 3}}, "prompts in .* must map names to texts"),
        ({"default_prompt_name": "query"}, r"must be one of its prompts \(there are none\); found 'query'"),
        ({"truncate_dim": -1}, "truncate_dim in .* must be an integer of at least 1; found -1"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str, folder: Path) -> None:
    change(folder / "config_sentence_transformers.json", **changes)
    refused(folder, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transformer_task": "fill-mask"}, "transformer_task in .* must be 'feature-extraction'"),
        ({"modality_config": {"message": {}}}, "modality_config in .* must be plain text"),
        ({"max_seq_length": "512"}, "max_seq_length in .* must be an integer of at least 1; found '512'"),
        (
            {"model_args": {"attn_implementation": "eager"}},
            "has settings that are not known here: model_args",
        ),
    ],
)
def test_transformer_settings_that_do_not_fit(changes: dict[str, Any], message: str, folder: Path) -> None:
    change(folder / "sentence_bert_config.json", **changes)
    refused(folder, message)


def test_weights_in_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(
        folder, r"has its weights in pytorch_model.bin, a pickle, which can run any code when it is opened"
    )


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, r"must hold its weights in model.safetensors; there is none")


def test_weights_that_lack_a_tensor(folder: Path) -> None:
    """transformers would make it up."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(
        folder, "lack 1 tensors of the model, encoder.layer.1.output.dense.weight first: they would be random"
    )


def test_weights_without_the_pooler_are_whole(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    expected = TextEncoder.load(folder, device="cpu").encode("a cat")
    assert expected.shape == (tiny.HIDDEN,)


def test_weights_of_more_layers_than_the_model(folder: Path) -> None:
    """Half of the model would be left out in silence."""
    change(folder / "config.json", num_hidden_layers=1)
    refused(
        folder,
        r"has 16 tensors in its weights that the model of its config\.json has no place for, "
        r"encoder\.layer\.1\..* first",
    )


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_heads_and_poolers_may_be_left_out(prefix: str, folder: Path) -> None:
    """What a task adds around the model is no part of it, and neither is the pooler."""
    import torch
    from safetensors.torch import load_file, save_file

    expected = TextEncoder.load(folder, device="cpu").encode("a cat")
    tensors = {prefix + name: tensor for name, tensor in load_file(folder / "model.safetensors").items()} | {
        name: torch.ones(2)
        for name in (
            "cls.predictions.bias",
            "classifier.weight",
            f"{prefix}pooler.extra.bias",
            "lm_head.bias",
        )
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert (TextEncoder.load(folder, device="cpu").encode("a cat") == expected).all()
    save_file(
        tensors | {f"{prefix}encoder.layer.0.adapter.weight": torch.ones(2)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    refused(folder, r"has 1 tensors in its weights .*encoder\.layer\.0\.adapter\.weight first")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 24},
            r"the weights in .* do not fit its config\.json: of \d+ tensors that differ, .* is \(.*\) and would have",
        ),
        (
            {"vocab_size": 50},
            r"of 1 tensors that differ, .*word_embeddings\.weight is \(105, 16\) and would have to be \(50, 16\)",
        ),
        ({"hidden_act": "foo"}, r"hidden_act in .*config\.json must be an activation .*; found 'foo'"),
    ],
)
def test_a_config_that_does_not_fit_the_weights(changes: dict[str, Any], message: str, folder: Path) -> None:
    change(folder / "config.json", **changes)
    refused(folder, message)


def test_a_tokenizer_without_its_vocabulary(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, r"must hold a tokenizer, one of tokenizer\.json.*; there is none")


@pytest.mark.parametrize("content", ["{}", "[", "[]", '{"model": {}}'])
def test_a_broken_tokenizer(content: str, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(content)
    refused(folder, r"tokenizer\.json (is no tokenizer|is no JSON|must hold a JSON object)")


def test_no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    refused(folder, r"must hold a tokenizer, one of tokenizer\.json, .*there is none")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model_type": "no such model"}'])
def test_a_config_that_is_missing_or_broken(content: str | None, folder: Path) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    refused(folder, r"config\.json|cannot load the model")


def test_a_model_with_code_of_its_own(folder: Path) -> None:
    """The code is not run: where transformers knows no such model, nothing is loaded."""
    (folder / "own.py").write_text("raise SystemExit('the code of the folder was run')")
    change(
        folder / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"},
    )
    refused(folder, "transformers cannot load the model in")


def test_an_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "holds an adapter, not a model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word_embedding_dimension": 17}, "17"),
        ({"pooling_mode": "median_token"}, "median_token"),
        ({"pooling_mode": None, "pool": "no_such_pooling"}, "pool"),
    ],
)
def test_a_pooling_that_does_not_fit(changes: dict[str, Any], message: str, folder: Path) -> None:
    change(folder / "1_Pooling" / "config.json", **changes)
    refused(folder, message)


def test_a_pooling_that_is_missing(folder: Path) -> None:
    shutil.rmtree(folder / "1_Pooling")
    refused(folder, "1_Pooling")


def test_a_dense_of_another_size(folder: Path) -> None:
    import torch

    from polypool.text import Dense

    Dense(torch.ones(3, tiny.HIDDEN + 1)).save(folder / "2_Dense")
    declare(folder, ("", f"{OLD}.Transformer"), ("1_Pooling", f"{OLD}.Pooling"), ("2_Dense", f"{OLD}.Dense"))
    refused(
        folder, "2_Dense does not fit: this Dense takes vectors of 17 numbers; what comes before it makes 16"
    )


def test_a_plain_folder_needs_a_pooling(tmp_path: Path) -> None:
    folder = tiny.plain_folder(tmp_path / "plain")
    with pytest.raises(
        ValueError, match=r"is a plain transformers folder, .* Pass pool=: 'mean', 'cls' and 'lasttoken'"
    ):
        TextEncoder.load(folder)
    assert TextEncoder.load(folder, pool="max", device="cpu").pooling.config.pool == "max"


@pytest.mark.parametrize("pool", [3, ["mean"], b"mean", SentencePooling])
def test_a_pooling_of_another_type(pool: Any, tmp_path: Path) -> None:
    for folder in (tmp_path / "no such folder", tiny.plain_folder(tmp_path / "plain")):
        with pytest.raises(TypeError, match="pool must be a str, a SentencePooling or None; found"):
            TextEncoder.load(folder, pool=pool, device="cpu")


@pytest.mark.parametrize("pool", ["attention", "mean+attention"])
def test_random_weights_are_said(pool: str, whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="polypool.text"):
        encoder = TextEncoder.load(whole, pool=pool, device="cpu")
    assert [record.getMessage() for record in caplog.records] == [
        f"pool={pool!r} has weights to learn, and they are random: train it before its vectors are used."
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="polypool.text"):
        TextEncoder.load(whole, pool=encoder.pooling, device="cpu")
        # Its power is a parameter too, and begins at 3.
        TextEncoder.load(whole, pool="gem", device="cpu")
    assert not caplog.records


def test_a_part_of_a_model(whole: Path, folder: Path) -> None:
    for pool in (None, "mean"):
        refused(
            whole / "1_Pooling",
            r"config\.json has no model_type, so that it is no model of transformers; "
            rf"it is a part of {whole}",
            pool=pool,
        )
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, r"config\.json has no model_type, so that it is no model of transformers\.$")


def test_nothing_is_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty path is the working folder, which nobody means."""
    monkeypatch.chdir(tiny.plain_folder(tmp_path))
    for name in ("", "  "):
        with pytest.raises(
            ModelFolderError, match="folder_or_name must name a folder or a model; found nothing"
        ):
            TextEncoder.load(name, pool="mean", device="cpu")
    assert TextEncoder.load(".", pool="mean", device="cpu").dimension == tiny.HIDDEN


@pytest.mark.parametrize(
    "name", ["/nonexistent", "./x", "../x", "~/no such folder", "no/such/folder", "no such name!"]
)
def test_a_path_is_no_name(name: str) -> None:
    """There is nothing to download by it."""
    with pytest.raises(ModelFolderError, match=r"is no folder\.$"):
        find_folder(name)


def test_names_are_looked_up_on_this_machine_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("somebody/no-such-model", "no-such-model"):
        with pytest.raises(ModelFolderError, match="is no folder, and no model of that name is in the local"):
            find_folder(name)
    with pytest.raises(TypeError, match="folder_or_name must be a str or a Path; found int"):
        find_folder(3)  # type: ignore[arg-type]


def test_a_name_in_the_cache(monkeypatch: pytest.MonkeyPatch, whole: Path, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--somebody--tiny"
    revision = "0" * 40
    shutil.copytree(whole, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    assert TextEncoder.load("somebody/tiny", device="cpu").dimension == tiny.HIDDEN
