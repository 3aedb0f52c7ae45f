from dataclasses import replace

import pytest

from marsbench.models.pretraining import RANDOM, UNKNOWN, Pretraining, combined
from marsbench.models.spec import LITE0_WEIGHTS
from marsbench.models.zoo.catalog import MODELS, get_model
from marsbench.tasks.catalog import TASKS

PHOTOS = LITE0_WEIGHTS.pretraining


UNCOUNTED = {"prithvi", "siglip_b_16", "dofa_b", "dofa_l", "smolvlm_256m"}


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_states_its_pretraining(name: str) -> None:
    spec = MODELS[name]
    stated = spec.pretraining
    assert (stated == RANDOM) == (spec.weights is None)
    assert stated.data
    assert set(stated.overlaps or ()) <= TASKS.keys()
    # The authors of some foundation models state neither the number nor the sites of their images.
    assert stated.images is not None or name in UNCOUNTED
    assert stated.overlaps is not None or name.startswith(("dino", "clip", "siglip", "smolvlm"))


def test_weights_beyond_the_zoo_may_overlap() -> None:
    assert get_model("timm:test_vit").pretraining.overlaps is None


def test_ensembles_have_the_data_of_all_members() -> None:
    mars = Pretraining(data="HiRISE", images=5, licence="CC-BY-4.0", overlaps=("cone_seg", "aa"))
    assert combined([PHOTOS, PHOTOS]) == PHOTOS
    assert combined([RANDOM, PHOTOS]) == PHOTOS
    assert combined([RANDOM, RANDOM]) == RANDOM
    assert combined([PHOTOS, UNKNOWN]) == UNKNOWN
    assert combined([mars, PHOTOS]) == Pretraining(
        data="HiRISE, ImageNet-1k",
        licence="CC-BY-4.0, Apache-2.0",
        overlaps=("aa", "cone_seg"),
    )
    other = replace(PHOTOS, licence="MIT", overlaps=None)
    assert combined([PHOTOS, other]) == Pretraining(
        data="ImageNet-1k", images=PHOTOS.images, licence="Apache-2.0, MIT"
    )
