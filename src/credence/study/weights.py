"""Which weights of a language model are trained, and how: what every learning command's file says alike."""

from typing import Literal, Self

from pydantic import Field, model_validator

from credence.study.section import Count, Rate, Section


class WeightsConfig(Section):
    """What is trained of a language model, and its optimiser."""

    method: Literal["lora", "full"] = Field(
        "lora", description="what is trained of a language model: adapters, or its own weights"
    )
    rank: Count = Field(16, description="of the LoRA adapters")
    alpha: Rate = Field(32.0, description="LoRA scale; alpha/rank multiplies the adapter")
    modules: tuple[str, ...] = Field(
        (),
        strict=False,
        examples=[["up_proj", "down_proj"]],
        description='method = "full": which modules of the blocks are trained; none: all but the embeddings',
    )
    blocks: int = Field(0, ge=0, examples=[22], description='method = "full": the last so many blocks; 0: all')
    optimiser: Literal["adam", "sgd"] = Field(
        "adam", description="sgd: lr is the length of a step in weights; several times better where noise rules"
    )

    products: Literal["float32", "bfloat16"] = Field(
        "float32", description="matrix products of passes that carry gradients; draws and all figures stay float32"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = {"modules": bool(self.modules), "blocks": self.blocks > 0, "optimiser": self.optimiser == "sgd"}
        wrong = [name for name, here in given.items() if here]
        if wrong and self.method != "full":
            raise ValueError(
                f'{" and ".join(wrong)} want method = "full", and it is {self.method!r}: adapters and values have '
                "weights of their own, trained by Adam"
            )
        return self
