"""Initial weights: files of other kinds, damaged ones, and what they say of themselves."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bad_inputs import Bad


def resolve(name: str) -> Callable[[Path], object]:
    def call(place: Path) -> object:
        from cxrlib.weights.resolve import resolve_initialisation

        return resolve_initialisation(name, download=False)

    return call


def build(arch: str, init: str) -> Callable[[Path], object]:
    def call(place: Path) -> object:
        from cxrlib.model.network import create_model

        return create_model(arch, init)

    return call


SAFE, NPZ = "w.safetensors", "BiT-M-R50x1.npz"


def of(what: str, usual: object) -> Callable[..., Bad]:
    """Rows of one kind of thing, which is used in one way unless a row says how."""
    return lambda how, make, says, call=usual: Bad(what, how, make, says, call, data=False)


WEIGHTS, ARCHIVE = of("weights", resolve(SAFE)), of("weights", resolve(NPZ))
AGAIN = "get the file again"


def content(data: bytes, name: str = SAFE) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes(data) and None


def tensors(metadata: dict[str, str] | None = None, cut: int = 0, beside: str | None = None) -> Callable[[Path], None]:
    """A sound file of one tensor, then shortened by ``cut`` bytes, with a ``.sha256`` file beside it."""

    def make(place: Path) -> None:
        header = {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}} | ({"__metadata__": metadata} if metadata else {})
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + bytes(12)
        (place / SAFE).write_bytes(data[: len(data) - cut])
        if beside is not None:
            (place / SAFE).with_suffix(".sha256").write_text(beside)

    return make


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def array(shape: tuple, descr: str = "<f4", version: bytes = b"\x01\x00", body: bytes = bytes(400)) -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + body


def archive(name: str, data: bytes, kind: int = zipfile.ZIP_DEFLATED, damage: bool = False) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        with zipfile.ZipFile(place / NPZ, "w", kind) as file:
            file.writestr(zipfile.ZipInfo(name), data, kind)  # without the time, so that the checksum stays
        if damage:
            whole = bytearray((place / NPZ).read_bytes())
            whole[60:200] = bytes(140)
            (place / NPZ).write_bytes(whole)

    return make


def changed(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """The weights that ship, changed."""

    def make(place: Path) -> None:
        from safetensors.torch import load_file, save_file

        from cxrlib.weights.source import WEIGHTS_FOLDER, file_metadata

        source = WEIGHTS_FOLDER / "fractal-s.safetensors"
        weights = load_file(source)
        change(weights)
        save_file(weights, place / SAFE, metadata=file_metadata(source))

    return make


def spoil(value: float) -> Callable[[dict], object]:
    return lambda weights: weights["stem.conv.weight"].view(-1).__setitem__(3, value)


LAPTOP = build("resnetv2_laptop", SAFE)
NOISE = array((1000,), body=np.random.default_rng(0).bytes(4000))

ROWS = [
    WEIGHTS("they have a name that is none", lambda place: None, ("init 'bit-xl' is neither a file nor one of: random", "bit-m"), resolve("bit-xl")),
    WEIGHTS("they are a path where nothing is", lambda place: None, ("init 'no/such.safetensors' is neither a file nor one of",), resolve("no/such.safetensors")),
    WEIGHTS("they are a folder", lambda place: (place / "w").mkdir(), ("init 'w' is neither a file nor one of",), resolve("w")),
    WEIGHTS("they are a pipe", lambda place: __import__("os").mkfifo(place / SAFE), (f"init '{SAFE}' is neither a file nor one of",)),
    *(
        WEIGHTS(f"they are a {kind} file", content(b"x", f"w.{kind}"), (f"w.{kind} is neither .safetensors nor an official BiT .npz", "may hold code and are not loaded"), resolve(f"w.{kind}"))
        for kind in ("pt", "pth", "bin", "ckpt", "h5", "pkl")
    ),
    WEIGHTS("a timm tag does not exist", lambda place: None, ("timm has no pretrained tag 'resnet50.nothing'", "for example: timm:resnet50."), resolve("timm:resnet50.nothing")),
    WEIGHTS("a timm tag has no tag", lambda place: None, ("timm has no pretrained tag 'nonsense'",), resolve("timm:nonsense")),
    WEIGHTS("the safetensors file is empty", content(b""), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("the safetensors file is cut short", tensors(cut=5), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("the safetensors file is cut in its header", tensors(cut=60), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("its header is longer than the file", content(struct.pack("<Q", 2**62)), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("its header is no JSON", content(header(b"nonsense")), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("its header is nested three thousand deep", content(header(b'{"a":' * 3000)), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("it claims terabytes", content(header(json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode())), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("it is a PyTorch file under another name", content(b"\x80\x02}q\x00."), (f"{SAFE} is damaged or not safetensors", AGAIN)),
    WEIGHTS("its checksum beside it is another", tensors(beside="a" * 64), (f"{SAFE} has SHA-256", "not " + "a" * 64, "it is damaged or was changed")),
    WEIGHTS("the checksum file beside it holds no checksum", tensors(beside="sha256 of w"), ("w.sha256 holds no SHA-256", f"get {SAFE} and its checksum again")),
    WEIGHTS("the checksum file beside it is empty", tensors(beside=""), ("w.sha256 holds no SHA-256",)),
    WEIGHTS("its mean is no number", tensors({"mean": "grey"}), (SAFE, "metadata 'mean' = 'grey' is neither one number nor three")),
    WEIGHTS("it has two means", tensors({"mean": "0.4 0.5"}), (SAFE, "metadata 'mean' = '0.4 0.5' is neither one number nor three")),
    WEIGHTS("its mean is not finite", tensors({"mean": "nan"}), (SAFE, "metadata 'mean' = 'nan' is neither one number nor three")),
    WEIGHTS("its std is zero", tensors({"std": "0"}), (SAFE, "metadata 'std' = '0' must be positive")),
    WEIGHTS("its mean is that of values up to 255", tensors({"mean": "127.5", "std": "127.5"}), (SAFE, "metadata 'mean' = '127.5' is no share of the brightest value", "divide it by 255")),
    WEIGHTS("one of its stds is more than 1", tensors({"std": "0.2 57.4 0.2"}), (SAFE, "metadata 'std' = '0.2 57.4 0.2' is no share of the brightest value")),
    WEIGHTS("one of its stds is negative", tensors({"std": "0.2 -0.2 0.2"}), (SAFE, "metadata 'std' = '0.2 -0.2 0.2' must be positive")),
    WEIGHTS("it belongs to another architecture", tensors({"arch": "resnet50"}), (f"init '{SAFE}' belongs to arch 'resnet50', not to 'resnet18'", "set arch to 'resnet50'"), build("resnet18", SAFE)),
    WEIGHTS("it lacks the tensors of the architecture", tensors(), (SAFE, "missing"), build("resnetv2_laptop", SAFE)),
    WEIGHTS("a value is not a number", changed(spoil(float("nan"))), (SAFE, "1 of 1568 values of 'stem.conv.weight' are not finite", "get the file again"), LAPTOP),
    WEIGHTS("a value is infinite", changed(spoil(float("inf"))), (SAFE, "'stem.conv.weight' are not finite"), LAPTOP),
    WEIGHTS("all kernels are zero", changed(lambda weights: [tensor.zero_() for tensor in weights.values()]), (SAFE, "all its kernels are 0", "get the file again"), LAPTOP),
    WEIGHTS("a kernel holds whole numbers", changed(lambda weights: weights.update({"stem.conv.weight": (weights["stem.conv.weight"] * 99).int()})), (SAFE, "'stem.conv.weight' holds int32 and no weights"), LAPTOP),
    WEIGHTS("a kernel is transposed", changed(lambda weights: weights.update({"stem.conv.weight": weights["stem.conv.weight"].transpose(0, 1).contiguous()})), (SAFE, "'stem.conv.weight' has shape (1, 32, 7, 7)", "use the arch it was made with"), LAPTOP),
    WEIGHTS("a tensor is missing", changed(lambda weights: weights.pop("norm.bias")), (SAFE, "missing ['norm.bias']", "use the arch it was made with"), LAPTOP),
    WEIGHTS("its names begin with 'module.'", changed(lambda weights: [weights.update({f"module.{name}": weights.pop(name)}) for name in list(weights)]), (SAFE, "does not fit this architecture"), LAPTOP),
    WEIGHTS("the architecture does not exist", lambda place: None, ("arch 'resnet5000' is neither a timm model", "resnetv2_laptop"), build("resnet5000", "random")),
    ARCHIVE("the archive is no archive", content(b"PK\x03\x04" + bytes(100), NPZ), (f"{NPZ} is truncated, damaged or no .npz archive", "its SHA-256 is", AGAIN)),
    ARCHIVE("the archive is empty", content(b"", NPZ), (f"{NPZ} is truncated, damaged or no .npz archive", AGAIN)),
    ARCHIVE("the archive is of another network", archive("resnet/other.npy", array((100,))), (f"{NPZ} lacks", "it is not an official BiT-R50x1")),
    ARCHIVE("the archive has none of its arrays", archive("weights.npy", array((100,))), (f"{NPZ} lacks", "it is not an official BiT-R50x1")),
    ARCHIVE("an array of it claims terabytes", archive("resnet/a.npy", array((10**12,))), (NPZ, "'resnet/a.npy' claims the shape (1000000000000,) and has", AGAIN)),
    ARCHIVE("an array of it holds Python objects", archive("resnet/a.npy", array((2,), "|O")), (NPZ, "Object arrays cannot be loaded", AGAIN)),
    ARCHIVE("an array of it is of a later format", archive("resnet/a.npy", array((2,), version=b"\x09\x00")), (NPZ, "has version (9, 0) of the array format", AGAIN)),
    ARCHIVE("an array of it has a broken header", archive("resnet/a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 12) + b"{'descr': [\n"), (f"{NPZ} is truncated, damaged", AGAIN)),
    ARCHIVE("its LZMA data are damaged", archive("resnet/a.npy", NOISE, zipfile.ZIP_LZMA, damage=True), (f"{NPZ} is truncated, damaged", AGAIN)),
    ARCHIVE("its bzip2 data are damaged", archive("resnet/a.npy", NOISE, zipfile.ZIP_BZIP2, damage=True), (f"{NPZ} is truncated, damaged", AGAIN)),
]  # fmt: skip
