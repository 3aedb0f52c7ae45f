from pathlib import Path

from marsbench.base.errors import DataError
from marsbench.predict.failures import summarise
from marsbench.predict.walk import Item


def test_images_that_fail_alike_are_summarised_together() -> None:
    grey = [Item(Path(f"/d/{name}.png"), f"{name}.png") for name in "abcdefgh"]
    empty, odd = Item(Path("/d/empty.png"), "empty.png"), Item(Path("/d/odd.png"), "odd.png")
    failed = [
        (empty, DataError("/d/empty.png is empty (0 bytes).", "Copy it again.")),
        (odd, DataError("No pixels.")),
        *[(one, DataError(f"{one.path} has 1 band.", "Leave it out.")) for one in grey],
    ]
    assert list(summarise(failed)) == [
        "8 images have 1 band (a.png, b.png, c.png, d.png, e.png, and 3 more). Leave them out.",
        "/d/empty.png is empty (0 bytes). Copy it again.",
        "/d/odd.png: No pixels.",
    ]
