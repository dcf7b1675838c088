"""What the documentation shows must run."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

import fdsr.diffusion


@pytest.mark.parametrize("module", ["transforms", "process", "spacing"])
def test_docstring_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"fdsr.diffusion.{module}"), extraglobs={"torch": torch})
    assert result.attempted > 0 and result.failed == 0


def test_readme_example() -> None:
    readme = (Path(fdsr.diffusion.__file__).parent / "README.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        exec(block, names)
    assert isinstance(names["samples"], torch.Tensor) and names["samples"].shape == (8, 2, 32, 32)
