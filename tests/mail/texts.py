"""What people write, and what nobody should, for the messages of property tests."""

from __future__ import annotations

from hypothesis import strategies as st

everyday = st.sampled_from(
    [
        *(
            "æøå",
            "ÆØÅ",
            "é",
            "«»",
            "—",
            "🎉",
            "👩\u200d👧",
            "北京市",
            "مرحبا",
            "שלום",
            "a",
            "x" * 90,
        ),
        *(
            "=?utf-8?q?=41?=",
            '"',
            "\\",
            "(c)",
            ",",
            ";",
            ":",
            "<",
            ">",
            "@",
            "=",
            ".",
            "...",
            "From",
        ),
    ]
)
words = st.lists(everyday, min_size=1, max_size=4).map("".join)
lines = st.lists(words, min_size=1, max_size=14).map(" ".join)
anything = st.characters(exclude_categories=["Cs"], exclude_characters="\r")
bodies = st.one_of(
    st.text(anything),
    st.lists(
        st.one_of(lines, st.sampled_from(["", ".", "..", "From me", " ", "a \t", "--", "é" * 80]))
    ).map("\n".join),
)
