"""Vision-language models that answer with the name of a class, fine-tuned as in the paper."""

from marsbench.config.schema import Mode
from marsbench.models.spec import HALF, Library, ModelSpec, WeightSpec
from marsbench.tasks.kinds import Kind

ENTRIES = (
    ModelSpec(
        name="smolvlm_256m",
        library=Library.VLM,
        id="HuggingFaceTB/SmolVLM-256M-Instruct",
        aliases=("smolvlm",),
        weights=WeightSpec(
            name="HuggingFaceTB/SmolVLM-256M-Instruct",
            data="SigLIP's WebLI; text, The Cauldron and Docmatix",
            images=None,
            licence="Apache-2.0",
        ),
        mean=HALF,
        std=HALF,
        input_size=512,
        fixed_size=True,
        kinds=frozenset({Kind.BINARY, Kind.MULTICLASS}),
        modes=frozenset({Mode.FINETUNE, Mode.ZERO_SHOT}),
        parameters=256.5,
    ),
)
