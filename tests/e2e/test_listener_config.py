"""[evidence.listener] in the file: heard by the prior's own model under another prompt."""

import math
from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.study import build
from credence.study.toml import load_config


def written(tmp_path: Path, tiny: str, listener: str) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(
        f'[prior]\nmodel = "{tiny}"\nhorizon = 6\ntemperature = 0.7\nstyle = "plain"\nsystem = ""\ndtype = "float64"\n'
        f"[evidence.ended]\ncut = 0.0\n[evidence.listener]\n{listener}\n"
    )
    return path


def test_it_is_the_models_own_probability_of_the_question(tiny: str, tmp_path: Path) -> None:
    """At temperature 1, under the listener's prompt, its end counted; by hand, token by token."""
    config = load_config(written(tmp_path, tiny, 'ask = "Q? {reply}"\ntau = 0.5\nstyle = "plain"'))
    posterior = build.posterior(config)
    prompts = posterior.prior.codec.prompts(["hi", "你好"])
    completions, _ = posterior.prior.sample(Key(0), prompts, 3)
    found = posterior.evidence.log_lik(prompts, completions)
    model = build.model(config)
    model.model.set_attn_implementation("eager")  # the adapter's own takes its masks from the adapter
    for row, text in enumerate(completions.texts(prompts.codec)):
        said = prompts.given[int(completions.prompt[row])]
        ids = [*model.codec.render(f"Q? {text}"), *model.codec.encode(said), 256]
        start = len(ids) - len(model.codec.encode(said)) - 1
        with torch.no_grad():
            logits = model.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        by_hand = math.fsum(float(logits[t - 1, ids[t]]) for t in range(start, len(ids)))
        assert float(found[row]) == pytest.approx(0.5 * by_hand, abs=1e-9)


def test_a_conversation_is_heard_by_its_last_question(tiny: str, tmp_path: Path) -> None:
    posterior = build.posterior(load_config(written(tmp_path, tiny, 'ask = "{reply}"')))
    talk = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "hi"},
    ]
    prompts = posterior.prior.codec.prompts([talk])
    completions, _ = posterior.prior.sample(Key(0), prompts, 2)
    alone = posterior.prior.codec.prompts(["hi"])
    assert torch.allclose(posterior.log_lik(prompts, completions), posterior.log_lik(alone, completions), atol=1e-5)


@pytest.mark.parametrize(
    ("listener", "says"),
    [
        ('ask = "What?"', "every reply would sound alike"),
        ('ask = "{prompt} {reply}"', "told what it is to guess"),
        ('ask = "{reply}"\ntau = 0.0', "tau"),
        ('ask = "{reply}"\nsay = "x"', "says"),
    ],
)
def test_what_cannot_be_heard_is_said_before_anything_loads(
    tiny: str, tmp_path: Path, listener: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(written(tmp_path, tiny, listener))
