"""Validate RO-Crates with roc-validator, without a network: ``python tools/validate_crates.py FOLDER ...``.

The validator asks for the JSON-LD context of RO-Crate by its address. Here the copy that rocrate ships answers (its version
1.3 has every term of 1.1 that our crates use, with the same meaning); any other request is refused. Needs roc-validator and
rocrate, which do not fit into the lock of the book (roc-validator wants rich < 14): make an environment of its own with
``tools/requirements-validators.txt``. Exit status 1 if a crate lacks what its profile requires.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


def serve_offline() -> None:
    """Answer requests for the context from the copy on disk, and refuse every other."""
    import requests
    from rocrate_validator.utils import document_loader, http

    body = files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()

    def answer(_requester: object, url: str, **_: object) -> requests.Response:
        response = requests.Response()
        response.url, response.status_code, response._content = url, 200 if url == CONTEXT else 504, body if url == CONTEXT else b""
        response.headers["Content-Type"] = "application/ld+json"
        return response

    def load(url: str) -> object:
        if url != CONTEXT:
            raise http.OfflineCacheMissError(url)
        return json.loads(body)

    document_loader._fetch_json_ld = load
    http.HttpRequester.get = http.HttpRequester.head = http.HttpRequester.fetch_fresh = answer


def main(folders: list[str]) -> int:
    from rocrate_validator import services
    from rocrate_validator.models import ValidationSettings
    from rocrate_validator.utils.http import HttpRequester

    serve_offline()
    failed = 0
    with tempfile.TemporaryDirectory() as cache:
        HttpRequester.initialize_cache(cache_path=str(Path(cache) / "http"), cache_max_age=-1)
        for folder in folders:
            settings = ValidationSettings(rocrate_uri=folder, profile_identifier="process-run-crate-0.5", requirement_severity="REQUIRED", skip_availability_check=True)
            result = services.validate(settings)
            faults = [f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()]
            failed += bool(faults)
            print(f"{folder}: {'; '.join(faults) if faults else 'valid'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
