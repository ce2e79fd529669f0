"""One validated config in, one record out; and many of them.

one_run (train, evaluate, record, or load), record (where records lie), contents (what they hold), record_tables (many in one file), store and
garbage (a folder of records), external (a second test set), sweep and cluster (many runs, here or elsewhere), costs (what a run takes). May use train and what is below.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "external": ["open_external"],
        "one_run": ["describe", "image_sets", "key_of", "open_dataset", "run"],
        "record": ["Record", "all_records", "load_model"],
        "record_tables": ["read_table", "write_table"],
        "sweep": ["RunsFailedError", "run_all"],
    },
)
