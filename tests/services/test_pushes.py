"""The hub of the tests takes uploads of the real client as the hub does."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.server import Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "runs").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\nA model.\n")
    (folder / "runs" / "scores.csv").write_text("a,b\n1,2\n")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    return folder


def text(repo: str, path: str, kind: str = "model", revision: str = "main") -> str:
    place = hf_hub_download(repo, path, repo_type=kind, revision=revision, token="reader")
    return Path(place).read_text()


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_pushed_folder_is_served(kind: str, folder: Path, server: Server) -> None:
    api = HfApi(token="good")
    assert api.whoami()["name"] == "me"
    api.create_repo("me/new", repo_type=kind, private=True)
    api.create_repo("me/new", repo_type=kind, exist_ok=True)
    done = api.upload_folder(repo_id="me/new", folder_path=folder, repo_type=kind)
    assert api.repo_info("me/new", repo_type=kind).sha == done.oid
    assert text("me/new", "runs/scores.csv", kind) == "a,b\n1,2\n"
    path = hf_hub_download("me/new", "model.safetensors", repo_type=kind, token="good")
    assert Path(path).read_bytes() == (folder / "model.safetensors").read_bytes()
    assert server.uploads
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).repo_info("me/new", repo_type=kind)
    # An earlier commit stays.
    (folder / "runs" / "scores.csv").write_text("changed")
    api.upload_folder(repo_id="me/new", folder_path=folder, repo_type=kind, delete_patterns="*.md")
    assert text("me/new", "runs/scores.csv", kind) == "changed"
    assert text("me/new", "runs/scores.csv", kind, done.oid) == "a,b\n1,2\n"


def test_pull_requests_leave_the_repository_as_it_is(folder: Path, server: Server) -> None:
    owner, reader = HfApi(token="good"), HfApi(token="reader")
    owner.create_repo("me/results", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="403"):
        reader.upload_folder(repo_id="me/results", folder_path=folder, repo_type="dataset")
    for number in (1, 2):
        done = reader.upload_folder(
            repo_id="me/results",
            folder_path=folder,
            path_in_repo=f"entry-{number}",
            repo_type="dataset",
            commit_message=f"Entry {number}",
            create_pr=True,
        )
        assert done.pr_num == number
        assert done.pr_revision == f"refs/pr/{number}"
    assert owner.list_repo_files("me/results", repo_type="dataset") == [".gitattributes"]
    entry = text("me/results", "entry-2/runs/scores.csv", "dataset", "refs/pr/2")
    assert entry == "a,b\n1,2\n"
    pulls = owner.get_repo_discussions("me/results", repo_type="dataset")
    assert [(p.title, p.status) for p in pulls] == [("Entry 1", "open"), ("Entry 2", "open")]


def test_uploads_that_are_refused(folder: Path, server: Server) -> None:
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(token="wrong").create_repo("me/new")
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token="good").create_repo("others/new")
    HfApi(token="good").create_repo("me/new")
    with pytest.raises(HfHubHTTPError, match="409"):
        HfApi(token="good").create_repo("me/new")
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token="good").upload_folder(repo_id="me/missing", folder_path=folder)
    (folder / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        HfApi(token="good").upload_folder(repo_id="me/new", folder_path=folder)
