"""Which weights of a language model are trained, and how: what every learning command's file says alike."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from credence.study.section import Count, Rate, Section


class WeightsConfig(Section):
    """What is trained of a language model."""

    method: Literal["lora", "full"] = Field(
        "lora", description="what is trained of a language model: adapters, or its own weights"
    )
    only: str = Field(
        "",
        examples=["mlp|o_proj"],
        description='of method = "full": the weights in whose name this regular expression is found; "": all',
    )
    rank: Count = Field(16, description="of the LoRA adapters")
    alpha: Rate = Field(32.0, description="LoRA scale; alpha/rank multiplies the adapter")
    products: Literal["float32", "bfloat16"] = Field(
        "float32", description="matrix products of passes that carry gradients; draws and all figures stay float32"
    )

    @field_validator("only")
    @classmethod
    def _expression(cls, only: str) -> str:
        try:
            re.compile(only)
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return only

    @model_validator(mode="after")
    def _of_full(self) -> Self:
        if self.only and self.method != "full":
            raise ValueError(
                f'only = {self.only!r} chooses among the model\'s own weights, and method = "{self.method}" trains '
                'none of them. Set method = "full", or remove only.'
            )
        return self
