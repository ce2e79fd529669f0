"""DICOM files, made here."""

import numpy as np
import pytest
from dicom_files import RAMP, write
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from cxrlib.data.decode import ImageError, check_image, decode_image
from cxrlib.data.dicom import apply_window

GREY = np.rint(RAMP / 4095 * 255)


@pytest.mark.parametrize("name", ["a.dcm", "a", "a.png"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("preamble", [True, False])
def test_plain_grey(tmp_path, name, syntax, preamble):
    path = write(tmp_path / name, syntax=syntax, preamble=preamble)
    check_image(path)
    decoded = decode_image(path)
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded, GREY, atol=1)


def test_monochrome1_is_inverted(tmp_path):
    path = write(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(decode_image(path), 255 - GREY, atol=1)


def test_rescale_comes_before_the_window(tmp_path):
    path = write(tmp_path / "a.dcm", RescaleSlope="2", RescaleIntercept="-1000", WindowCenter="2000", WindowWidth="1001")
    expected = apply_window(RAMP * 2.0 - 1000, 2000, 1001) * 255
    decoded = decode_image(path)
    np.testing.assert_allclose(decoded, expected, atol=1)
    assert (decoded[RAMP * 2.0 - 1000 <= 1499] == 0).all() and (decoded[RAMP * 2.0 - 1000 > 2500] == 255).all()


def test_first_of_several_windows(tmp_path):
    one = write(tmp_path / "a.dcm", WindowCenter="1000", WindowWidth="500")
    two = write(tmp_path / "b.dcm", WindowCenter=["1000", "3000"], WindowWidth=["500", "9"])
    np.testing.assert_array_equal(decode_image(one), decode_image(two))


def test_a_window_the_standard_forbids_is_ignored(tmp_path):
    path = write(tmp_path / "a.dcm", WindowCenter="1000", WindowWidth="0")
    np.testing.assert_allclose(decode_image(path), GREY, atol=1)


def test_window_functions():
    values = np.array([-1000.0, 50, 60, 70, 1000])
    # PS3.3 C.11.2.1.2.1: centre 60, width 21 spans 49.5 ... 69.5.
    np.testing.assert_allclose(apply_window(values, 60, 21), [0, 0.025, 0.525, 1, 1])
    np.testing.assert_allclose(apply_window(values, 60, 20, "LINEAR_EXACT"), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(apply_window(values, 60, 20, "SIGMOID"), [0, 1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2), 1], atol=1e-9)
    np.testing.assert_array_equal(apply_window(np.array([59.0, 60]), 60, 1), [0, 1])
    with pytest.raises(ValueError, match="'ODD' is unknown"):
        apply_window(values, 60, 21, "ODD")


def test_voi_table(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (65535 - np.arange(4096) * 16).astype(np.uint16).tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    path = write(tmp_path / "a.dcm", VOILUTSequence=[table], WindowCenter="1", WindowWidth="2")
    np.testing.assert_allclose(decode_image(path), 255 - GREY, atol=1)


def test_signed_values(tmp_path):
    path = write(tmp_path / "a.dcm", values=(RAMP.astype(np.int16) - 2048), WindowCenter="0", WindowWidth="4096")
    np.testing.assert_allclose(decode_image(path), GREY, atol=1)


def test_colour_and_8_bits(tmp_path):
    colour = np.zeros((5, 6, 3), np.uint8)
    colour[:] = (200, 100, 50)
    assert (decode_image(write(tmp_path / "a.dcm", values=colour)) == 124).all()
    grey = (RAMP // 16).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(write(tmp_path / "b.dcm", values=grey)), grey)


def test_run_length_encoding(tmp_path):
    import pydicom

    plain = pydicom.dcmread(write(tmp_path / "a.dcm"))
    plain.compress(RLELossless)
    plain.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(decode_image(tmp_path / "b.dcm"), decode_image(tmp_path / "a.dcm"))


def test_missing_decoder_says_what_to_install(tmp_path):
    pytest.importorskip("pydicom")
    from pydicom.pixels import get_decoder

    if get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for JPEG Lossless is installed here")
    path = write(tmp_path / "a.dcm", syntax=JPEGLosslessSV1, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    with pytest.raises(ImageError, match=r"a\.dcm: compressed as 'JPEG Lossless.*pip install"):
        decode_image(path)


def test_what_is_refused(tmp_path):
    for name, fields, words in [
        ("frames.dcm", {"NumberOfFrames": "2", "PixelData": RAMP.tobytes() * 2}, "2 frames"),
        ("colours.dcm", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "PixelData": np.repeat(RAMP[..., None], 3, 2).tobytes() * 4}, "4 frames"),
        ("short.dcm", {"PixelData": RAMP.tobytes()[:100]}, "truncated or damaged pixel data"),
        ("bomb.dcm", {"Rows": 60000, "Columns": 60000}, "over the limit"),
        ("none.dcm", {"Rows": 0}, "without an image"),
    ]:
        with pytest.raises(ImageError, match=f"{name}: .*{words}"):
            decode_image(write(tmp_path / name, **fields))
    path = write(tmp_path / "cut.dcm")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageError, match="cut.dcm: "):
        decode_image(path)
