"""The JSON schema of pipeline files, for editors (pipeline.schema.json beside this file)."""

import json
from pathlib import Path

from include.config.pipeline import SECTIONS, PipelineFile

SCHEMA_FILE = Path(__file__).with_name("pipeline.schema.json")


def schema_text() -> str:
    """What pipeline.schema.json must hold, generated from the model."""
    schema = PipelineFile.model_json_schema()
    schema |= {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluice pipeline",
        "oneOf": [{"required": [section]} for section in SECTIONS],
    }
    return json.dumps(schema, indent=2) + "\n"
