"""Weights from the hub that timm publishes on: found in its cache, fetched where there is a network, checked by digest.

Only ``model.safetensors`` is ever taken; the pickle beside it is not. The hub stores such a file under its SHA-256, which
is also the name that its cache keeps: the digest of the file found must be that name.
"""

from __future__ import annotations

import re
from pathlib import Path

from cxrlib.weights.source import (
    TIMM_PREFIX,
    Initialisation,
    WeightsError,
    checked_digest,
    file_metadata,
    per_channel,
    stated_normalisation,
)

FILE = "model.safetensors"


def find(repository: str, download: bool) -> tuple[Path, str]:
    """Path and SHA-256 of the weights of a hub repository, from the cache or, if `download`, from the network.

    Args:
        repository: such as ``timm/resnet50.a1_in1k``.

    Raises:
        WeightsError: if the file is not in the cache and may not or cannot be fetched, or is not what the hub says.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        path = Path(hf_hub_download(repository, FILE, local_files_only=True))
    except (OSError, ValueError):
        if not download:
            raise WeightsError(f"{repository}/{FILE} is not in the hub's cache on this machine") from None
        try:
            get_hf_file_metadata(hf_hub_url(repository, FILE), timeout=10)  # fails at once without a network, with no retries
            path = Path(hf_hub_download(repository, FILE))
        except Exception as error:  # of the client's HTTP library, which changes between versions
            raise WeightsError(f"{repository}/{FILE} could not be fetched from the hub ({type(error).__name__})") from None
    stored = path.resolve()
    stated = stored.name if re.fullmatch(r"[0-9a-f]{64}", stored.name) else None
    return path, checked_digest(path, stated, f"delete {stored} and fetch it again")


def resolve_tag(init: str, download: bool) -> Initialisation:
    """The initialisation of ``timm:MODEL.TAG``, with the mean and std that timm states for it.

    Raises:
        WeightsError: for a tag that timm does not know or has no safetensors file of, or as :func:`find` does.
    """
    import timm

    tag = init.removeprefix(TIMM_PREFIX)
    model = tag.partition(".")[0]
    tags = timm.list_pretrained(f"{model}*")
    if tag not in tags:
        close = tags[:3] or ["resnet50.a1_in1k"]
        examples = ", ".join(TIMM_PREFIX + known for known in close)
        raise WeightsError(f"init '{init}': timm has no pretrained tag '{tag}'; for example: {examples}")
    about = timm.get_pretrained_cfg(tag)
    if not about.hf_hub_id:
        raise WeightsError(f"init '{init}': timm publishes no safetensors file of it; choose another tag")
    try:
        path, digest = find(about.hf_hub_id, download)
    except WeightsError as error:
        raise WeightsError(
            f"init '{init}': {error}; run once with a network, or save the file elsewhere and give its path and arch '{model}'"
        ) from None
    mean, std = per_channel(tuple(about.mean)), per_channel(tuple(about.std))
    return Initialisation(init, path, digest, mean, std, model, () if stated_normalisation(path, file_metadata(path)) == (mean, std) else ("mean", "std"))
