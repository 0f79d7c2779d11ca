"""What is not installed is told with what to install."""

import pytest

from hpcml.core.errors import ConfigError
from hpcml.core.optional_module import optional_module


def test_a_package_that_is_not_there_is_told_with_what_brings_it():
    with pytest.raises(ConfigError, match=r"maps need the package atlas: pip install 'hpcml\[maps\]'"):
        optional_module("no_such_atlas.maps", "maps need the package atlas", "'hpcml[maps]'")


def test_what_an_installed_package_lacks_is_told(tmp_path, monkeypatch):
    (tmp_path / "charts.py").write_text("import no_such_ink\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"pip install charts \(No module named 'no_such_ink'\)$"):
        optional_module("charts", "charts need the package charts", "charts")
