"""Networks of the Idefics 3 family, such as SmolVLM, built with transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.documents import parse_json
from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.models import weights
from marsbench.models.adapters import InputAdapter, build_adapter
from marsbench.models.answering.files import CONFIG, TOKENIZER, fetch, file_of
from marsbench.models.answering.instructions import Instructions
from marsbench.models.answering.prompt import (
    ASSISTANT,
    END,
    NO_ANSWER,
    START,
    SYSTEM,
    USER,
    answer,
    parse,
    question,
)
from marsbench.models.base import Model
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import read_checkpoint

_IGNORED = -100
"""Target of tokens without a loss."""


class AnsweringModel(Model):
    """A vision-language model that answers the question for the class of an image.

    An image is a single tile of the encoder's size, without a split into further tiles.

    Args:
        adapter: Normalises images in [0, 1].
        network: ``Idefics3ForConditionalGeneration``.
        tokenizer: Its tokenizer, of the library tokenizers.
    """

    frozen_prefix = "network."

    def __init__(self, adapter: InputAdapter, network: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.adapter, self.network, self.tokenizer = adapter, network, tokenizer
        self.classes: tuple[str, ...] = ()
        self._prompt: list[int] = []
        self._answers: list[list[int]] = []

    def name_classes(self, names: Sequence[str]) -> None:
        """Take the class names in the order of their ids.

        Raises:
            NotAvailableError: If two classes have the same answer.
        """
        if len({answer(name).casefold() for name in names}) < len(names):
            raise NotAvailableError(
                f"Two of the classes {', '.join(names)} have the same name in an answer.",
                "Choose a model that answers with ids.",
            )
        self.classes = tuple(names)
        self._prompt = self._ids(f"{USER}{self._image}{question(names)}{ASSISTANT}")
        self._answers = [self._ids(f" {answer(name)}{END}") for name in names]

    def instruct(self, instructions: Instructions) -> None:
        """Take instructions, for `answers` without training.

        Args:
            instructions: The instructions. Marks of a conversation in them are read
                as text.

        Raises:
            NotAvailableError: If they are longer than the model reads.
        """
        user = USER.removeprefix(START)
        self._prompt = [
            *self._ids(START),
            *self._plain_ids(f"{SYSTEM}{instructions.system}"),
            *self._ids(f"{END}\n{user}{self._image}"),
            *self._plain_ids(instructions.question),
            *self._ids(ASSISTANT),
        ]
        # Answers may stand in a code fence.
        self._answers = [
            [*self._plain_ids(f" ```json\n{text}\n```"), self._end] for text in instructions.answers
        ]
        config: Any = self.network.config
        longest = config.text_config.max_position_embeddings
        if (length := len(self._prompt) + max(map(len, self._answers))) > longest:
            raise NotAvailableError(
                f"Instructions and answer take {length} tokens; the model reads {longest}.",
                "Shorten the descriptions: prompts=./my.yaml with descriptions: {CLASS: TEXT}.",
            )

    @property
    def _image(self) -> str:
        """Marks in the place of an image, a single tile."""
        config: Any = self.network.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        num_tokens = (side // config.scale_factor) ** 2
        tile = "<fake_token_around_image><global-img>" + "<image>" * num_tokens
        return f"{tile}<fake_token_around_image>"

    def _plain_ids(self, text: str) -> list[int]:
        """Tokens of a text in which no mark has a meaning."""
        self.tokenizer.encode_special_tokens = True
        try:
            return self._ids(text)
        finally:
            self.tokenizer.encode_special_tokens = False

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def losses(self, image: Tensor, label: Tensor) -> Tensor:
        """Cross entropy of the right answers, the mean over its tokens.

        Args:
            image: (B, C, H, W) in [0, 1].
            label: int64 (B,).

        Returns:
            float (B,).
        """
        answers = [self._answers[i] for i in label.tolist()]
        longest, start = max(map(len, answers)), len(self._prompt)
        ids = torch.full((len(answers), start + longest), self._end, dtype=torch.int64)
        targets = torch.full_like(ids, _IGNORED)
        for row, tokens in enumerate(answers):
            ids[row, :start] = torch.tensor(self._prompt)
            ids[row, start : start + len(tokens)] = torch.tensor(tokens)
            targets[row, start : start + len(tokens)] = torch.tensor(tokens)
        mask = torch.arange(ids.shape[1]) < start + torch.tensor([[len(a)] for a in answers])
        logits = self.network(
            input_ids=ids.to(image.device),
            attention_mask=mask.long().to(image.device),
            use_cache=False,
            **self._pixels(image),
        ).logits
        # The logits of a token predict the next one.
        predicted, wanted = logits[:, start - 1 : -1].float(), targets[:, start:].to(image.device)
        losses = functional.cross_entropy(
            predicted.transpose(1, 2), wanted, ignore_index=_IGNORED, reduction="none"
        )
        return losses.sum(dim=1) / (wanted != _IGNORED).sum(dim=1)

    @torch.inference_mode()
    def answers(self, image: Tensor) -> list[str]:
        """Answers to a batch of images (B, C, H, W) in [0, 1], the likeliest token at a time."""
        network: Any = self.network
        prompt = torch.tensor([self._prompt] * len(image), device=image.device)
        said = network.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            # A right answer ends within its own length.
            max_new_tokens=max(map(len, self._answers)),
            do_sample=False,
            eos_token_id=self._end,
            pad_token_id=self._end,
            **self._pixels(image),
        )
        return [self._text(ids) for ids in said[:, prompt.shape[1] :].tolist()]

    def forward(self, image: Tensor) -> Tensor:
        """Answer a batch of images (B, C, H, W) in [0, 1].

        Returns:
            float (B, K): 1 for the class of the answer; zeros without an answer.
        """
        chosen = torch.tensor([parse(text, self.classes) for text in self.answers(image)])
        given = functional.one_hot(chosen.clamp(min=0), len(self.classes)).float()
        given[chosen == NO_ANSWER] = 0.0
        return given.to(image.device)

    @property
    def _end(self) -> int:
        end: int = self.tokenizer.token_to_id(END)
        return end

    def _text(self, ids: list[int]) -> str:
        if self._end in ids:
            ids = ids[: ids.index(self._end)]
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def _pixels(self, image: Tensor) -> dict[str, Tensor]:
        return {"pixel_values": self.adapter(image)[:, None].contiguous()}


def build(
    spec: ModelSpec, num_classes: int, *, pretrained: bool, checkpoint: Path | None = None
) -> Model:
    """Build a model; `Model.name_classes` completes it.

    Args:
        spec: The zoo entry.
        num_classes: Not used; the names of the classes count.
        pretrained: Whether to load weights.
        checkpoint: Local weights to use instead of the published ones.

    Raises:
        NotAvailableError: If transformers is not installed.
        WeightsError: If a file of the repository is missing or invalid, or weights do not fit.
    """
    try:
        from tokenizers import Tokenizer
        from transformers import Idefics3Config, Idefics3ForConditionalGeneration
    except ImportError as error:
        raise NotAvailableError(
            f"{spec.name} needs transformers, which is not installed.",
            "pip install 'marsbench[vlm]'",
        ) from error
    config, tokens = file_of(spec, CONFIG), file_of(spec, TOKENIZER)
    try:
        content = parse_json(config.read_text(encoding="utf-8"))
        if content.get("model_type") != "idefics3":
            raise ValueError(f"model_type is {content.get('model_type')}; expected idefics3")
        described = Idefics3Config.from_dict(content)
        network = Idefics3ForConditionalGeneration(described)
        tokenizer = Tokenizer.from_file(str(tokens))
    except Exception as error:  # the two libraries raise errors of many types
        raise WeightsError(
            f"The files of {spec.id} are invalid: {error}",
            f"Remove {config.parent}, and run again to download them.",
        ) from error
    if checkpoint is not None:
        weights.load_checkpoint(network, read_checkpoint(checkpoint), (), f"weights={checkpoint}")
    elif pretrained:
        weights.load_checkpoint(network, fetch(spec), (), spec.name)
    return AnsweringModel(build_adapter(spec), network, tokenizer)
