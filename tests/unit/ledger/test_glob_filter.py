import pytest

from include.config.errors import ConfigError
from include.ledger.glob_filter import compile_glob

# What Hadoop's GlobPattern, which Spark uses for pathGlobFilter, answers.
CASES = [
    ("*.json", "a.json", True),
    ("*.json", "a.json.gz", False),
    ("*.json", "aXjson", False),
    ("part-?.csv", "part-1.csv", True),
    ("part-?.csv", "part-10.csv", False),
    ("*.{json,jsonl}", "a.jsonl", True),
    ("*.{json,jsonl}", "a.csv", False),
    ("{a,b{c,d}}x", "bdx", True),
    ("a,b", "a,b", True),
    ("a}", "a}", True),
    ("[a-c]*", "bit", True),
    ("[a-c]*", "dit", False),
    ("[^a]*", "bit", True),
    ("[!a]*", "ait", False),
    ("[]]", "]", True),
    ("[[]x", "[x", True),
    (r"\*.json", "*.json", True),
    (r"\*.json", "a.json", False),
    ("a+(b)|$.txt", "a+(b)|$.txt", True),
    ("*", "two\nlines", True),
    ("*.json", ".json", True),
]


@pytest.mark.parametrize(("pattern", "name", "matches"), CASES)
def test_a_pattern_means_what_it_means_to_spark(pattern: str, name: str, matches: bool) -> None:
    assert (compile_glob(pattern).fullmatch(name) is not None) is matches


@pytest.mark.parametrize("pattern", ["[a", "{a,b", "a\\", "2024/*.json", "[z-a]"])
def test_what_is_no_pattern_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_glob(pattern)
    assert repr(pattern) in caught.value.message
    assert caught.value.remedy
