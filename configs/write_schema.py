"""Write the JSON Schemas of configuration and sheet from their models (for editors and peers)."""

import json
from pathlib import Path

from pathai.config import json_schema
from pathai.sheet import sheet_schema

if __name__ == "__main__":
    for name, schema in {"config": json_schema(), "slides": sheet_schema()}.items():
        text = json.dumps(schema, indent=2, sort_keys=True) + "\n"
        Path(__file__).with_name(f"{name}.schema.json").write_text(text)
