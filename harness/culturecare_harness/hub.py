"""The Hugging Face Hub: the one place that calls `huggingface_hub`, and that says in one line what went wrong there.

Endpoint and token are the library's own (`HF_ENDPOINT`, `HF_TOKEN`, `hf auth login`); every function takes another `HfApi` where needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from culturecare import CultureCareError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

__all__ = [
    "HubAddress",
    "Published",
    "RepoType",
    "open_pull_request",
    "page_of",
    "parse_hub_uri",
    "publish_folder",
    "repository",
    "snapshot",
    "whoami",
]

RepoType = Literal["dataset", "model", "space"]

_LOG_IN = "run `hf auth login` or set HF_TOKEN"


@dataclasses.dataclass(frozen=True)
class HubAddress:
    """A repository on the Hub; `revision` is a branch, a tag, a commit or `refs/pr/N`, null for the main branch."""

    repo_type: RepoType
    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        revision = f" at {self.revision}" if self.revision else ""
        return f"{self.repo_type} {self.repo_id}{revision}"


@dataclasses.dataclass(frozen=True)
class Published:
    """What became of a publication.

    Attributes:
        url: Page of the pull request, or of the repository.
        pull_request: Whether what was asked for waits in a pull request.
        changed: Whether a commit was made; false where everything was there already, on the main branch or in an open pull request.
        revision: The commit that holds it; null where nothing was uploaded.
    """

    url: str
    pull_request: bool
    changed: bool
    revision: str | None = None


def parse_hub_uri(uri: str) -> HubAddress:
    """Reads an address such as `hf://datasets/ORG/NAME`, with `@REVISION` where one is meant.

    Raises:
        CultureCareError: It is no address of a dataset, model or Space, or names a file within one.
    """
    from huggingface_hub import parse_hf_uri
    from huggingface_hub.errors import HfUriError

    expected = "expected hf://datasets/ORG/NAME, hf://spaces/ORG/NAME or hf://models/ORG/NAME, with @REVISION where one is meant"
    try:
        parsed = parse_hf_uri(uri)
    except HfUriError as error:
        raise CultureCareError(f"{uri!r} is no address on the Hub: {expected}") from error
    if parsed.type not in get_args(RepoType) or parsed.path_in_repo:
        raise CultureCareError(f"{uri!r} is not the address of a whole repository: {expected}")
    return HubAddress(cast("RepoType", parsed.type), parsed.id, parsed.revision)


def whoami(api: HfApi | None = None) -> str:
    """Name of the account that the token belongs to.

    Raises:
        CultureCareError: There is no token, it is not accepted, or the Hub cannot be reached.
    """
    api = _api(api)
    _require_token(api)
    with _in_words(api, "asking whose token this is"):
        return str(api.whoami()["name"])


def publish_folder(
    folder: Path,
    repo_id: str,
    repo_type: RepoType,
    *,
    message: str,
    description: str = "",
    pull_request: bool = False,
    private: bool = False,
    gated: bool = False,
    delete_patterns: Sequence[str] = (),
    api: HfApi | None = None,
) -> Published:
    """Makes a repository hold the files of a folder, in one commit or pull request, or in none where it holds them already.

    Args:
        folder: What to publish; hidden files and folders are left out.
        repo_id: `ORG/NAME`; made where it does not exist, but not for a pull request.
        repo_type: What kind of repository it is.
        message: First line of the commit, and title of the pull request.
        description: Text of the commit or pull request.
        pull_request: Open a pull request in place of a commit.
        private: Whether a repository that is made is private; one that exists must be private then.
        gated: Whether readers must accept terms first: access requests are turned on before anything is uploaded. For a pull request,
            whose author may not do that, they must be on.
        delete_patterns: Files of the repository that match one of these and are not in the folder are deleted.
        api: Another client than the library's own.

    Raises:
        CultureCareError: It is not allowed, somebody else committed at the same time, or the Hub fails.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files: dict[str, bytes | Path] = {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    if not files:
        raise CultureCareError(f"{folder}: holds no file to publish")
    api, address = _api(api), repository(repo_id, repo_type)
    _require_token(api)
    with _in_words(api, f"publishing to {address}", address):
        info = _info(api, address)
        if info is None and not pull_request:
            api.create_repo(repo_id, repo_type=repo_type, private=private or None, exist_ok=True)
            info = api.repo_info(repo_id, repo_type=repo_type)
        if info is None:
            raise CultureCareError(
                f"{address} is not on {api.endpoint}, so there is nothing to open a pull request on: publish it once by a commit"
            )
        if private and not info.private:
            raise CultureCareError(f"{address} exists and is public: make it private in its settings first, or leave --private out")
        if gated and not info.gated:
            if pull_request:
                raise CultureCareError(f"{address} is open to everybody: its owner must turn on access requests in its settings first")
            api.update_repo_settings(repo_id, repo_type=repo_type, gated="auto")
        return _commit(api, address, files, str(info.sha), message, description, delete_patterns, pull_request=pull_request)


def open_pull_request(
    repo_id: str,
    repo_type: RepoType,
    files: Mapping[str, bytes | Path],
    *,
    message: str,
    description: str = "",
    known_by: str | None = None,
    api: HfApi | None = None,
) -> Published:
    """Opens a pull request that adds or replaces files in a repository, which may be somebody else's.

    Args:
        repo_id: `ORG/NAME` of a repository that exists.
        repo_type: What kind of repository it is.
        files: Contents, or files that hold them, by path in the repository.
        message: Title of the pull request.
        description: Text of the pull request.
        known_by: Path of a file by which an open pull request is known to be this one, whatever its files say; null to compare them all.
        api: Another client than the library's own.

    Returns:
        The pull request; the one that is open already where it has this title and these files.

    Raises:
        CultureCareError: The repository does not exist, the token may not, or the Hub fails.
    """
    api, address = _api(api), repository(repo_id, repo_type)
    _require_token(api)
    with _in_words(api, f"opening a pull request on {address}", address):
        head = str(api.repo_info(repo_id, repo_type=repo_type).sha)
        return _commit(api, address, files, head, message, description, (), pull_request=True, known_by=known_by)


def snapshot(
    uri: str,
    patterns: Sequence[str],
    *,
    folder: Path | None = None,
    api: HfApi | None = None,
) -> Path:
    """Downloads the files of a repository that match a pattern, as they are now: an older copy is never taken for the newest.

    Args:
        uri: Address, as in `parse_hub_uri`.
        patterns: Which files, such as `submissions/*`; a `*` also stands for slashes.
        folder: Where to put them as plain files; what an earlier snapshot put there and the repository no longer has is removed. By
            default they stay in the library's cache, as links into it.
        api: Another client than the library's own.

    Returns:
        The folder with the files.

    Raises:
        CultureCareError: The address is wrong, nothing is there, the terms of a gated repository are not accepted, or the Hub fails.
    """
    address, api = parse_hub_uri(uri), _api(api)
    with _in_words(api, f"downloading {address}", address):
        # Asked for first: `snapshot_download` alone would quietly fall back to an older copy where the Hub does not answer.
        head = str(api.repo_info(address.repo_id, repo_type=address.repo_type, revision=address.revision).sha)
        names = api.list_repo_files(address.repo_id, repo_type=address.repo_type, revision=head)
        wanted = {name for name in names if _matches(name, patterns)}
        if folder is not None:
            _remove_stale(folder, wanted)
            if not wanted:  # The library would warn of it.
                return folder
        there = api.snapshot_download(
            address.repo_id, repo_type=address.repo_type, revision=head, allow_patterns=list(patterns), local_dir=folder
        )
    return Path(there)


def _remove_stale(folder: Path, wanted: set[str]) -> None:
    # The library notes what it downloaded; only that is removed, never a file of the user's.
    notes = folder / ".cache" / "huggingface" / "download"
    for note in sorted(notes.rglob("*.metadata")):
        name = note.relative_to(notes).as_posix().removesuffix(".metadata")
        if name not in wanted:
            (folder / name).unlink(missing_ok=True)
            note.unlink()


# --- Commits ---------------------------------------------------------------------------------------------------------------------


def _commit(
    api: HfApi,
    address: HubAddress,
    files: Mapping[str, bytes | Path],
    head: str,
    message: str,
    description: str,
    delete_patterns: Sequence[str],
    *,
    pull_request: bool,
    known_by: str | None = None,
) -> Published:
    page = _page(api, address)
    operations = _pending(api, address, head, files, delete_patterns)
    if not operations:
        return Published(page, pull_request=False, changed=False, revision=head)
    if pull_request:
        for waiting in api.get_repo_discussions(
            address.repo_id, repo_type=address.repo_type, discussion_type="pull_request", discussion_status="open"
        ):
            reference = str(waiting.git_reference)
            if known_by is not None:
                is_it = api.file_exists(address.repo_id, known_by, repo_type=address.repo_type, revision=reference)
            else:
                is_it = waiting.title == message.strip() and not _pending(api, address, reference, files, delete_patterns)
            if is_it:
                return Published(waiting.url, pull_request=True, changed=False)
    made = api.create_commit(
        address.repo_id,
        operations,
        commit_message=message,
        commit_description=description,
        repo_type=address.repo_type,
        create_pr=pull_request,
        parent_commit=head,
    )
    return Published(made.pr_url or page, pull_request=pull_request, changed=True, revision=made.oid)


def _pending(
    api: HfApi, address: HubAddress, revision: str, files: Mapping[str, bytes | Path], delete_patterns: Sequence[str]
) -> list[Any]:
    """The operations that bring `revision` to hold `files`, none where it does."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(address.repo_id, repo_type=address.repo_type, revision=revision, recursive=True)
    there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    additions = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        for name, content in files.items()
        if name not in there or not _same(there[name], content)
    ]
    stale = [name for name in there if name not in files and _matches(name, delete_patterns)]
    return [*additions, *(CommitOperationDelete(path_in_repo=name) for name in stale)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a path fits one of the patterns, as `snapshot_download` reads them."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _same(there: Any, content: bytes | Path) -> bool:
    """Whether a file of the repository has this content, by the hash that the Hub lists for it."""
    import hashlib

    from huggingface_hub.utils.sha import git_hash

    data = content.read_bytes() if isinstance(content, Path) else content
    if there.lfs is not None:
        return bool(there.lfs.sha256 == hashlib.sha256(data).hexdigest())
    return bool(there.blob_id == git_hash(data))


def _info(api: HfApi, address: HubAddress) -> Any:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return api.repo_info(address.repo_id, repo_type=address.repo_type)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None


def _api(api: HfApi | None) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi() if api is None else api


def repository(repo_id: str, repo_type: RepoType) -> HubAddress:
    """The address of a repository by its name.

    Raises:
        CultureCareError: It is no name of a repository.
    """
    with contextlib.suppress(CultureCareError):
        if parse_hub_uri(f"hf://{repo_type}s/{repo_id}") == HubAddress(repo_type, repo_id):
            return HubAddress(repo_type, repo_id)
    raise CultureCareError(f"{repo_id!r} is no name of a repository on the Hub: expected ORG/NAME of letters, digits, '-', '_' and '.'")


def page_of(uri: str, api: HfApi | None = None) -> str:
    """The web page of a repository, by its address as in `parse_hub_uri`."""
    return _page(_api(api), parse_hub_uri(uri))


def _page(api: HfApi, address: HubAddress) -> str:
    kind = "" if address.repo_type == "model" else f"{address.repo_type}s/"
    return f"{api.endpoint}/{kind}{address.repo_id}"


# --- Errors ----------------------------------------------------------------------------------------------------------------------


def _require_token(api: HfApi) -> None:
    from huggingface_hub import get_token

    # `token=False` stands for "none" in the library.
    if not (api.token or (api.token is None and get_token())):
        raise CultureCareError(f"there is no token for {api.endpoint}: {_LOG_IN} to a token with write access")


@contextlib.contextmanager
def _in_words(api: HfApi, doing: str, address: HubAddress | None = None) -> Iterator[None]:
    """Turns whatever the library raises into one sentence that says what would be right."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # Exported lazily, under one name for all versions.

    try:
        yield
    except HfHubHTTPError as error:
        raise CultureCareError(f"{doing}: {_reason(api, error, address)}") from error
    except OfflineModeIsEnabled as error:
        raise CultureCareError(f"{doing}: HF_HUB_OFFLINE is set, which forbids it; unset it") from error
    except httpx.TimeoutException as error:
        raise CultureCareError(f"{doing}: {api.endpoint} did not answer in time; try again, or set HF_HUB_DOWNLOAD_TIMEOUT") from error
    except (httpx.HTTPError, LocalEntryNotFoundError) as error:
        raise CultureCareError(
            f"{doing}: {api.endpoint} cannot be reached ({_short(error)}); check the connection and HF_ENDPOINT"
        ) from error
    except (ValueError, RuntimeError, OSError) as error:
        # A card that the Hub refuses, an upload that broke, a disk that is full.
        cause = error.__cause__
        reason = _reason(api, cause, address) if isinstance(cause, HfHubHTTPError) and isinstance(error, RuntimeError) else _short(error)
        raise CultureCareError(f"{doing}: {reason}") from error


def _reason(api: HfApi, error: HfHubHTTPError, address: HubAddress | None) -> str:
    """What the Hub's answer means, and what to do."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status, what = error.response.status_code, str(address) if address else "this"
    token = f"{api.endpoint} does not accept the token: make a new one at {api.endpoint}/settings/tokens, then {_LOG_IN}"
    if error.response.headers.get("X-Error-Message") == "Invalid credentials in Authorization header":
        return token
    page = _page(api, address) if address else api.endpoint
    # The classes come first: the Hub answers 401, 403 or 404 to one and the same thing. A gated repository is also one not found.
    kinds = {
        GatedRepoError: f"{what} asks to accept its terms first: do so on {page} with the account of your token ({_LOG_IN})",
        RepositoryNotFoundError: f"{what} is not on {api.endpoint}, or is private: check the name, or {_LOG_IN} to a token that may see it",
        RevisionNotFoundError: f"there is no such revision of {what}",
        EntryNotFoundError: f"a file that was asked for is not in {what}",
    }
    if meaning := next((meaning for kind, meaning in kinds.items() if isinstance(error, kind)), None):
        return meaning
    wait = _seconds_to_wait(error)
    meanings = {
        401: token,
        403: f"the token may not do that ({_said(error)}): use a token with write access to it, or open a pull request",
        409: f"it conflicts with what is there ({_said(error)}): run the command again",
        412: "somebody else committed at the same time: run the command again",
        429: f"too many requests: wait {f'{wait} seconds' if wait else 'a few minutes'} and run the command again",
    }
    fault = f"{api.endpoint} has a fault of its own ({status}): try again later"
    return fault if status >= 500 else meanings.get(status, f"the Hub refused it ({status}: {_said(error)})")


def _seconds_to_wait(error: HfHubHTTPError) -> str | None:
    headers = error.response.headers
    # The Hub writes `RateLimit: "api";r=0;t=55`; others the older header.
    limit = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    retry = re.fullmatch(r"\d+", headers.get("Retry-After", ""))
    found = limit[1] if limit else retry[0] if retry else None
    return found if found and int(found) else None


def _said(error: HfHubHTTPError) -> str:
    return _clean(error.server_message or error.response.headers.get("X-Error-Message") or "no reason given")


def _short(error: BaseException) -> str:
    return _clean(str(error) or type(error).__name__)


def _clean(text: str) -> str:
    """One line of at most 300 characters without anything that looks like a token."""
    return re.sub(r"\bhf_\w{8,}", "hf_…", " ".join(text.split()))[:300].rstrip(".")
