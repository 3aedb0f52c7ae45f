"""A model behind an endpoint: one kept answer per image, read into classes."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from marsbench.base.errors import EndpointError
from marsbench.base.progress import steps, tell
from marsbench.config.schema import ApiConfig, Structured
from marsbench.plan.resolve import Plan
from marsbench.results.store import now
from marsbench.training.zero_shot.endpoint.bill import bill, by_answers, cost_of, estimate
from marsbench.training.zero_shot.endpoint.client import Client, Reply
from marsbench.training.zero_shot.endpoint.crew import work_on
from marsbench.training.zero_shot.endpoint.pace import Pace
from marsbench.training.zero_shot.journal import Answer, Journal
from marsbench.training.zero_shot.models import Images, Predicted
from marsbench.training.zero_shot.reading import read_answers


class RemoteModel:
    """A model behind an endpoint.

    Args:
        plan: The run.
        folder: Its folder, with the answers of an interrupted run.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.config: ApiConfig = plan.config.api
        self.client = Client(plan.model.id, self.config, plan.instructions)
        self.journal = Journal(folder, plan.instructions.digest)
        self._stop = threading.Event()
        self._pace = Pace(self.config.requests_per_minute, self.config.max_retries, self._stop)

    def predict(self, images: Images) -> Predicted:
        """Ask about the images without a kept answer, and read all answers.

        Raises:
            EndpointError: If the endpoint refuses or fails, or another model answers midway; the
                answers so far are kept.
        """
        kept = self.journal.answers
        left = [i for i, name in enumerate(images.sample_ids) if name not in kept]
        self._tell_estimate(len(images), len(left))
        if left:
            self._resume_form()
            done = len(images) - len(left)
            with steps(f"Asking {self.plan.model.name}", len(images), done) as advance:
                # The first answer shows whether key, model and form are right.
                self._ask(images, left[0], is_first=True)
                advance(1)
                self._tell_measured(len(left) - 1)
                work_on(
                    left[1:],
                    lambda i: self._ask(images, i),
                    self._stop,
                    threads=self.config.concurrency,
                    done=advance,
                )
        return self._predicted([kept[name] for name in images.sample_ids])

    def _tell_estimate(self, count: int, left: int) -> None:
        name, done = self.plan.model.name, count - left
        if done:
            tell(f"{done} of {count} answers of {name} are kept and not asked again.")
        if left == count:
            words = estimate(self.plan).words(self.config)
            tell(f"Asking {name} about {count} images: roughly {words}.")

    def _tell_measured(self, left: int) -> None:
        tokens = by_answers(self.journal.answers.values(), left)
        if left and tokens is not None:
            tell(f"{left} images left: about {tokens.words(self.config)}, by the answers so far.")

    def _resume_form(self) -> None:
        """Ask in the form of the kept answers, so that all answers of a run have one form."""
        earlier = next(iter(self.journal.answers.values()), None)
        if earlier is not None and self.config.structured is Structured.AUTO:
            self.client.form = replace(self.client.form, structured=earlier.structured)

    def _ask(self, images: Images, index: int, *, is_first: bool = False) -> None:
        """Ask about an image and keep the answer."""
        image, where = images[index], self.config.base_url
        while True:
            try:
                reply = self._pace.request(lambda: self.client.ask(image), where, is_first=is_first)
                break
            except EndpointError as error:
                is_new = not self.journal.answers
                if not (is_first and self.client.adapt(error, may_relax=is_new)):
                    raise
        answer = self._answer(images.sample_ids[index], reply)
        if not self.journal.add(answer):
            raise EndpointError(
                f"The answers of {self.plan.model.name} came from {self.journal.model}, and now "
                f"come from {answer.model}.",
                "Name a version that does not change, such as model=api:NAME-DATE. The answers so "
                "far are kept: the same command continues if the first model answers again, and "
                "--force starts anew.",
            )

    def _answer(self, sample_id: str, reply: Reply) -> Answer:
        return Answer(
            sample_id=sample_id,
            prompt=self.plan.instructions.digest,
            text=reply.text,
            refused=reply.refused,
            finish=reply.finish,
            model=reply.model,
            structured=self.client.form.structured,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cost=cost_of(self.config, reply.input_tokens, reply.output_tokens),
            seconds=round(reply.seconds, 3),
            time=now(),
        )

    def _predicted(self, answers: Sequence[Answer]) -> Predicted:
        """Read the answers of all images, in their order."""
        readings = read_answers(answers, self.plan.instructions)
        return Predicted(
            scores=readings.scores,
            unanswered=readings.unanswered,
            refused=readings.refused,
            facts={
                "prompt": {"digest": self.plan.instructions.digest, **self.plan.instructions.plain},
                "endpoint": self.config.base_url,
                "model": self.journal.model,
                "structured": all(answer.structured for answer in answers),
                "unanswered": dict(readings.reasons),
                "bill": bill(answers),
            },
            device=f"endpoint {self.config.base_url}",
        )


def open_model(plan: Plan, folder: Path) -> RemoteModel:
    """Open the model of a run, for `marsbench.training.zero_shot.models.MODELS`."""
    return RemoteModel(plan, folder)
