"""Where two mappings differ, named by path."""

from smidgen.runtime.differences import Difference, differences


def test_nested_mappings_are_compared_key_by_key() -> None:
    there = {"a": 1, "b": {"c": [1], "d": {"e": 2}}, "gone": 0, "same": {"x": 1}}
    here = {"a": 1, "b": {"c": [1, 2], "d": {"e": 3}}, "same": {"x": 1}, "new": None}
    assert differences(there, here) == [
        Difference("b.c", [1], [1, 2]),
        Difference("b.d.e", 2, 3),
        Difference("gone", 0, None),
    ]
    assert [each.path for each in differences({"a": {}}, {"a": 1}, "config.")] == ["config.a"]
