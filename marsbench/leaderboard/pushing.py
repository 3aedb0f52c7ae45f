"""Uploads to repositories of the Hugging Face hub, with the user's own login."""

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from marsbench.base import hub, network
from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.base.hub import HubAddress
from marsbench.base.version import __version__
from marsbench.data.download.unpacking import LITTER_PATTERNS


class Push(NamedTuple):
    """An upload.

    Attributes:
        page: Web page of the repository, or of the pull request.
        address: Address of the files.
    """

    page: str
    address: HubAddress


def push(
    address: HubAddress,
    folder: Path,
    files: Sequence[str] | None,
    message: str,
    *,
    pull_request: bool = False,
    private: bool = True,
) -> Push:
    """Upload files of a folder as one commit.

    Files that the repository has besides stay.

    Args:
        address: Repository, or a folder in it.
        folder: Local folder.
        files: Their paths within the folder; None for all files but metadata of macOS.
        message: Title of the commit or pull request.
        pull_request: Open a pull request, for which the repository must exist. By default the
            commit goes to the main branch, and a missing repository is created.
        private: Whether a new repository is private.

    Raises:
        ConfigError: If the address names a revision.
        NotAvailableError: If there is no login, or the hub refuses or does not answer.
    """
    from huggingface_hub import HfApi, constants, get_token

    if address.revision is not None:
        raise ConfigError(
            f"{address} names a revision; uploads go to the main branch.", "Leave out @REVISION."
        )
    if constants.HF_HUB_OFFLINE:
        raise NotAvailableError(
            f"Nothing was uploaded to {address}: HF_HUB_OFFLINE forbids requests.",
            "Unset HF_HUB_OFFLINE.",
        )
    if get_token() is None:
        raise NotAvailableError(
            f"Nothing was uploaded to {address}: no login to {hub.endpoint()} was found.",
            "Log in with `hf auth login`, or set HF_TOKEN to a token that may write.",
        )
    api = HfApi(library_name="marsbench", library_version=__version__)
    with hub.explained(address, NotAvailableError):
        network.check_reachable(constants.ENDPOINT)
        if not pull_request:
            api.create_repo(address.repo, repo_type=address.kind, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=address.repo,
            repo_type=address.kind,
            folder_path=folder,
            path_in_repo=address.path or None,
            # The client compares every file with every pattern.
            allow_patterns=None if files is None else [glob.escape(name) for name in files],
            ignore_patterns=LITTER_PATTERNS,
            commit_message=message,
            create_pr=pull_request,
        )
    if done.pr_url is not None:
        return Push(done.pr_url, replace(address, revision=done.pr_revision))
    return Push(address.page, address)
