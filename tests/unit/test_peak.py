"""The largest memory of a piece of work: what was held before it does not hide it, what is freed in it stays."""

from pathlib import Path

import pytest
import torch

from credence.study.peak import Peak


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process reset its mark")
def test_it_begins_anew_and_remembers() -> None:
    first = Peak()
    if first.mib is None:
        pytest.skip("the mark cannot be reset here")
    block = torch.ones(64 * 2**20, dtype=torch.uint8)
    high = first.mib
    del block
    again = Peak().mib
    assert again is not None
    assert high is not None
    assert again < high - 32
    assert first.mib is not None


def test_where_the_mark_cannot_be_reset_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: object, **named: object) -> int:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "write_text", refused)
    assert Peak().mib is None
