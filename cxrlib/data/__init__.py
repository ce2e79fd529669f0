"""Label files, images and folders: what is on disk, checked, decoded, counted and fingerprinted.

labels (rows of a label file), folder (index of a folder, its faults), listing, layouts and report (what is there, and what is wrong with it), adopt
(public collections as such a folder), decode, dicom, dicom_header, deep, jpeg, foreign and grey (a file as 8-bit grey, or why not), masks, cache (resized
images), provenance (fingerprint), splits (validation, few images, duplicates), views (what a run sees of an image), dataset (all of it for a run).
May use config, metrics, parameter files, files and processes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cache": ["ImageCache"],
        "dataset": ["Dataset", "read_dataset"],
        "decode": ["decode_image", "decode_mask", "decode_xray"],
        "folder": ["SPLITS", "check", "read_index"],
        "grey": ["ImageError"],
        "labels": ["DataError", "LabelError", "Problem", "Row", "image_path", "parse_labels", "read_labels"],
        "provenance": ["fingerprint"],
        "report": ["Report"],
        "splits": ["few_shot", "find_duplicates", "validation_split"],
        "views": ["hidden", "recast"],
    },
)
