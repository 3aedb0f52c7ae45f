import json
import time
from pathlib import Path

import pytest

from marsbench.base.documents import parse_json, read_front_matter, read_yaml
from marsbench.base.errors import ConfigError


def bomb(start: str, levels: int = 12) -> str:
    """Nine aliases of nine aliases of ..., in lists or in merges."""
    lines = [f"a0: &a0 {start}"]
    opened, closed = ("{<<: [", "]}") if start.startswith("{") else ("[", "]")
    for level in range(1, levels):
        names = ",".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {opened}{names}{closed}")
    return "\n".join(lines)


CHAIN = "a0: &a0 [1]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 3000))
REFUSED = {
    "aliases": (bomb("[x]"), "aliases written out"),
    "merges": (bomb("{x: 1}"), "aliases written out"),
    "long alias": ("a: &a " + "x" * 2000 + "\nb: [" + "*a," * 2000 + "]", "aliases written out"),
    "chain of aliases": (CHAIN, "aliases written out"),
    "alias in itself": ("a: &a [*a]", "never ends"),
    "brackets": ("a: " + "[" * 100_000, "nested"),
    "closed brackets": ("a: " + "[" * 3000 + "]" * 3000, "nested"),
    "mappings": ("{a: " * 5000 + "1" + "}" * 5000, "nested"),
    "blocks": ("\n".join(" " * i + "a:" for i in range(1000)), "nested"),
    "dashes": ("- " * 50_000, "nested"),
    "long number": ("a: " + "1" * 5000, "number of 5000"),
    "hexadecimal number": ("a: 0x" + "f" * 5000, "number of 5002"),
    "sexagesimal number": ("a: 1" + ":1" * 200_000, "number of"),
    "size": ("a: " + "x" * 2_000_000, "larger than 1 MB"),
    "python tag": ("a: !!python/object/apply:os.system ['exit 1']", "line 1, column 4"),
    "invalid tag": ("a: !!int x", "cannot be read as YAML"),
    "empty tag": ("a: !!int ''", "cannot be read as YAML"),
    "time stamp": ("a: !!timestamp x", "cannot be read as YAML"),
    "date": ("a: 2024-13-45", "month must be"),
    "control characters": ("a: \x1b[31m", "cannot be read as YAML"),
    "list as a key": ("? [a]\n: b", "unhashable"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
}


@pytest.mark.parametrize(("text", "match"), REFUSED.values(), ids=REFUSED)
def test_yaml_beyond_limits_is_refused_at_once(text: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    started = time.perf_counter()
    with pytest.raises(ConfigError, match=match) as caught:
        read_yaml(path)
    assert time.perf_counter() - started < 5
    assert str(path) in caught.value.problem


def test_ordinary_yaml(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &x {y: 1}\nb: *x\nc: {<<: *x, z: [2.5, ü, null]}\nd: 2024-01-02")
    values, root = read_yaml(path)
    assert values["b"] == {"y": 1}
    assert values["c"] == {"y": 1, "z": [2.5, "ü", None]}
    assert str(values["d"]) == "2024-01-02"
    assert root is not None
    assert root.value[2][0].start_mark.line == 2
    path.write_text("")
    assert read_yaml(path) == (None, None)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")


def test_front_matter(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("---\nconfigs: [1]\n---\n# Title\n---\n")
    assert read_front_matter(path) == {"configs": [1]}
    path.write_text("# Title\n---\na: 1\n---\n")
    assert read_front_matter(path) is None
    path.write_text(f"---\n{bomb('[x]')}\n---\n")
    with pytest.raises(ConfigError, match="aliases"):
        read_front_matter(path)


def test_json_within_limits() -> None:
    assert parse_json('{"a": [1, "\\ud83d\\ude00"]}') == {"a": [1, "\N{GRINNING FACE}"]}
    assert parse_json(json.dumps([[1]]).encode("utf-16")) == [[1]]
    for text in ("[" * 100_000, "[" * 60 + "]" * 60, '{"a": ' * 60 + "1" + "}" * 60):
        with pytest.raises(ValueError, match="nested"):
            parse_json(text)
    for text in ("{", '{"a": "\\udce9"}'):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_json(text)


def test_strict_json() -> None:
    assert parse_json('{"a": [1, 2.5e3]}', strict=True) == {"a": [1, 2500.0]}
    for text, reason in (
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("[1e999]", "1e999"),
        ('{"b": {"a": 1, "c": 1, "a": 2}}', "'a' is given twice"),
    ):
        parse_json(text)
        with pytest.raises(ValueError, match=reason):
            parse_json(text, strict=True)
