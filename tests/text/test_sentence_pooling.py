"""`SentencePooling` beside `Pooling` of sentence-transformers: the same where theirs is right, and right elsewhere."""

import copy
import json
import pickle
import subprocess
import sys
from abc import ABC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.bench.memory import measured
from polypool.text import SentencePooling
from polypool.text.config import BOOLEANS, MODES, ModelFolderError
from tests.support import close
from tests.text import tiny
from tests.text.features import (
    CHANNELS,
    COMBINED,
    LEFT,
    LENGTHS,
    RIGHT,
    SIX,
    STATES,
    flattened,
    padded,
    same,
    theirs,
    vectors,
)

NAN = float("nan")
MODE_SETS = [*SIX, *COMBINED]
OURS = [name for name in pp.names("tokens") if name not in MODES.values()]


# What theirs does right.


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
@pytest.mark.parametrize("mask", [RIGHT, LEFT], ids=["right", "left"])
def test_the_same_as_theirs_padded(mode: Any, mask: Tensor) -> None:
    close(vectors(SentencePooling(CHANNELS, mode), padded(mask)), vectors(theirs(mode), padded(mask)))


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
def test_the_same_as_theirs_flattened(mode: Any) -> None:
    close(vectors(SentencePooling(CHANNELS, mode), flattened()), vectors(theirs(mode), flattened()))


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
@pytest.mark.parametrize("mask", [RIGHT, LEFT], ids=["right", "left"])
@pytest.mark.parametrize(
    "length", [1, torch.tensor([1]), torch.tensor([1] * len(LENGTHS)), 0], ids=["int", "one", "rows", "none"]
)
def test_the_same_as_theirs_without_the_prompt(mode: Any, mask: Tensor, length: Any) -> None:
    ours, other = SentencePooling(CHANNELS, mode, include_prompt=False), theirs(mode, include_prompt=False)
    features = padded(mask, prompt_length=length)
    close(vectors(ours, features), vectors(other, features))
    close(vectors(ours, flattened(prompt_length=length)), vectors(other, flattened(prompt_length=length)))


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
def test_the_gradient_is_theirs(mode: Any) -> None:
    found = []
    for pooling in (SentencePooling(CHANNELS, mode), theirs(mode)):
        states = STATES.clone().requires_grad_()
        vectors(pooling, padded(states=states)).square().sum().backward()
        assert states.grad is not None
        found.append(states.grad)
    close(found[0], found[1])


@pytest.mark.parametrize("mode", SIX)
def test_without_a_mask_all_tokens_are_real(mode: str) -> None:
    features = {"token_embeddings": STATES}
    close(vectors(SentencePooling(CHANNELS, mode), features), vectors(theirs(mode), features))


@pytest.mark.parametrize("mode", ["mean", "mean_sqrt_len_tokens"])
def test_weights_of_an_earlier_module(mode: str) -> None:
    features = padded(RIGHT, STATES * RIGHT[..., None], token_weights_sum=torch.tensor([2.5, 1.0, 3.0, 0.5]))
    close(vectors(SentencePooling(CHANNELS, mode), features), vectors(theirs(mode), features))


def test_vectors_of_cls_from_an_earlier_module() -> None:
    features = padded(cls_token_embeddings=torch.ones(len(LENGTHS), CHANNELS))
    mode = ("cls", "mean")
    close(vectors(SentencePooling(CHANNELS, mode), features), vectors(theirs(mode), features))


# What theirs does wrong.


@pytest.mark.parametrize("mode", SIX)
def test_padding_is_never_read(mode: str) -> None:
    dirty = padded(states=STATES.masked_fill(RIGHT[..., None] == 0, NAN))
    same(vectors(SentencePooling(CHANNELS, mode), dirty), vectors(SentencePooling(CHANNELS, mode), padded()))
    # Theirs: it multiplies by the mask, also for the last token.
    if mode in ("mean", "mean_sqrt_len_tokens", "weightedmean"):
        assert vectors(theirs(mode), dirty).isnan().any()


@pytest.mark.parametrize("mode", SIX)
def test_a_row_without_tokens_is_zero(mode: str) -> None:
    mask = RIGHT.clone()
    mask[1] = 0
    found = vectors(SentencePooling(CHANNELS, mode), padded(mask))
    assert not found[1].any()
    same(found[[0, 2, 3]], vectors(SentencePooling(CHANNELS, mode), padded())[[0, 2, 3]])
    if mode in ("cls", "max"):  # theirs: a padding token, -inf
        assert vectors(theirs(mode), padded(mask))[1].any()


@pytest.mark.parametrize("mode", SIX)
def test_a_flattened_row_without_tokens_is_zero(mode: str) -> None:
    features = {
        "token_embeddings": STATES[:1, :5],
        "cu_seq_lens_q": torch.tensor([0, 0, 2, 2, 5, 5], dtype=torch.int32),
    }
    found = vectors(SentencePooling(CHANNELS, mode), features)
    assert found.isfinite().all()
    assert not found[[0, 2, 4]].any()
    # Theirs takes the row before or after, or fails.
    if mode == "cls":
        with pytest.raises(IndexError):
            vectors(theirs(mode), features)


@pytest.mark.parametrize("mode", SIX)
@pytest.mark.parametrize("skip", [0, 1])
def test_padding_on_either_side_and_holes_in_one_batch(mode: str, skip: int) -> None:
    """Each row is what it is alone, without padding."""
    mask = torch.stack([RIGHT[0], LEFT[1], torch.tensor([1, 0, 1, 1, 0, 0, 1]), LEFT[3]])
    pooling = SentencePooling(CHANNELS, mode, include_prompt=False)
    alone = [row[kept.bool()][None] for row, kept in zip(STATES, mask, strict=True)]
    expected = [vectors(pooling, {"token_embeddings": row, "prompt_length": skip}) for row in alone]
    close(vectors(pooling, padded(mask, prompt_length=skip)), torch.cat(expected))


def test_a_prompt_longer_than_a_row_leaves_zeros() -> None:
    for features in (padded(prompt_length=3), flattened(prompt_length=3)):
        for mode in SIX:
            found = vectors(SentencePooling(CHANNELS, mode, include_prompt=False), features)
            assert not found[[1, 3]].any()
            assert found[[0, 2]].all()


@pytest.mark.parametrize("mode", SIX)
def test_a_mask_of_another_width_is_an_error(mode: str) -> None:
    features = padded(RIGHT[:, :-1])
    vectors(theirs(mode), features)  # theirs: as if all tokens were real
    with pytest.raises(ValueError, match=r"mask must have shape \(B, T\) = \(4, 7\); found \(4, 6\)"):
        vectors(SentencePooling(CHANNELS, mode), features)


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
def test_the_mask_that_came_in_stays(mode: Any) -> None:
    mask = RIGHT.clone()
    vectors(SentencePooling(CHANNELS, mode, include_prompt=False), padded(mask, prompt_length=1))
    same(mask, RIGHT)


# What theirs cannot do.


@pytest.mark.parametrize("name", OURS)
def test_every_operator_by_name(name: str, tmp_path: Path) -> None:
    """Padded, flattened and without the prompt: each is the operator on the tokens that remain. And a round trip."""
    pooling = SentencePooling(CHANNELS, name, include_prompt=False)
    found = vectors(pooling, padded())
    assert found.shape == (len(LENGTHS), pooling.get_embedding_dimension())
    close(found, pooling.pool(pp.Tokens(STATES, RIGHT)))
    close(vectors(pooling, flattened()), found)
    rest = pooling.pool(pp.Tokens(STATES[:, 1:], RIGHT[:, 1:]))
    close(vectors(pooling, padded(prompt_length=1)), rest)
    close(
        vectors(pooling, padded(LEFT, STATES.flip(1), prompt_length=0)),
        vectors(pooling, padded(LEFT, STATES.flip(1))),
    )
    close(vectors(pooling, flattened(prompt_length=1)), rest)
    pooling.save(str(tmp_path))
    loaded = SentencePooling.load(str(tmp_path))
    same(vectors(loaded, padded()), found)
    assert loaded.get_config_dict() == pooling.get_config_dict()


def test_prompts_of_different_lengths() -> None:
    pooling = SentencePooling(CHANNELS, "mean", include_prompt=False)
    lengths = torch.tensor([1, 0, 3, 2])
    expected = torch.stack(
        [row[skip:length].mean(0) for row, skip, length in zip(STATES, lengths, LENGTHS, strict=True)]
    )
    close(vectors(pooling, padded(prompt_length=lengths)), expected)
    close(vectors(pooling, flattened(prompt_length=lengths)), expected)


def test_half_precision_keeps_its_dtype_and_is_summed_wide() -> None:
    ones = torch.ones(1, 70_000, 1, dtype=torch.float16)
    found = vectors(SentencePooling(1), {"token_embeddings": ones})
    assert (found.dtype, found.item()) == (torch.float16, 1.0)


# The same arguments, attributes and files.


def test_positions_and_keywords() -> None:
    for pooling in (
        SentencePooling(8, "cls", False),
        SentencePooling(embedding_dimension=8, pooling_mode="cls", include_prompt=False),
        SentencePooling(word_embedding_dimension=8, pooling_mode_cls_token=True, include_prompt=False),
        SentencePooling(8, ["cls"], include_prompt=False, pooling_mode_cls_token=True),
        SentencePooling(8, "first", False),
    ):
        assert pooling.get_config_dict() == theirs("cls", False, 8).get_config_dict()
    both = SentencePooling(8, pooling_mode_mean_tokens=True, pooling_mode_cls_token=True)
    assert both.pooling_mode == ("cls", "mean")
    assert (
        SentencePooling(8).pooling_mode
        == SentencePooling(8, pooling_mode_cls_token=False).pooling_mode
        == "mean"
    )
    assert SentencePooling(8, "mean+gem").pooling_mode == ("mean", "gem")


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
def test_the_attributes_of_theirs(mode: Any) -> None:
    ours, other = SentencePooling(8, mode), theirs(mode, channels=8)
    for name in (
        "embedding_dimension",
        "pooling_mode",
        "include_prompt",
        "pooling_output_dimension",
        "config_keys",
    ):
        assert getattr(ours, name) == getattr(other, name)
    assert (
        ours.get_embedding_dimension()
        == ours.get_sentence_embedding_dimension()
        == other.get_embedding_dimension()
    )
    assert ours.get_config_dict() == other.get_config_dict()
    assert ours.word_embedding_dimension == 8
    modes = (mode,) if isinstance(mode, str) else mode
    assert {name: getattr(ours, name) for name in BOOLEANS} == {
        key: m in modes for key, m in BOOLEANS.items()
    }
    assert repr(mode) in repr(ours)


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
def test_each_loads_what_the_other_saves(mode: Any, tmp_path: Path) -> None:
    folders = tmp_path / "ours", tmp_path / "theirs"
    ours, other = SentencePooling(CHANNELS, mode, include_prompt=False), theirs(mode, include_prompt=False)
    for folder, pooling in zip(folders, (ours, other), strict=True):
        folder.mkdir()
        pooling.save(str(folder), safe_serialization=True)
    assert type(other).load(str(folders[0])).get_config_dict() == other.get_config_dict()
    assert SentencePooling.load(str(folders[1])).get_config_dict() == ours.get_config_dict()
    inside = SentencePooling.load(str(tmp_path), subfolder="theirs", token=None, trust_remote_code=True)
    assert inside.pooling_mode == mode
    assert not list(folders[0].glob("*.safetensors"))


def test_parameters_are_saved_as_safetensors_whatever_is_asked(tmp_path: Path) -> None:
    pooling = SentencePooling(CHANNELS, "attention+mean", include_prompt=False)
    pooling.save(str(tmp_path), safe_serialization=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = SentencePooling.load(str(tmp_path))
    same(vectors(loaded, padded()), vectors(pooling, padded()))


def test_settings_are_saved(tmp_path: Path) -> None:
    pooling = SentencePooling(CHANNELS, "top_k", settings={"k": 2})
    pooling.save(str(tmp_path))
    same(
        vectors(SentencePooling.load(str(tmp_path)), padded()),
        pp.build("top_k", k=2)(pp.Tokens(STATES, RIGHT)),
    )


def test_files_that_are_not_whole(tmp_path: Path) -> None:
    SentencePooling(CHANNELS, "attention").save(str(tmp_path))
    weights = tmp_path / "model.safetensors"
    SentencePooling(CHANNELS + 2, "attention").save(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"word_embedding_dimension": CHANNELS}), encoding="utf-8"
    )
    with pytest.raises(ModelFolderError, match="must hold"):
        SentencePooling.load(str(tmp_path))
    weights.unlink()
    with pytest.raises(ModelFolderError, match=r"model.safetensors; there is none"):
        SentencePooling.load(str(tmp_path))
    (tmp_path / "config.json").write_text(
        '{"embedding_dimension": 6, "pool": "gem", "settings": {"p": -1}}', "utf-8"
    )
    with pytest.raises(ModelFolderError, match="p must be"):
        SentencePooling.load(str(tmp_path))


def test_a_model_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    """As the hub's client lays it out; nothing is asked of the network."""
    snapshot = (
        tmp_path / "models--someone--encoder" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    )
    (snapshot / "1_Pooling").mkdir(parents=True)
    refs = tmp_path / "models--someone--encoder" / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name, encoding="utf-8")
    pooling = SentencePooling(CHANNELS, "attention")
    pooling.save(str(snapshot / "1_Pooling"))
    found = SentencePooling.load(
        "someone/encoder", "1_Pooling", cache_folder=str(tmp_path), local_files_only=True
    )
    same(vectors(found, padded()), vectors(pooling, padded()))
    with pytest.raises(ModelFolderError, match="someone/other is no folder"):
        SentencePooling.load("someone/other", "1_Pooling", cache_folder=str(tmp_path), local_files_only=True)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, TypeError, "needs embedding_dimension"),
        ({"embedding_dimension": 8, "word_embedding_dimension": 9}, ValueError, "one thing; found 8 and 9"),
        ({"embedding_dimension": 0}, ValueError, "1 or more"),
        ({"embedding_dimension": 8, "pooling_mode": "best"}, ValueError, "no pooling is named 'best'"),
        ({"embedding_dimension": 8, "pooling_mode": ()}, TypeError, "pooling_mode must be"),
        ({"embedding_dimension": 8, "temperature": 1}, TypeError, "no argument 'temperature'"),
        ({"embedding_dimension": 8, "settings": {"k": 1}}, TypeError, "mean has no setting 'k'"),
        (
            {"embedding_dimension": 8, "pooling_mode": "max", "pooling_mode_cls_token": True},
            ValueError,
            "must agree; found max and cls",
        ),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        SentencePooling(**arguments)


def test_features_that_cannot_be() -> None:
    pooling = SentencePooling(CHANNELS, include_prompt=False)
    with pytest.raises(TypeError, match="token_embeddings"):
        pooling({})
    with pytest.raises(ValueError, match="6 channels, as SentencePooling was made for; found 5"):
        pooling(padded(states=STATES[..., :5]))
    with pytest.raises(ValueError, match="one for each of the 4 rows; found 3"):
        pooling(padded(prompt_length=torch.tensor([1, 2, 3])))
    with pytest.raises(TypeError, match="prompt_length must be an int"):
        pooling(padded(prompt_length=1.5))
    with pytest.raises(ValueError, match=r"shape \(1, N, C\)"):
        pooling(padded(cu_seq_lens_q=torch.tensor([0, 7])))


def test_copies_and_pickles() -> None:
    pooling = SentencePooling(CHANNELS, "attention")
    for other in (copy.deepcopy(pooling), pickle.loads(pickle.dumps(pooling))):
        same(vectors(other, padded()), vectors(pooling, padded()))


# The memory that pooling takes beside its input.

LARGE = (64, 256, 768)


@pytest.mark.parametrize("mode", [*SIX, ("cls", "mean"), "std", "gem"], ids=str)
def test_the_memory_beside_the_states(mode: Any) -> None:
    """Padded and flattened, with the prompt and without."""
    pooling = SentencePooling(LARGE[-1], mode, include_prompt=False)
    states = torch.ones(LARGE)
    mask = torch.ones(LARGE[:2], dtype=torch.int64)
    mask[::2, 100:] = 0
    offsets = torch.arange(LARGE[0] + 1) * LARGE[1]
    packed = {"token_embeddings": states.reshape(1, -1, LARGE[-1]), "cu_seq_lens_q": offsets}
    for features in (
        padded(mask, states),
        padded(mask, states, prompt_length=3),
        packed,
        packed | {"prompt_length": 3},
    ):

        def call(features: dict[str, Any] = features) -> list[Tensor]:
            with torch.no_grad():
                return [vectors(pooling, features)]

        call()  # compiles
        _, extra = measured(call)
        if extra is None:
            pytest.skip("the system does not say how much memory a process uses")
        assert extra <= 0.05 * states.numel() * states.element_size()


# Inside sentence-transformers.


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small BERT with its tokenizer."""
    return tiny.plain_folder(tmp_path_factory.mktemp("encoder"))


def model_with(encoder: Path, pooling: Any, **settings: Any) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    return SentenceTransformer(modules=[Transformer(str(encoder)), pooling], device="cpu", **settings)


@pytest.mark.parametrize("mode", MODE_SETS, ids=str)
def test_a_model_encodes_as_with_theirs(mode: Any, encoder: Path) -> None:
    texts = [text for text in tiny.TEXTS if text]
    ours, other = (
        model_with(encoder, pooling, prompts={"query": "query: "})
        for pooling in (SentencePooling(tiny.HIDDEN, mode, False), theirs(mode, False, tiny.HIDDEN))
    )
    assert ours.get_embedding_dimension() == other.get_embedding_dimension()
    for prompt in (None, "query"):
        found, expected = (
            model.encode(texts, batch_size=3, prompt_name=prompt, convert_to_tensor=True)
            for model in (ours, other)
        )
        close(found, expected)


def test_it_is_taken_for_theirs(encoder: Path) -> None:
    from sentence_transformers.base.modules import Module
    from sentence_transformers.sentence_transformer.modules import Pooling

    model = model_with(encoder, SentencePooling(tiny.HIDDEN))
    assert isinstance(model[1], Module)
    assert isinstance(model[1], Pooling)
    model.set_pooling_include_prompt(False)
    assert model[1].include_prompt is False


def test_it_is_taken_for_theirs_wherever_the_import_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Abstract(ABC):  # noqa: B024 - theirs has no more either
        """Stands for their class, imported after ours was made."""

    pooling = SentencePooling(8)
    place = "sentence_transformers.sentence_transformer.modules"
    monkeypatch.setitem(sys.modules, place, SimpleNamespace(Pooling=Abstract))
    assert not isinstance(pooling, Abstract)
    pooling.to("cpu")
    assert isinstance(pooling, Abstract)


@pytest.mark.parametrize("mode", ["mean", "attention+max"])
def test_a_model_is_saved_and_loaded(mode: str, encoder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = model_with(encoder, SentencePooling(tiny.HIDDEN, mode))
    model.save(str(tmp_path), create_model_card=False)
    # sentence-transformers asks so for every class that is not its own.
    loaded = SentenceTransformer(str(tmp_path), device="cpu", trust_remote_code=True)
    assert type(loaded[1]) is SentencePooling
    texts = [text for text in tiny.TEXTS if text]
    close(*(each.encode(texts, convert_to_tensor=True) for each in (loaded, model)))


@pytest.mark.parametrize("mode", ["mean", "attention"])
def test_a_model_trains(mode: str, encoder: Path) -> None:
    """A few steps of a loss of sentence-transformers bring two texts together, and train the pooling's parameters."""
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    torch.manual_seed(0)
    model = model_with(encoder, SentencePooling(tiny.HIDDEN, mode))
    before = {name: value.clone() for name, value in model[1].state_dict().items()}
    loss = CosineSimilarityLoss(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    texts = ["The cat sleeps.", "A train leaves."], ["The dog runs.", "Water boils"]
    model.train()
    values = []
    for _ in range(8):
        features = [model.preprocess(column) for column in texts]
        value = loss(features, torch.tensor([1.0, 0.0]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] / 2
    for name, value in model[1].state_dict().items():
        assert not torch.equal(value, before[name])


def test_no_sentence_transformers_is_needed() -> None:
    """Importing and pooling leaves it, and transformers, alone."""
    program = (
        "import sys, torch\n"
        "from polypool.text import SentencePooling, mean_pool\n"
        "SentencePooling(2)({'token_embeddings': torch.ones(1, 2, 2)})\n"
        "mean_pool(torch.ones(1, 2, 2), None)\n"
        "print([name for name in ('sentence_transformers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
