"""The cache is where the user wants it, and somewhere that can be written."""

from hpcml.core.cache_folder import cache_folder


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("HPCML_CACHE", raising=False)
    assert cache_folder("kernels") == tmp_path / "xdg" / "hpcml" / "kernels"
    monkeypatch.setenv("HPCML_CACHE", str(tmp_path / "own"))
    assert cache_folder("kernels") == tmp_path / "own" / "kernels"


def test_a_home_that_cannot_be_written_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("HPCML_CACHE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_folder("kernels")
    assert folder.parts[: len(tmp_path.parts)] == tmp_path.parts and "file" not in folder.parts
