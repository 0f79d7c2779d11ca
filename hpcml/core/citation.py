"""How to cite hpcml."""

import re
from pathlib import Path


def citation() -> str:
    """Entry for a BibTeX file, from ``CITATION.cff``.

    Communication
    -------------
    Local.

    Examples
    --------
    >>> citation().splitlines()[0]
    '@software{hpcml,'
    """
    text = (Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    said = dict(re.findall(r'^([a-z]+): "?(.*?)"?$', text, re.MULTILINE))
    authors = " and ".join(f"{{{name}}}" for name in re.findall(r"^  - name: (.+)$", text, re.MULTILINE))
    entries = {"author": authors, **{key: said[key] for key in ("title", "version", "license")}}
    return "\n".join(["@software{hpcml,", *(f"  {key} = {{{value}}}," for key, value in entries.items()), "}"])
