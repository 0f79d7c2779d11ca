"""What is written is whole or not there."""

import pytest

from hpcml.core.errors import CheckpointError
from hpcml.io.files.record import read_record, write_record


def test_records_tell_when_they_were_changed(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"step": 120, "name": "ü"})
    assert read_record(path) == {"step": 120, "name": "ü"}
    whole = path.read_text()
    for broken, what in ((whole.replace("120", "121"), "own checksum"), (whole[:-3], "not a whole"), ("[]", "not a whole")):
        path.write_text(broken)
        with pytest.raises(CheckpointError, match=what):
            read_record(path)
