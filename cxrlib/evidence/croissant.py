"""The phantom set in Croissant, the metadata format of MLCommons (version 1.0), with its vocabulary for responsible use (RAI 1.0).

Written beside the images, ``croissant.json``; from what the folder says of itself, and with the SHA-256 of its tables.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cxrlib import __version__
from cxrlib.files import atomic_write, file_digest

FILE = "croissant.json"
CONFORMS = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
RAI = {
    "rai:dataCollection": "Computed by cxrlib.phantom from an anatomical model and a seed; no picture and no measurement of a patient went in.",
    "rai:dataCollectionType": "Software Collection",
    "rai:dataBiases": "Anatomy and findings follow a programmer's model, more regular than people and illness are. Training has one positive for more than six negatives, "
    "as the paper's data. With source_confounding above 0 the acquisition style follows the label: a bias that is asked for and stated in phantom.json.",
    "rai:dataLimitations": "Says whether code and reasoning are right, never how good a method is on people. Sex and age are drawn, not observed, and there is no disease beside the findings; "
    "scores on it are no evidence about patients.",
    "rai:dataUseCases": "Testing and teaching: a truth that is known pixel by pixel, masks of lungs and opacities, and confounding of known strength. Not for training anything that is used on patients.",
    "rai:dataSocialImpact": "None expected of the images. A score on them that is quoted as a score on X-rays would mislead.",
    "rai:personalSensitiveInformation": "None: no person is behind any image; patient numbers are invented.",
    "rai:dataReleaseMaintenancePlan": "Made anew from its parameters by 'cxr data phantom'; generator_version is raised whenever the same parameters would give other images.",
}


def metadata(folder: Path) -> dict[str, Any]:
    """The description of a folder of phantoms.

    Raises:
        ValueError: if it holds no phantoms of ours; names the way out.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
        header = (folder / "findings.csv").read_text(encoding="utf-8").partition("\n")[0].strip().split(",")
        counts = {split: sum(labels.values()) for split, labels in about["counts"].items()}
        parameters, version = about["parameters"], about["generator_version"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder} holds no phantoms ({error}); 'cxr data phantom {folder}' makes them") from None
    said = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    tables = [_file(folder, name, kind) for name, kind in (("train.txt", "text/plain"), ("test.txt", "text/plain"), ("findings.csv", "text/csv"), ("phantom.json", "application/json"))]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": "cxrlib-phantoms",
        "description": f"Chest X-ray phantoms in the layout of COVIDx: computed images of no patient ({said}), with masks of lungs and opacities and a table of findings. Not for diagnosis.",
        "conformsTo": CONFORMS,
        "license": "https://spdx.org/licenses/MIT",
        "url": "https://doi.org/10.3390/diagnostics11101887",
        "version": f"{version}.0.0",
        "datePublished": "2026-01-01",
        "creator": {"@type": "sc:Organization", "name": "the cxrlib authors"},
        "citeAs": f"The cxrlib authors: cxrlib {__version__}, phantoms of generator {version} with parameters {json.dumps(parameters, sort_keys=True)}.",
        "isLiveDataset": False,
        **RAI,
        "distribution": [
            *tables,
            _images("images", "*/*.png", "the phantoms, 8-bit grey"),
            _images("masks", "masks/*/*/*.png", "lungs and opacities, 255 inside"),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": "findings", "name": "findings", "description": "One row for each image: its finding, severity and acquisition.",
                "field": [
                    {
                        "@type": "cr:Field", "@id": f"findings/{column}", "name": column, "dataType": "sc:Text",
                        "source": {"fileObject": {"@id": "findings.csv"}, "extract": {"column": column}},
                    }
                    for column in header
                ],
            }
        ],
    }  # fmt: skip


def _file(folder: Path, name: str, kind: str) -> dict[str, Any]:
    return {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": kind, "sha256": file_digest(folder / name)}


def _images(name: str, pattern: str, says: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "description": says, "encodingFormat": "image/png", "includes": pattern}


def write(folder: Path) -> Path:
    """Write ``croissant.json`` into a folder of phantoms, and return its path."""
    path = Path(folder) / FILE
    atomic_write(path, json.dumps(metadata(folder), indent=1, ensure_ascii=False) + "\n")
    return path
