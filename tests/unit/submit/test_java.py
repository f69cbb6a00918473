from collections.abc import Callable
from pathlib import Path

import pytest

from include.config.exit_codes import ExitCode
from include.submit.java import JavaMissing, find_java

Script = Callable[[str, str], Path]


def test_java_home_wins_over_the_path(script: Script, tmp_path: Path) -> None:
    script("path/java", """echo 'openjdk version "21.0.1"' >&2""")
    script("home/bin/java", """echo 'openjdk version "17.0.15" 2025-04-15' >&2""")
    found = find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")})
    assert found.executable == tmp_path / "home" / "bin" / "java"


def test_java_on_the_path_is_found(script: Script, tmp_path: Path) -> None:
    java = script("path/java", """echo 'openjdk version "21.0.1"' >&2""")
    assert find_java({"PATH": str(tmp_path / "path")}).executable == java


def test_no_java_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(JavaMissing) as raised:
        find_java({"PATH": str(tmp_path)})
    assert raised.value.exit_code is ExitCode.CONFIG
    assert "Java 17" in raised.value.remedy


def test_a_wrong_java_home_is_named(tmp_path: Path) -> None:
    with pytest.raises(JavaMissing, match=str(tmp_path)):
        find_java({"JAVA_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_292", "16"])
def test_an_older_java_is_refused(script: Script, tmp_path: Path, version: str) -> None:
    script("path/java", f"""echo 'openjdk version "{version}"' >&2""")
    with pytest.raises(JavaMissing, match="needs 17 or newer"):
        find_java({"PATH": str(tmp_path / "path")})


def test_the_release_file_spares_a_process(script: Script, tmp_path: Path) -> None:
    script("home/bin/java", "exit 1")
    (tmp_path / "home" / "release").write_text('JAVA_VERSION="17.0.15"\nJAVA_VERSION_DATE="2025-04-15"\n')
    assert "17.0.15" in find_java({"JAVA_HOME": str(tmp_path / "home")}).version


def test_a_java_that_is_not_one_is_refused(script: Script, tmp_path: Path) -> None:
    script("path/java", "echo hello")
    with pytest.raises(JavaMissing, match="does not tell its version"):
        find_java({"PATH": str(tmp_path / "path")})
