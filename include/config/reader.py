"""Reads pipeline files. Runs wherever a pipeline is named: CLI, DAG parse, Spark driver; so its imports stay light."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from include.config.available import unavailable
from include.config.document import Document, Problem, parse
from include.config.errors import ConfigError, NotAvailableYet
from include.config.pipeline import SECTIONS, Pipeline, PipelineFile
from include.config.problems import credential_problems, shape_problems
from include.config.settings import PIPELINES_DIR
from include.config.values import NAME, did_you_mean, shown

SUFFIXES = (".yaml", ".yml")
_REMEDY = "Correct the file; `sluice validate` checks it again."


def pipeline_files(directory: Path = PIPELINES_DIR) -> list[Path]:
    """The pipeline files of a folder (not of its sub-folders), by name. Hidden files are none."""
    return sorted(
        path for path in directory.glob("*") if path.suffix in SUFFIXES and path.is_file() and path.name[0] != "."
    )


def load_pipeline(name_or_path: str | Path, pipelines_dir: Path = PIPELINES_DIR) -> Pipeline:
    """Read a pipeline by its name or by the path of its file, ready to be executed.

    Raises:
        ConfigError: there is no such pipeline, or its file is wrong; all problems at once.
        NotAvailableYet: the file is right, and asks for something that this version cannot execute.
    """
    file = find_pipeline(name_or_path, pipelines_dir)
    text = _text(file)
    document = parse(text)
    pipeline = _unpack(document, file)
    missing = [Problem(document.mark(loc, key=True), loc, what) for loc, what in unavailable(pipeline)]
    if missing:
        raise NotAvailableYet(
            f"{file} asks for what this version of Sluice cannot do yet.",
            remedy="Leave it out, or use a version that has it.",
            problems=_lines(missing, file),
            file=str(file),
        )
    return pipeline


def unpack(text: str, file: Path) -> Pipeline:
    """The pipeline that `text` describes; pure. `file` names the pipeline and stands in errors; it is not read.

    Raises:
        ConfigError: with `problems`, one line each: `file:line:column: key.path: what`.
    """
    return _unpack(parse(text), file)


def find_pipeline(name_or_path: str | Path, pipelines_dir: Path = PIPELINES_DIR) -> Path:
    """The file of a pipeline; whatever holds a / or ends in .yaml or .yml is a path, anything else a name.

    Raises:
        ConfigError: there is none, or there are two.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(SUFFIXES):
        path = Path(text).expanduser()
        if not path.is_file():
            raise ConfigError(f"There is no pipeline file {path}.", remedy="Give the path of a YAML file, or a name.")
        return path
    found = [path for suffix in SUFFIXES if (path := pipelines_dir / f"{text}{suffix}").is_file()]
    if not NAME.fullmatch(text) or not found:
        names = [path.stem for path in pipeline_files(pipelines_dir)]
        raise ConfigError(
            f"There is no pipeline {shown(text)} in {pipelines_dir}{did_you_mean(text, names)}",
            remedy=f"Known pipelines: {', '.join(names) or 'none yet'}. A path of a YAML file will do, too.",
            pipeline=text,
        )
    if len(found) > 1:
        raise ConfigError(f"Two files describe pipeline {text}: {found[0]}, {found[1]}.", remedy="Remove one of them.")
    return found[0]


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}.", remedy="Check its owner and its mode."
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        what = f"{file}:{line}:{column}: byte 0x{content[error.start]:02x} is not UTF-8"
        raise ConfigError(f"{file} is not UTF-8.", remedy="Save it as UTF-8.", problems=[what]) from error


def _unpack(document: Document, file: Path) -> Pipeline:
    problems = list(document.problems)
    pipeline = None
    if isinstance(document.value, dict):
        problems += credential_problems(document)
        problems += _rule_problems(document, document.value, file)
        pipeline = _validated(document, file, problems)
    elif not problems:
        what = f"must hold keys and values such as `ingest:`, not {shown(document.value)}"
        problems.append(Problem(document.mark(()), (), what))
    if problems or pipeline is None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{file} has {count}.", remedy=_REMEDY, problems=_lines(problems, file), file=str(file))
    return pipeline


def _validated(document: Document, file: Path, problems: list[Problem]) -> Pipeline | None:
    try:
        written = PipelineFile.model_validate(document.value)
        fields = {name: getattr(written, name) for name in written.model_fields_set}
        return Pipeline.model_validate({**fields, "name": file.stem, "file": file})
    except ValidationError as error:
        problems.extend(shape_problems(document, error))
        return None


def _rule_problems(document: Document, written: Mapping[str, object], file: Path) -> Iterator[Problem]:
    """What the file as a whole must obey. Looked up in the raw document, so that it is told along with the rest."""
    name = written.get("name", file.stem)
    if name != file.stem:
        what = f"must be the file's name: write `name: {file.stem}`, or rename the file to {name}.yaml"
        yield Problem(document.mark(("name",)), ("name",), what)
    present = [section for section in SECTIONS if section in written]
    if len(present) != 1:
        one = f"exactly one of {', '.join(SECTIONS)} must be there, not {' and '.join(present) or 'none'}"
        yield Problem(document.mark(tuple(present[1:2]), key=True), (), one)
    elif written[present[0]] is None:
        yield Problem(document.mark((present[0],)), (present[0],), "must not be empty")


def _lines(problems: list[Problem], file: Path) -> list[str]:
    lines = []
    for mark, loc, what in sorted(problems, key=lambda problem: problem.mark):
        path = ".".join(str(part) for part in loc)
        lines.append(f"{file}:{mark.line}:{mark.column}: {path + ': ' if path else ''}{what}")
    return lines
