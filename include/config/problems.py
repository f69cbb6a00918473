"""Turns what pydantic refuses into sentences with a place in the file and a suggestion."""

from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from include.config.document import Document, Loc, Problem
from include.config.pipeline import PipelineFile
from include.config.sources import KINDS
from include.config.values import CREDENTIAL_URI, did_you_mean, shown

_BOOLEAN_WORDS = ("yes", "no", "on", "off", "y", "n")
_AT_KEY = ("extra_forbidden", "option")


def shape_problems(document: Document, error: ValidationError) -> Iterator[Problem]:
    """Each refusal of the model, where it stands in the document."""
    for detail in error.errors(include_url=False):
        loc = tuple(part for part in detail["loc"] if part not in KINDS)
        yield Problem(document.mark(loc, key=detail["type"] in _AT_KEY), loc, _what(detail, loc))


def credential_problems(document: Document) -> Iterator[Problem]:
    """Each text of the document that carries a user with a password, or a signature. The text is not repeated."""
    for loc, value in _texts(document.value, ()):
        if CREDENTIAL_URI.search(value):
            what = "holds a credential: remove it here and give it to the environment"
            yield Problem(document.mark(loc), loc, what)


def _texts(value: object, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*loc, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*loc, index))
    elif isinstance(value, str):
        yield loc, value


def _what(detail: ErrorDetails, loc: Loc) -> str:
    sentence = _SENTENCES.get(detail["type"])
    return sentence(detail, loc) if sentence else detail["msg"]


def _unknown_key(_detail: ErrorDetails, loc: Loc) -> str:
    known = _known_keys(loc[:-1])
    return "unknown key" + (did_you_mean(str(loc[-1]), known) or f"; known: {', '.join(known)}")


def _not_of_the_set(detail: ErrorDetails, _loc: Loc) -> str:
    value = detail["input"]
    allowed = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    hint = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return f"must be one of {', '.join(allowed)}, not {shown(value)}{hint}"


def _wrong_type(wanted: str) -> Callable[[ErrorDetails, Loc], str]:
    def sentence(detail: ErrorDetails, _loc: Loc) -> str:
        value = detail["input"]
        hint = ""
        if wanted == "text" and isinstance(value, bool | int | float):
            hint = " (quote it)"
        if wanted == "true or false" and isinstance(value, str) and value.lower() in _BOOLEAN_WORDS:
            hint = " (in YAML 1.2 that is a text)"
        return f"must be {wanted}, not {shown(value)}{hint}"

    return sentence


_SENTENCES: dict[str, Callable[[ErrorDetails, Loc], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": lambda _detail, _loc: "is required",
    "too_short": lambda _detail, _loc: "must not be empty",
    "literal_error": _not_of_the_set,
    "value_error": lambda detail, _loc: str(detail["ctx"]["error"]),
    "string_type": _wrong_type("text"),
    "bool_type": _wrong_type("true or false"),
    "int_type": _wrong_type("a whole number"),
    "tuple_type": _wrong_type("a list"),
    "dict_type": _wrong_type("a mapping of keys and values"),
    "model_type": _wrong_type("a mapping of keys and values"),
}


def _known_keys(loc: Loc) -> list[str]:
    """The keys of the section at `loc`, found by walking the model as the validation did."""
    model: type[BaseModel] = PipelineFile
    for key in loc:
        field = _keys(model).get(str(key))
        if field is not None:  # the index of a list item stays at the item's model
            model = next(_models(field.annotation), model)
    return list(_keys(model))


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
