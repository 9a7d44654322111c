"""Write config.schema.json from the configuration's models (for editors)."""

import json
from pathlib import Path

from pathai.config import json_schema

if __name__ == "__main__":
    text = json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"
    Path(__file__).with_name("config.schema.json").write_text(text)
