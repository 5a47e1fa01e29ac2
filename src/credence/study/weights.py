"""Which weights of a language model are trained, and how: what every learning command's file says alike."""

from typing import Literal

from pydantic import Field

from credence.study.section import Count, Rate, Section


class WeightsConfig(Section):
    """What is trained of a language model."""

    method: Literal["lora", "full"] = Field(
        "lora", description="what is trained of a language model: adapters, or its own weights"
    )
    rank: Count = Field(16, description="of the LoRA adapters")
    alpha: Rate = Field(32.0, description="LoRA scale; alpha/rank multiplies the adapter")
    products: Literal["float32", "bfloat16"] = Field(
        "float32", description="matrix products of passes that carry gradients; draws and all figures stay float32"
    )
