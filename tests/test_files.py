"""One lock and one seal for everything that cxrlib writes: what they promise, and what is refused."""

import hashlib
import json

import pytest

from cxrlib.files import lock_file, locked, seal, text_digest, unseal


def test_a_sealed_text_comes_back_and_anything_else_is_refused():
    text = 'a "record"\nof two lines, ä'
    content = seal(text, "record").encode()
    assert json.loads(content) == {"sha256": text_digest(text), "record": text}
    assert unseal(content, "record") == text
    for changed in (content.replace(b"two", b"ten"), content.replace(text_digest(text).encode(), b"0" * 64)):
        with pytest.raises(ValueError, match="its checksum differs"):
            unseal(changed, "record")
    with pytest.raises(ValueError, match="it is no scores: KeyError"):
        unseal(content, "scores")
    for foreign in (b"", b"[]", b"null", b"\xff", b'{"record": 1, "sha256": 2}', b"[" * 100_000, content[:-1]):
        with pytest.raises(ValueError):
            unseal(foreign, "record")


def test_what_earlier_versions_sealed_is_still_read():
    """Until 2026 digests of images lay behind a line with their SHA-256."""
    text = b'{"test/a.png": [1, 2, 3, "x"]}'
    old = hashlib.sha256(text).hexdigest().encode() + b"\n" + text
    assert unseal(old, "contents") == text.decode()
    with pytest.raises(ValueError):
        unseal(old.replace(b"1, 2", b"1, 3"), "contents")


def test_a_lock_is_held_by_one_and_free_again_afterwards(tmp_path, capsys):
    run = tmp_path / "runs" / "key"
    with locked(run) as held:
        assert held and lock_file(run) == tmp_path / "runs" / ".key.lock" and lock_file(run).is_file()
        with locked(run, wait=False) as second:
            assert not second
        with locked(tmp_path / "runs" / "other", wait=False) as other:
            assert other
    with pytest.raises(KeyError), locked(run, wait=False) as held:
        assert held
        raise KeyError
    with locked(run, wait=False) as again:
        assert again and capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="cannot write .*file.* free space or choose another folder"), locked(tmp_path / "file" / "run"):
        pass
