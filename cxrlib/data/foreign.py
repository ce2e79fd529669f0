"""What stands in a file that is no image: what people put into image folders by mistake, and what to do about each."""

from __future__ import annotations

_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.github.com", "a Git LFS pointer, not the image; run 'git lfs pull' in its repository"),
    (b"version https://hawser.github.com", "a Git LFS pointer, not the image; run 'git lfs pull' in its repository"),
    (b"/annex/objects/", "a git-annex pointer, not the image; run 'git annex get' in its repository"),
    (b"outs:\n- ", "a DVC pointer, not the image; run 'dvc pull' in its repository"),
    (b"%PDF-", "a PDF document; save the page as PNG"),
    (b"\x1f\x8b", "a file compressed by gzip (or NIfTI); unpack it, and save one picture as PNG"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"7z\xbc\xaf'\x1c", "a 7-Zip archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a file compressed by zstd; unpack it"),
    (b"BZh", "a file compressed by bzip2; unpack it"),
    (b"\xfd7zXZ\0", "a file compressed by xz; unpack it"),
    (b"\x93NUMPY", "a NumPy array; save it as PNG"),
    (b"\x89HDF", "an HDF5 file; save the picture as PNG"),
    (b"MATLAB 5.0", "a MATLAB file; save the picture as PNG"),
    (b"NRRD", "an NRRD file; save the picture as PNG"),
    (b"ObjectType", "a MetaImage header; save the picture as PNG"),
    (b"8BPS", "a Photoshop file; save it as PNG"),
    (b"%!PS", "a PostScript file; save it as PNG"),
    (b"<svg", "a drawing (SVG); save it as PNG"),
    (b"<?xml", "an XML document, perhaps an error page; download the image again"),
    (b"<!doctype", "a web page, perhaps an error or login page; download the image again"),
    (b"<html", "a web page, perhaps an error or login page; download the image again"),
    (b"{", "text (JSON), perhaps an error message; download the image again"),
    (b"[InternetShortcut]", "a link to a web page; download the image itself"),
    (b"XSym\n", "a symbolic link saved as a file; copy the image itself"),
    (b"IntxLNK", "a symbolic link saved as a file; copy the image itself"),
    (b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut; copy the image itself"),
    (b"book\0\0\0\0mark", "a macOS alias; copy the image itself"),
    (b"\xff\x4f\xff\x51", "a bare JPEG 2000 codestream that is damaged; convert it to PNG"),
    (b"\xff\xd8\xff\xf7", "a JPEG-LS file, which is not read; convert it to PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file, which is not read; convert it to PNG"),
    (b"\xff\x0a", "a JPEG XL file, which is not read; convert it to PNG"),
    (b"v/1\x01", "an OpenEXR file; save it as PNG"),
)
_CONTAINERS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF", b"avis": "AVIF", b"mp4": "MP4", b"isom": "MP4", b"qt": "QuickTime"}


def what_it_is(start: bytes) -> str:
    """A noun and a way out for the first bytes (1,000 are enough) of a file that is not an image of a known format."""
    if not start.strip(b"\0"):
        return "it holds nothing but zeros, as after a broken download; download or copy it again, or remove its row"
    if start[4:8] == b"ftyp":
        kind = next((name for mark, name in _CONTAINERS.items() if start[8:12].strip() == mark), "video or HEIF")
        return f"a file of kind {kind}, which is not read; convert it to PNG"
    if start[344:347] in (b"n+1", b"ni1"):
        return "a NIfTI volume; save one picture as PNG"
    bare = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, words in _KINDS:
        if start.startswith(mark) or bare.startswith(mark.lower()):
            return words
    return "not an image of a known format; convert it to PNG or remove its row"
