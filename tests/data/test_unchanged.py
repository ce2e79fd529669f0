"""What is sound reads as it did when the committed records were made: keys and numbers stay."""

import hashlib

import pytest
from common import SHARED

from cxrlib.data.decode import decode_image, squared
from cxrlib.data.folder import check, read_index
from cxrlib.data.provenance import fingerprint

MINI = SHARED / "covidx-mini"
needs_mini = pytest.mark.skipif(not MINI.is_dir(), reason=f"needs the real X-rays in {MINI}")

# Made on 26 November 2026 with the decoders of commit 3a377f3, before what is unsound was refused.
FINGERPRINT = "db6c2946b66686901619e86f6fb483177c2922b27e2350a1432d1971a0d67e0a"
PIXELS = "f9937cdc6713753c042eaf087ae07bc5dbef0c350deb285d33e014c9a914a914"
SAMPLE = 366


@needs_mini
def test_the_fingerprint_of_real_data_is_that_of_the_committed_records():
    report = check(MINI, decode=False)
    assert report.problems == [] and report.left_out == {}
    assert fingerprint(read_index(MINI), MINI) == FINGERPRINT


@needs_mini
def test_real_xrays_decode_bit_for_bit_as_they_did():
    digest, files = hashlib.sha256(), [*sorted((MINI / "test").iterdir()), *sorted((MINI / "train").iterdir())[::10]]
    for file in files:
        pixels = decode_image(file)
        digest.update(str(pixels.shape).encode() + pixels.tobytes())
        assert squared(file, 48).shape == (48, 48), "no real X-ray counts as damaged or flat"
    assert len(files) == SAMPLE and digest.hexdigest() == PIXELS
