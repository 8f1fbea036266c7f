"""A process that writes an audit log is killed at 20 random moments; tests/acceptance/audit_kills.py has 500."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.audit_kills import kill

pytestmark = pytest.mark.tier_test


def test_an_audit_log_is_whole_after_every_kill(tmp_path: Path) -> None:
    assert kill(tmp_path / "audit", 20, 13) > 20
