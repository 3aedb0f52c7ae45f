"""Links in archives that are uploaded to the app lead nowhere."""

import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from marsbench.leaderboard.app.upload import Labels, checked
from marsbench.leaderboard.board.live import Live

SECRET = "the content of another file"


def zipped(path: Path, target: str, system: int) -> None:
    """Write a zip whose document is a link, as Unix (3) or another system marks it."""
    info = zipfile.ZipInfo("submission.json")
    info.create_system = system
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, target)


def linked_folder(path: Path, target: str, system: int) -> None:
    """Write a zip with a link, and a file that would be written through it."""
    info = zipfile.ZipInfo("runs")
    info.create_system = system
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, str(Path(target).parent))
        archive.writestr("runs/written.txt", "x")


def tarred(path: Path, target: str, kind: int) -> None:
    info = tarfile.TarInfo("submission.json")
    info.type, info.linkname = (tarfile.SYMTYPE, tarfile.LNKTYPE)[kind], target
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(info)


@pytest.mark.parametrize(
    ("write", "kind"), [(zipped, 0), (zipped, 3), (linked_folder, 3), (tarred, 0), (tarred, 1)]
)
def test_links_are_refused(
    write: Callable[[Path, str, int], None], kind: int, tmp_path: Path
) -> None:
    secret, upload = tmp_path / "secret.json", tmp_path / "upload.zip"
    secret.write_text(SECRET)
    write(upload, str(secret), kind)
    (tmp_path / "results" / "submissions").mkdir(parents=True)
    page = checked(str(upload), Live(results=str(tmp_path / "results")), Labels())
    assert "is not valid: 1 error." in page
    assert SECRET not in page
    assert not upload.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "secret.json"]
    assert "is a link or a special file" in page
