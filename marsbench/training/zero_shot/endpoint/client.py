"""Requests to an OpenAI-compatible endpoint, and its failures in words."""

import base64
import email.utils
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from marsbench.base.errors import EndpointError, MarsbenchError, NotAvailableError
from marsbench.base.text import inline
from marsbench.config.schema import ApiConfig, Structured
from marsbench.models.answering.instructions import Instructions
from marsbench.models.answering.parsing import LONGEST
from marsbench.training.zero_shot.endpoint.keys import has_key, read_key, variables, without_key

_SHOWN = 300
"""Longest text of a server in a message, in characters."""

_LONGEST_NAME = 200
"""Longest returned name of a model, in characters."""

_MOST_TOKENS = 10**9
"""Numbers of tokens from here on are no counts."""

_TRANSIENT = (408, 409, 425, 429)
"""HTTP statuses, beside 5xx, after which the same request may succeed."""

_REFUSALS = ("content_filter", "content_policy", "responsibleai", "safety", "moderation")
"""Words of errors, in lower case, by which endpoints refuse a single image."""

_EXHAUSTED = ("insufficient_quota", "billing", "exceeded your current quota")
"""Words of 429 that no wait will change."""


@dataclass(frozen=True)
class Reply:
    """Answer of the endpoint.

    Attributes:
        text: The answer, or the refusal; without the key, and of longer ones the beginning.
        refused: Whether it is a refusal.
        finish: Reason for its end.
        model: Returned name of the model.
        input_tokens: Tokens of the request; None if not counted.
        output_tokens: Tokens of the answer; None if not counted.
        seconds: Seconds of the request.
    """

    text: str
    refused: bool
    finish: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    seconds: float


class TransientError(Exception):
    """Failure after which the same request may succeed.

    Args:
        reason: The failure in words.
        wait: Seconds to wait as the endpoint says; None if it does not.
        status: HTTP status; None without an answer.
    """

    def __init__(self, reason: str, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.status = reason, wait, status


class UnreachableError(TransientError):
    """Connection refused, or host not found."""


@dataclass(frozen=True)
class Form:
    """Form of the requests.

    Attributes:
        structured: Whether the endpoint is asked to enforce the form of answers.
        limit: Name of the key for the most tokens of an answer.
    """

    structured: bool
    limit: str = "max_tokens"


class Client:
    """Client of a model behind an endpoint; its methods may be called by several threads.

    Args:
        model: Name of the model at the endpoint.
        config: The endpoint.
        instructions: Instructions for every image.

    Raises:
        NotAvailableError: If the package openai is not installed.
        ConfigError: If the key has an impossible form.
    """

    def __init__(self, model: str, config: ApiConfig, instructions: Instructions) -> None:
        try:
            import openai
        except ImportError as error:
            raise NotAvailableError(
                f"api:{model} needs the Python package openai, which is not installed.",
                "pip install 'marsbench[vlm]'",
            ) from error
        from marsbench.training.zero_shot.endpoint.limits import http_client

        self.model, self.config, self.instructions = model, config, instructions
        self.form = Form(structured=config.structured is not Structured.TEXT)
        self._openai: Any = openai
        self._key = read_key(config.base_url)
        # Retries are ours: they share their waits among threads and end with the run.
        self._client = openai.OpenAI(
            api_key=self._key,
            base_url=config.base_url,
            timeout=config.timeout,
            max_retries=0,
            http_client=http_client(config.timeout, TransientError),
        )

    def ask(self, image: Tensor) -> Reply:
        """Ask about an image.

        Args:
            image: float32 (C, H, W) in [0, 1], of one or three channels.

        Raises:
            TransientError: If the same request may succeed later.
            EndpointError: If the endpoint refuses the request, whatever the image.
        """
        started = time.perf_counter()
        try:
            completion: Any = self._client.chat.completions.create(**self._request(image))
            return self._reply(completion, time.perf_counter() - started)
        except self._openai.APIError as error:
            # Chained errors are printed, and might hold the key; ours has the text without it.
            raised = self._explained(error)
            if raised is None:
                seconds = time.perf_counter() - started
                return Reply(self._text(error), True, "error", "", None, None, seconds)
            raise raised from None
        except (MarsbenchError, TransientError):
            raise
        except Exception as error:  # a body that is no JSON, or of another form, raises many types
            text = inline(without_key(f"{type(error).__name__}: {error}", self._key))[:_SHOWN]
            raise TransientError(f"an answer that cannot be read ({text})") from None

    def adapt(self, error: EndpointError, *, may_relax: bool) -> bool:
        """Change the form of requests after a refusal that names a part of it.

        Args:
            error: The refusal.
            may_relax: Whether answers may be text, since none has been given yet.

        Returns:
            Whether the form changed, so that the request should be made again.
        """
        text = error.problem.lower()
        may_relax = may_relax and self.config.structured is Structured.AUTO
        if "max_completion_tokens" in text and self.form.limit == "max_tokens":
            self.form = replace(self.form, limit="max_completion_tokens")
            return True
        if self.form.structured and may_relax and any(word in text for word in _OF_SCHEMA):
            self.form = replace(self.form, structured=False)
            return True
        return False

    def _request(self, image: Tensor) -> Mapping[str, Any]:
        config, instructions = self.config, self.instructions
        picture = {"type": "image_url", "image_url": {"url": data_url(image)}}
        question = {"type": "text", "text": instructions.question}
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": instructions.system},
                {"role": "user", "content": [question, picture]},
            ],
        }
        if config.temperature is not None:
            request["temperature"] = config.temperature
        if config.max_tokens is not None:
            request[self.form.limit] = config.max_tokens
        if self.form.structured:
            schema = {"name": "answer", "strict": True, "schema": instructions.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _reply(self, completion: Any, seconds: float) -> Reply:
        """Read a completion; endpoints leave out parts of it."""
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise TransientError("an answer without a message")
        message, finish = choices[0].message, str(choices[0].finish_reason or "")
        refusal = getattr(message, "refusal", None)
        refused = bool(refusal) or finish == "content_filter"
        text = refusal or message.content or ""
        usage = getattr(completion, "usage", None)
        return Reply(
            _kept(without_key(str(text), self._key)),
            refused,
            inline(finish)[:_LONGEST_NAME],
            inline(without_key(str(completion.model or ""), self._key))[:_LONGEST_NAME],
            _count(getattr(usage, "prompt_tokens", None)),
            _count(getattr(usage, "completion_tokens", None)),
            seconds,
        )

    def _explained(self, error: Any) -> Exception | None:
        """Error to raise for an error of the client; None if the image was refused."""
        where, openai = self.config.base_url, self._openai
        text = self._text(error)
        if isinstance(error.__cause__, TransientError):
            return error.__cause__
        if isinstance(error, openai.APITimeoutError):
            return TransientError(f"no answer within {self.config.timeout:g} s")
        if isinstance(error, openai.APIConnectionError):
            cause = type(error.__cause__).__name__
            if cause == "ConnectError":
                return UnreachableError(self._said(error.__cause__))
            return TransientError(f"a cut connection ({cause})")
        status = getattr(error, "status_code", None)
        if status is None or isinstance(error, openai.APIResponseValidationError):
            return TransientError(f"an answer that cannot be read ({text})")
        said = f"{where} answers {status}{f': {text}' if text else ''}"
        low = text.lower()
        if status == 429 and any(word in low for word in _EXHAUSTED):
            return EndpointError(
                f"The quota of the key is exhausted: {said}",
                "Raise the quota, or wait for it. Kept answers are not asked again.",
            )
        if status in _TRANSIENT or status >= 500:
            reason = f"status {status}{f' ({text})' if text else ''}"
            return TransientError(reason, _wait(error), status)
        if status in (401, 403):
            names = " or ".join(variables(where))
            which = "is wrong" if has_key(where) else "is missing"
            return EndpointError(
                f"The key of the endpoint {which}: {said}",
                f"Set the environment variable {names} to a key of this endpoint.",
            )
        if 300 <= status < 400:
            place = self._line(error.response.headers.get("Location", "")) or "another address"
            return EndpointError(
                f"The endpoint {where} points to {place} (status {status}); expected an answer.",
                "Set api.base_url to the address of the endpoint itself, if you trust it.",
            )
        if status == 404:
            return EndpointError(
                f"The model {self.model} was not found: {said}",
                f"Give a model that {where}/models lists, and check api.base_url, which usually "
                "ends in /v1.",
            )
        if status == 400 and any(word in low for word in _REFUSALS):
            return None
        return EndpointError(f"The request was refused: {said}", _remedy(low))

    def _text(self, error: Any) -> str:
        """Message of the server, in a line and without the key."""
        body = getattr(error, "body", None)
        inner = body.get("message") if isinstance(body, Mapping) else body
        code = getattr(error, "code", None)
        parts = [str(part) for part in (inner or error.message, code) if part]
        return self._line(" ".join(dict.fromkeys(parts)))

    def _said(self, error: Any) -> str:
        return self._line(str(error) or type(error).__name__)

    def _line(self, text: str) -> str:
        return inline(without_key(" ".join(text.split()), self._key))[:_SHOWN]


_OF_SCHEMA = ("response_format", "json_schema", "structured output", "guided", "schema")
"""Words of refusals, in lower case, that are about structured output."""


def _remedy(text: str) -> str:
    """Advice after the refusal of a request."""
    for key, advice in _ADVICE.items():
        if key in text:
            return advice
    return "Correct the keys api.*, or choose a model that reads images."


_ADVICE = {
    "temperature": "Set api.temperature=null, and the endpoint chooses.",
    **dict.fromkeys(_OF_SCHEMA, "Set api.structured=text."),
}


def _kept(text: str) -> str:
    """Answer as it is kept: the beginning of one that is too long to be valid, still too long."""
    said = text.strip()
    return text if len(said) <= LONGEST else f"{said[:LONGEST]}\N{HORIZONTAL ELLIPSIS}"


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else None


def _wait(error: Any) -> float | None:
    """Seconds to wait by the headers of an answer: a number, or a date of HTTP."""
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
            except ValueError:
                continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def data_url(image: Tensor) -> str:
    """Address that holds an image as PNG, of the 8 bits that all endpoints read.

    Args:
        image: float (C, H, W) in [0, 1], of one or three channels.
    """
    pixels = (image * 255).round().clamp(0, 255).to("cpu").numpy().astype(np.uint8)
    plane = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    content = io.BytesIO()
    Image.fromarray(plane).save(content, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
