"""Chest X-ray phantoms: computed images of an anatomical model, in the layout of COVIDx. Never images of a patient.

folder (a whole set), workers (its images in several processes), render (one image), patient, anatomy, skeleton, findings, imaging (what is drawn).
May use config, metrics, files and processes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "folder": ["generate", "plan"],
        "render": ["Exam", "Phantom", "PhantomError", "render"],
    },
)
