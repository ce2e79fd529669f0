"""Keys of the committed records, derived anew: a record that cannot be found by its key is lost."""

import pytest
from common import ROOT
from pyarrow import parquet

from cxrlib.config import RunConfig
from cxrlib.experiment.record import content_key
from cxrlib.experiment.record_tables import table_rows

TABLES = sorted(path for path in (ROOT / "results").glob("*.parquet") if "record" in parquet.read_schema(path).names)


def test_no_committed_table_of_records_is_overlooked():
    assert {"across", "confounding", "quarter", "quarter-lite", "quarter-validation", "upstream"} <= {path.stem for path in TABLES}


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
        normalisation = {name: record.initialisation[name] for name in record.initialisation.get("in_key", ())}
        assert content_key(identity, record.data["fingerprint"], record.initialisation["sha256"], normalisation=normalisation) == key
