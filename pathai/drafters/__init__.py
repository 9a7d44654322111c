"""Drafters phrase a plan's lines; none of them ever sees or writes a number."""

from pathai.registry import Registry

DRAFTERS = Registry(
    "drafters",
    {
        "template": "pathai.drafters.template:TemplateDrafter",
        "openai-compatible": "pathai.drafters.openai_compatible:OpenAICompatibleDrafter",
        "local": "pathai.drafters.local:LocalDrafter",
    },
)
