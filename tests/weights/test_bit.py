"""BiT weights: the official layout against a forward pass written here from the papers, and every way a file can be wrong.

The archives are made here with random values; the layout and the forward pass share no code with the library.
"""

import hashlib
import io
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from torch.nn import functional

from cxrlib.model.network import create_model
from cxrlib.weights import bit
from cxrlib.weights.resolve import resolve_initialisation
from cxrlib.weights.source import WeightsError

ARCH = "resnetv2_50x1_bit"
# Blocks of R50x1: units, channels in, channels inside, channels out.
BLOCKS = [(3, 64, 64, 256), (4, 256, 128, 512), (6, 512, 256, 1024), (3, 1024, 512, 2048)]


def make_arrays(kernel, gamma, beta, classes=1000):
    """All arrays of an official R50x1 archive; the three functions take a shape."""
    arrays = {"resnet/root_block/standardized_conv2d/kernel": kernel((7, 7, 3, 64))}
    for number, (units, inside, middle, out) in enumerate(BLOCKS, start=1):
        for unit in range(1, units + 1):
            prefix, width = f"resnet/block{number}/unit{unit:02d}", inside if unit == 1 else out
            if unit == 1:
                arrays[f"{prefix}/a/proj/standardized_conv2d/kernel"] = kernel((1, 1, width, out))
            for letter, shape in (("a", (1, 1, width, middle)), ("b", (3, 3, middle, middle)), ("c", (1, 1, middle, out))):
                arrays[f"{prefix}/{letter}/standardized_conv2d/kernel"] = kernel(shape)
                arrays[f"{prefix}/{letter}/group_norm/gamma"] = gamma(shape[2])
                arrays[f"{prefix}/{letter}/group_norm/beta"] = beta(shape[2])
    arrays["resnet/group_norm/gamma"], arrays["resnet/group_norm/beta"] = gamma(2048), beta(2048)
    arrays["resnet/head/conv2d/kernel"], arrays["resnet/head/conv2d/bias"] = kernel((1, 1, 2048, classes)), beta(classes)
    return arrays


def bit_forward(arrays, images, epsilon=1e-10):
    """Features before pooling, and logits, of BiT (Kolesnikov et al. 2020) straight from its arrays, in double precision."""
    tensors = {name: torch.from_numpy(array).double() for name, array in arrays.items()}

    def convolve(x, name, stride=1, padding=0):
        weight = tensors[f"{name}/standardized_conv2d/kernel"].permute(3, 2, 0, 1).contiguous()
        mean = weight.mean((1, 2, 3), keepdim=True)
        variance = ((weight - mean) ** 2).mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, (weight - mean) / torch.sqrt(variance + epsilon), stride=stride, padding=padding)

    def norm_relu(x, name):
        return functional.relu(functional.group_norm(x, 32, tensors[f"{name}/group_norm/gamma"], tensors[f"{name}/group_norm/beta"]))

    x = convolve(images, "resnet/root_block", stride=2, padding=3)
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, 2)  # pads with zeros, not with minus infinity
    for number, (units, *_) in enumerate(BLOCKS, start=1):
        for unit in range(1, units + 1):
            name = f"resnet/block{number}/unit{unit:02d}"
            stride = 2 if unit == 1 and number > 1 else 1
            y = norm_relu(x, f"{name}/a")
            shortcut = convolve(y, f"{name}/a/proj", stride) if unit == 1 else x
            y = norm_relu(convolve(y, f"{name}/a"), f"{name}/b")
            y = norm_relu(convolve(y, f"{name}/b", stride, 1), f"{name}/c")
            x = shortcut + convolve(y, f"{name}/c")
    features = norm_relu(x, "resnet")
    head = tensors["resnet/head/conv2d/kernel"][0, 0]
    return features, features.mean((2, 3)) @ head + tensors["resnet/head/conv2d/bias"]


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A folder with a BiT-S of random values, and its arrays. Removed afterwards: it has 100 MB."""
    generator = np.random.default_rng(3)

    def draw(shape, mean=0.0):
        return mean + np.float32(0.1) * generator.standard_normal(shape, dtype=np.float32)

    arrays = make_arrays(lambda shape: draw(shape, np.float32(0.02)), lambda count: draw(count, np.float32(1)), draw)
    path = tmp_path_factory.mktemp("bit") / "BiT-S-R50x1.npz"
    np.savez(path, **arrays)
    yield path, arrays
    path.unlink()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, no hub cache, an empty weights folder, and one thread: the suite may run beside others."""
    torch.set_num_threads(1)

    def offline(*_args, **_kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", offline)
    monkeypatch.setenv("CXR_WEIGHTS_DIR", str(tmp_path))
    return tmp_path


def zeros(classes=1000):
    """Arrays of the right shapes that compress to nothing."""
    return make_arrays(*[lambda shape: np.zeros(shape, np.float16)] * 3, classes)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "BiT-S-R50x1.npz"
    np.savez_compressed(path, **zeros())
    return path.read_bytes()


def test_converted_weights_compute_what_the_official_ones_do(official, monkeypatch):
    path, arrays = official
    monkeypatch.setenv("CXR_WEIGHTS_DIR", str(path.parent))
    torch.manual_seed(0)
    images = torch.randn(1, 3, 64, 48).double()
    ours = create_model(ARCH, "bit-s").eval().double()
    theirs = timm.create_model(ARCH, num_classes=1000).eval()
    theirs.load_pretrained(str(path))
    theirs.double()
    with torch.inference_mode():
        # BiT's code adds 1e-10 to a filter's variance, timm 1e-8: with that alone aligned, the networks are identical.
        found = ours.forward_features(images)
        for epsilon, tolerance in ((1e-10, 1e-4), (1e-8, 1e-10)):
            features, logits = bit_forward(arrays, images, epsilon)
            assert features.shape == (1, 2048, 2, 2) and features.std() > 0.1
            torch.testing.assert_close(found, features, rtol=0, atol=tolerance)
        torch.testing.assert_close(theirs(images), logits, rtol=0, atol=tolerance)
        assert (ours(images) == 0).all()
    for name, tensor in theirs.state_dict().items():
        if not name.startswith("head"):
            assert torch.equal(tensor, ours.state_dict()[name]), name
    assert resolve_initialisation("bit-s").sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert resolve_initialisation(str(path)).mean == 0.5

    grey = create_model(ARCH, "bit-s", image_channels=1)
    torch.testing.assert_close(grey.stem.conv.weight.double(), ours.stem.conv.weight.sum(1, keepdim=True))


def test_a_file_is_trusted_on_first_use_and_compared_ever_after(alone, sound):
    path = alone / "BiT-S-R50x1.npz"
    path.write_bytes(sound)
    found = resolve_initialisation("bit-s", download=False)
    assert (found.name, found.path, found.arch) == ("bit-s", path, ARCH)
    beside = path.with_suffix(".sha256")
    assert beside.read_text().split() == [found.sha256, path.name]
    np.savez(path, **(zeros() | {"resnet/group_norm/beta": np.ones(2048, np.float32)}))
    with pytest.raises(WeightsError, match=f"not {found.sha256}.*delete it and BiT-S-R50x1.sha256"):
        resolve_initialisation("bit-s")
    path.unlink()
    path.write_bytes(sound)
    assert resolve_initialisation("bit-s") == found


def test_a_stated_checksum_counts_from_the_start(alone, sound):
    path = alone / "BiT-S-R50x1.npz"
    path.write_bytes(sound)
    path.with_suffix(".sha256").write_text("0" * 64)
    with pytest.raises(WeightsError, match="has SHA-256 [0-9a-f]{64}, not 0{64}"):
        resolve_initialisation("bit-s")
    with pytest.raises(WeightsError, match="not 0{64}"):
        resolve_initialisation(str(path))
    path.with_suffix(".sha256").write_text("unknown")
    with pytest.raises(WeightsError, match="holds no SHA-256"):
        resolve_initialisation("bit-s")


def wrong_shape(arrays):
    arrays["resnet/block1/unit02/b/standardized_conv2d/kernel"] = np.zeros((3, 3, 64, 32), np.float32)


def transposed(arrays):
    name = "resnet/block1/unit01/a/proj/standardized_conv2d/kernel"
    arrays[name] = arrays[name].transpose(3, 2, 0, 1)


def deeper(arrays):
    arrays["resnet/block3/unit07/a/standardized_conv2d/kernel"] = np.zeros((1, 1, 1024, 256), np.float32)


def not_finite(arrays):
    arrays["resnet/block4/unit03/c/group_norm/gamma"] = np.full(512, np.nan, np.float32)


def no_head(arrays):
    del arrays["resnet/head/conv2d/bias"]


def no_unit(arrays):
    for name in [name for name in arrays if "block2/unit03" in name]:
        del arrays[name]


def pickled(arrays):
    arrays["resnet/group_norm/gamma"] = np.array([{}] * 2048, dtype=object)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (wrong_shape, r"unit02/b/standardized_conv2d/kernel' has shape \(3, 3, 64, 32\), not \(3, 3, 64, 64\)"),
        (transposed, r"proj/standardized_conv2d/kernel' has shape \(256, 64, 1, 1\)"),
        (deeper, "1 arrays too many, such as 'resnet/block3/unit07"),
        (not_finite, "unit03/c/group_norm/gamma' holds values that are not finite"),
        (no_head, "lacks 1 arrays, such as 'resnet/head/conv2d/bias'"),
        (no_unit, "lacks 9 arrays, such as 'resnet/block2/unit03/"),
        (pickled, "truncated, damaged or no .npz"),
    ],
)
def test_what_is_not_bit_is_refused_and_not_remembered(alone, change, complaint):
    arrays = zeros()
    change(arrays)
    path = alone / "BiT-S-R50x1.npz"
    np.savez_compressed(path, **arrays)
    with pytest.raises(WeightsError, match=complaint) as problem:
        resolve_initialisation("bit-s")
    assert str(path) in str(problem.value) and "get the file again" in str(problem.value)
    assert f"its SHA-256 is {hashlib.sha256(path.read_bytes()).hexdigest()};" in str(problem.value)
    assert not path.with_suffix(".sha256").exists()


def one_bit(content):
    """The archive with one bit of its largest array turned."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    place = largest.header_offset + largest.compress_size // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        one_bit,
        lambda content: b"<html>not found</html>",
        lambda content: b"",
    ],
    ids=["truncated", "one bit", "a page", "empty"],
)
def test_damaged_archives_are_refused(alone, sound, damage):
    path = alone / "mine.npz"
    path.write_bytes(damage(sound))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=f"mine.npz is truncated, damaged or no .npz archive .*; its SHA-256 is {digest}; get the file again"):
        resolve_initialisation(str(path))


def test_bit_s_under_the_name_of_bit_m_is_refused(alone, sound):
    (alone / "BiT-M-R50x1.npz").write_bytes(sound)
    with pytest.raises(WeightsError, match=r"head/conv2d/kernel' has shape \(1, 1, 2048, 1000\), not \(1, 1, 2048, 21843\)"):
        resolve_initialisation("bit-m")


def test_an_archive_with_the_classes_of_bit_m_loads_as_bit_m_and_not_as_bit_s(alone):
    kernel = {"resnet/root_block/standardized_conv2d/kernel": np.ones((7, 7, 3, 64), np.float16)}
    arrays = zeros(21843) | kernel | {"resnet/group_norm/beta": np.linspace(-1, 1, 2048, dtype=np.float32)}
    path = alone / "BiT-M-R50x1.npz"
    np.savez_compressed(path, **arrays)
    found = resolve_initialisation("bit-m", download=False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.name, found.path, found.sha256, found.arch, found.mean) == ("bit-m", path, digest, ARCH, 0.5)
    assert path.with_suffix(".sha256").read_text().split() == [digest, path.name]
    model = create_model(ARCH, "bit-m")
    assert torch.equal(model.norm.bias, torch.from_numpy(arrays["resnet/group_norm/beta"])) and model.head.fc.weight.shape[0] == 1
    path.rename(alone / "BiT-S-R50x1.npz")
    with pytest.raises(WeightsError, match=r"head/conv2d/kernel' has shape \(1, 1, 2048, 21843\), not \(1, 1, 2048, 1000\)"):
        resolve_initialisation("bit-s")


def test_arrays_outside_the_network_do_not_matter(alone):
    np.savez_compressed(alone / "BiT-S-R50x1.npz", **zeros(), global_step=np.int64(1))
    assert "norm.weight" in bit.read(alone / "BiT-S-R50x1.npz", 1000)


@pytest.mark.parametrize("name", ["bit-s", "bit-m"])
@pytest.mark.parametrize("download", [True, False])
def test_without_a_network_one_sentence_says_which_file_to_put_where(alone, name, download):
    with pytest.raises(WeightsError) as problem:
        resolve_initialisation(name, download)
    file = f"BiT-{name[-1].upper()}-R50x1.npz"
    for part in (f"{file} is not in {alone}", f"https://storage.googleapis.com/bit_models/{file} and put it there", "CXR_WEIGHTS_DIR"):
        assert part in str(problem.value)


class Answer(io.BytesIO):
    headers = {}


def test_bit_s_is_fetched_once_verified_and_never_by_a_plan(alone, sound, monkeypatch):
    asked = []

    def answer(address, timeout):
        asked.append(address)
        content = Answer(sound)
        content.headers = {"Content-Length": str(len(sound))}
        return content

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    with pytest.raises(WeightsError, match="not fetched"):
        resolve_initialisation("bit-s", download=False)
    assert not asked
    digest = hashlib.sha256(sound).hexdigest()
    assert [resolve_initialisation("bit-s").sha256 for _ in range(2)] == [digest, digest]
    assert asked == ["https://storage.googleapis.com/bit_models/BiT-S-R50x1.npz"]


def test_of_two_that_want_it_at_once_one_downloads(alone, sound, monkeypatch):
    asked = []

    def answer(address, timeout):
        asked.append(address)
        time.sleep(0.5)
        return Answer(sound)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(resolve_initialisation, ["bit-s", "bit-s"]))
    assert found[0] == found[1] and len(asked) == 1


@pytest.mark.parametrize(("length", "complaint"), [(10**6, "broke off after 5 of 1,000,000 bytes"), (5, "what came is no BiT-R50x1")])
def test_a_bad_download_leaves_nothing_behind(alone, monkeypatch, length, complaint):
    def answer(address, timeout):
        content = Answer(b"<htm>")
        content.headers = {"Content-Length": str(length)}
        return content

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    with pytest.raises(WeightsError, match=complaint):
        resolve_initialisation("bit-s")
    assert [path.name for path in alone.iterdir() if not path.name.endswith(".lock")] == []
