"""From records to answers: the paper's numbers and claims, plans of runs, comparisons and verdicts.

parameters and grids (of each notebook, profiles), plan, committed and collect (tables in results/), paper, claims and their parts, systems (related work), derived (what data allow),
pairs, comparisons, selection, thresholds, verdicts; pages (tables of one page each), figures. May use experiment and what is below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "committed": ["Recorded"],
        "parameters": [
            "STUDIES",
            "DataSize",
            "Exploration",
            "GradCam",
            "Performance",
            "Profile",
            "RealXrays",
            "RelatedWork",
            "Sensitivity",
            "Shortcuts",
            "Speed",
            "UpstreamStudy",
        ],
    },
)
