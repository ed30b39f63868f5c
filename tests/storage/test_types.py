"""The kinds of columns that the databases do not have by themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from mailer.storage.types import PackedIds


@given(st.lists(st.integers(0, 2**63 - 1), max_size=50).map(sorted))
def test_packed_ids_come_back(ids: list[int]) -> None:
    kind, dialect = PackedIds(), sqlite.dialect()
    assert list(kind.process_result_value(kind.process_bind_param(ids, dialect), dialect)) == ids
