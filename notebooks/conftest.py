"""How the notebooks are tested where SmolLM2 is out of reach, and a small model takes its place."""

from minigrad.course import pretrained
from minigrad.models import store


def pytest_collection_modifyitems(items):
    """Cells with the tag ``smollm2`` must run, and are compared only if SmolLM2 is here."""
    if store.cached(pretrained.NAME) is not None:
        return
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is not None and "smollm2" in cell.metadata.get("tags", ()):
            item.options["check"] = False
