"""What is not installed is told with what to install."""

import pytest

from hpcml.core.errors import ConfigError
from hpcml.core.optional_module import optional_module


def test_a_package_that_is_not_there_is_told_with_what_brings_it():
    with pytest.raises(ConfigError, match=r"maps need the package atlas: pip install 'hpcml\[maps\]'"):
        optional_module("no_such_atlas.maps", "maps need the package atlas", "'hpcml[maps]'")
