"""JSON Schema of each policy file, for editors and for whoever writes a policy.

Package data, made from the models by `python -m actors.automation.schemas`; a test holds the two together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from actors.automation.policy_files import MODELS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_name(policy_file: str) -> str:
    """`policy.ranks.json` → `policy.ranks.schema.json`."""
    return f"{policy_file.removesuffix('.json')}.schema.json"


def schemas() -> dict[str, str]:
    """Each schema's file name and its text."""
    return {schema_name(name): _text(name) for name in MODELS}


def _text(policy_file: str) -> str:
    schema = {"$schema": DIALECT, "title": policy_file} | _plain(MODELS[policy_file].model_json_schema())
    return json.dumps(schema, indent=2) + "\n"


def _plain(node: dict[str, Any]) -> dict[str, Any]:
    """Without the titles made up from names, and with the first sentence of each docstring only."""
    kept = {key: value for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(description := kept.get("description"), str):
        kept["description"] = description.partition("\n\n")[0]
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in kept.items()}


if __name__ == "__main__":
    for schema_file, content in schemas().items():
        (Path(__file__).parent / "data" / "schemas" / schema_file).write_text(content, encoding="utf-8")
