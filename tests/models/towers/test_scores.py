"""Models of two towers: scores are those of transformers, with a mean over sentences."""

import json
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from marsbench.base.errors import MarsbenchError, WeightsError
from marsbench.config.schema import Mode
from marsbench.models.spec import ModelSpec
from marsbench.models.towers import building, tokens
from marsbench.models.towers.families import network_of
from marsbench.models.towers.network import TwoTowers
from marsbench.models.zoo.catalog import MODELS
from marsbench.tasks.prompts import ClassWords, Prompts
from tests.models.towers.tiny import CLIP, SIDE, SIGLIP, clip, siglip
from tests.server import Server

NAMES = ("clip_b_16", "siglip_b_16")
ONE = Prompts(
    ("a view of {}.",),
    ("a view without {}.",),
    tuple(ClassWords(word, word, "") for word in ("dunes", "an impact crater", "frost")),
)
TWO = Prompts((*ONE.templates, "{} on Mars"), (*ONE.absent, "no {}"), ONE.classes)


def zero_shot(name: str) -> ModelSpec:
    return MODELS[name].for_mode(Mode.ZERO_SHOT)


def built(name: str, prompts: Prompts, *, several: bool = False) -> TwoTowers:
    model = building.build(zero_shot(name))
    model.take(prompts, several=several)
    return model


def images() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(5, 3, SIDE, SIDE)


def logits(name: str, texts: list[str]) -> Tensor:
    """Logits of transformers' own model and of its own padding, (5, n)."""
    network, letters = clip() if name == "clip_b_16" else siglip()
    spec = MODELS[name]
    mean, std = (torch.tensor(v)[:, None, None] for v in (spec.mean, spec.std))
    if name == "clip_b_16":
        end: Any = letters.token_to_id("<|endoftext|>")
        rows = [[end - 1, *letters.encode(t).ids, end] for t in texts]
        more = [max(map(len, rows)) - len(row) for row in rows]
        given: dict[str, Any] = {
            "attention_mask": torch.tensor(
                [[1] * len(r) + [0] * n for r, n in zip(rows, more, strict=True)]
            )
        }
    else:
        end = letters.token_to_id("</s>")
        plain = [t.lower().replace(".", "") for t in texts]
        rows = [letters.encode(t).ids for t in plain]
        more = [200 - len(row) for row in rows]
        given = {}
    ids = torch.tensor([row + [end] * n for row, n in zip(rows, more, strict=True)])
    with torch.no_grad():
        out = network(pixel_values=(images() - mean) / std, input_ids=ids, **given)
    result: Tensor = out.logits_per_image
    return result


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_the_softmax_of_the_librarys_logits(name: str, hub: Server) -> None:
    expected = logits(name, [text for (text,) in ONE.texts()]).softmax(dim=1)
    assert expected.std(dim=0).max() > 1e-3, "the images differ"
    torch.testing.assert_close(built(name, ONE)(images()), expected)


def test_labels_of_siglip_are_sigmoids(hub: Server) -> None:
    expected = logits("siglip_b_16", [text for (text,) in ONE.texts()]).sigmoid()
    torch.testing.assert_close(built("siglip_b_16", ONE, several=True)(images()), expected)


def test_labels_of_clip_are_pairs_of_sentences(hub: Server) -> None:
    model = built("clip_b_16", ONE, several=True)
    probabilities = model(images())
    for k, (present, absent) in enumerate(zip(ONE.texts(), ONE.absent_texts(), strict=True)):
        pair = logits("clip_b_16", [*present, *absent]).softmax(dim=1)
        torch.testing.assert_close(probabilities[:, k], pair[:, 0])


@pytest.mark.parametrize("name", NAMES)
def test_classes_are_means_over_sentences(name: str, hub: Server) -> None:
    network = (clip() if name == "clip_b_16" else siglip())[0]
    scale = float(network.logit_scale.detach().exp())
    bias = float(getattr(network, "logit_bias", torch.zeros(())).detach())
    means = []
    for row in TWO.texts():
        cosines = (logits(name, row) - bias) / scale  # (5, 2)
        # The mean of unit vectors a and b has length |a + b| / 2, from the cosine of a and b.
        a, b = (vector(name, text) for text in row)
        length = ((a + b) / 2).norm()
        means.append(cosines.mean(dim=1) / length)
    expected = (torch.stack(means, dim=1) * scale + bias).softmax(dim=1)
    torch.testing.assert_close(built(name, TWO)(images()), expected, rtol=1e-4, atol=1e-5)


def vector(name: str, text: str) -> Tensor:
    """Unit vector of a sentence by the library's own function."""
    network, letters = clip() if name == "clip_b_16" else siglip()
    of = tokens.of_clip if name == "clip_b_16" else tokens.of_siglip
    with torch.no_grad():
        out = network.get_text_features(of(letters, [text], 200).ids)
    features: Tensor = getattr(out, "pooler_output", out)[0]
    unit: Tensor = features / features.norm()
    return unit


@pytest.mark.parametrize("name", NAMES)
def test_grey_images_and_batches(name: str, hub: Server) -> None:
    model = built(name, ONE)
    grey = images()[:, :1]
    together = model(grey)
    torch.testing.assert_close(together, model(grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(together, torch.cat([model(image[None]) for image in grey]))


def test_many_sentences_are_encoded_in_parts(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = built("clip_b_16", TWO)(images())
    monkeypatch.setattr("marsbench.models.towers.network._BATCH", 2)
    torch.testing.assert_close(built("clip_b_16", TWO)(images()), expected)


def test_tokens_of_clip() -> None:
    ids, mask = tokens.of_clip(clip()[1], ["Ab", "c"], 200)
    letters = clip()[1]
    a, b, c = (letters.token_to_id(letter) for letter in "abc")
    start, end = (letters.token_to_id(t) for t in ("<|startoftext|>", "<|endoftext|>"))
    assert ids.tolist() == [[start, a, b, end], [start, c, end, end]]
    assert mask is not None
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_tokens_of_siglip() -> None:
    letters = siglip()[1]
    ids, mask = tokens.of_siglip(letters, ["A.b,  C"], 6)
    a, b, c, space, end = (letters.token_to_id(t) for t in ("a", "b", "c", " ", "</s>"))
    assert ids.tolist() == [[a, b, space, c, end, end]]
    assert mask is None


@pytest.mark.parametrize("name", NAMES)
def test_long_sentences_are_cut_and_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    letters = (clip() if name == "clip_b_16" else siglip())[1]
    of = tokens.of_clip if name == "clip_b_16" else tokens.of_siglip
    ids, _ = of(letters, ["a" * 30, "b"], 10)
    assert ids.shape == (2, 10)
    end = letters.token_to_id("<|endoftext|>" if name == "clip_b_16" else "</s>")
    assert ids[:, -1].tolist() == [end, end]
    assert "1 prompt(s) are cut" in capsys.readouterr().err


def test_nothing_is_trained(hub: Server) -> None:
    model = built("clip_b_16", ONE).train()
    assert not model.network.training
    assert not any(p.requires_grad for p in model.parameters())


def config(**changes: Any) -> bytes:
    return json.dumps(clip()[0].config.to_dict() | changes).encode()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", config(model_type="llava"), "model_type is llava; expected clip or siglip"),
        ("config.json", b"[]", "model_type is None"),
        ("config.json", config(text_config=[1]), "not a mapping"),
        ("config.json", config(text_config={"hidden_size": "16"}), "expected a whole number"),
        ("config.json", config(vision_config={"image_size": 64}), "image_size is 64; expected 32"),
        ("config.json", b"{", "are invalid"),
        ("tokenizer.json", b"{}", "are invalid"),
        ("pytorch_model.bin", b"no tensors", "is refused: it holds more than tensors"),
    ],
)
def test_invalid_files(hub: Server, file: str, content: bytes, message: str) -> None:
    repo = hub.models[CLIP]
    repo.files = repo.files | {file: content}
    with pytest.raises(WeightsError, match=message):
        building.build(zero_shot("clip_b_16"))


def test_sizes_alone_are_read_from_a_configuration(hub: Server) -> None:
    """Nothing that names code, such as attention from the hub, reaches the library."""
    repo = hub.models[CLIP]
    hostile = {"auto_map": {"AutoModel": "evil--x"}, "attn_implementation": "evil/attention"}
    text = {**clip()[0].config.text_config.to_dict(), "_attn_implementation": "evil/attention"}
    repo.files = repo.files | {"config.json": config(**hostile, text_config=text)}
    model = building.build(zero_shot("clip_b_16"))
    network: Any = model.network
    assert "evil" not in str(network.config.to_dict()) + str(network.config._attn_implementation)


def test_weights_of_another_model_are_refused(hub: Server) -> None:
    hub.models[CLIP].files = hub.models[CLIP].files | {
        "config.json": hub.models[SIGLIP].files["config.json"]
    }
    with pytest.raises(MarsbenchError, match="is a checkpoint of another model"):
        building.build(zero_shot("clip_b_16"))


@pytest.mark.parametrize(
    ("described", "count"),
    [
        (
            {
                "model_type": "clip",
                "projection_dim": 512,
                "text_config": {"hidden_size": 512, "num_attention_heads": 8, "eos_token_id": 2},
                "vision_config": {"hidden_size": 768, "patch_size": 16},
            },
            149_620_737,
        ),
        ({"model_type": "siglip", "text_config": {}, "vision_config": {}}, 203_155_970),
    ],
    ids=["clip", "siglip"],
)
def test_published_sizes(described: dict[str, Any], count: int) -> None:
    """Parameters of the published files, of which the sizes of 599 and 813 MB are known."""
    with torch.device("meta"):
        _, network = network_of(json.dumps(described), transformers)
    assert sum(p.numel() for p in network.parameters()) == count
