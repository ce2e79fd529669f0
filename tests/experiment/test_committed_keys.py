"""Keys of the committed records, derived anew: a record that cannot be found by its key is lost."""

import pytest
from common import ROOT

from cxrlib.config import RunConfig
from cxrlib.experiment.record import content_key
from cxrlib.experiment.record_tables import table_rows

TABLES = sorted(
    path
    for name in ("quarter", "quarter-lite", "quarter-validation", "upstream", "confounding", "transfer")
    if (path := ROOT / "results" / f"{name}.parquet").is_file()
)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.stem)
def test_every_key_of_a_committed_table_is_derived_anew(table):
    rows = table_rows(table)
    assert rows
    for key, record in rows:
        assert not isinstance(record, ValueError), f"{key}: {record}"
        # Through the config of today, not through the recorded text: a new field that joined the identity would show.
        # What mixup would have been is recorded as null where there is none.
        given = {name: value for name, value in record.config.items() if value is not None or name != "mixup_value"}
        identity = RunConfig.parse(given).identity()
        assert identity == record.config, key
        assert content_key(identity, record.data["fingerprint"], record.initialisation["sha256"]) == key
