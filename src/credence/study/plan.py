"""The parts of a run and the seconds each is expected to take: shares for the ETA, not promises."""

from credence.prior.features import CENTRE_DRAWS
from credence.study.config import RunConfig
from credence.study.learners import LEARNERS, shown
from credence.study.preference import SPREAD_PROMPTS, recorded_replies
from credence.study.recorded_learners import RecordedConfig
from credence.study.stored_learners import DistilConfig
from credence.study.train_config import TrainConfig

LOAD, PRIOR, INFER = "loading the prior", "what the prior says", "inference without training"
TAUGHT = "the reward that comparisons teach"
MEMORY, STATES = "prior draws to learn from", "the frozen model's states at them"
MEMORY_ENGINE = "another engine's draws to learn from"
MEMORY_RECORDED = "recorded replies under the prior"
RULER, REPORT = "the ruler", "report"
NAMES = {"value": "the value of prefixes", "dpg": "forward KL", **{name: shown(name) for name in LEARNERS}}
"""Of every stage that there can be, as the screen and the report say it."""

SECONDS_A_TOKEN = 1 / 550
"""Of sampling, on two cores; scoring costs about 0.7 of it, a training pass 2.5."""

READ = 0.7
"""Of these, what a pass costs that only reads: the states of a reply, for a reward that comparisons teach."""

SECONDS_A_HEAD = 0.5
"""Of fitting one to the states."""

SECONDS_A_DRAW_REPORTED = 0.003
"""Of the report, for its intervals; 2.5 s more whatever the run's size. From runs of 64 and of 512 draws."""


def title(stage: str) -> str:
    """The part that trains a stage."""
    return f"training: {NAMES[stage]}" + (" on prior draws" if stage == "dpg" else "")


def stages(config: RunConfig) -> list[str]:
    """The stages of training that this run has, in order; the last of them bears its engine's name."""
    train = config.train
    asked = {"value": train.value.learner != "none", "dpg": train.dpg.epochs > 0, train.engine: train.chosen.steps > 0}
    return [name for name, there in asked.items() if there]


def engine(config: RunConfig) -> bool:
    """Whether the engine of stage 2 trains in this run."""
    return config.train.chosen.steps > 0


def stored(config: RunConfig) -> bool:
    """Whether a stage learns from stored draws of the prior."""
    return bool({"value", "dpg"} & set(stages(config))) or (engine(config) and config.train.chosen.on_prior)


def fitting(config: RunConfig) -> float:
    """Seconds of fitting the reward that comparisons teach; 0 where there is none."""
    given = config.evidence.preference
    if given is None:
        return 0.0
    read = recorded_replies(given, config.folder) * config.prior.horizon * SECONDS_A_TOKEN * READ
    return read + SPREAD_PROMPTS * centre(config) + SECONDS_A_HEAD * (1 + given.members)


def centre(config: RunConfig) -> float:
    """Seconds that a learnt reward takes at a prompt when it is first asked there: what the prior usually says."""
    if not config.evidence.learnt:
        return 0.0
    return CENTRE_DRAWS * config.prior.horizon * SECONDS_A_TOKEN * (1 + READ)


def measuring(stage: str) -> str:
    """The part that measures the policy after a stage."""
    return f"measuring what {NAMES[stage]} reached"


def plan(config: RunConfig) -> dict[str, float]:
    """Seconds by part, in order, for a model of the embedded one's size."""
    measured, train = config.measure, config.train
    token = config.prior.horizon * SECONDS_A_TOKEN  # from here on seconds a reply
    taught, first = config.evidence.preference is not None, centre(config)
    read = token * READ if config.evidence.learnt else 0.0  # the evidence's own pass
    heldout = config.prompts.heldout
    parts = {LOAD: 4.0, **({TAUGHT: fitting(config)} if taught else {})}
    parts[PRIOR] = heldout * (measured.draws * (token + read) + first)
    parts[INFER] = heldout * measured.smc.particles * measured.smc.islands * (1.5 * token + read)
    validation = config.prompts.validation * train.validation_draws * (token * 1.7 + read)
    unseen = config.prompts.validation * first
    look = heldout * measured.policy_draws * (token * 1.7 + read)
    replies = train.dpg.prompts * train.dpg.draws
    weighty = heldout * measured.draws * token * 0.25
    if stored(config):
        parts[MEMORY] = replies * (token + read) + train.dpg.prompts * first
        if train.method == "value":
            parts[STATES] = replies * token * 0.5
    if train.value.learner != "none":
        given = train.value
        steps = max(1, given.epochs * train.dpg.prompts // given.batch)
        trained = given.epochs * replies * token * 0.3 + validation * (steps / train.validate_every)
        parts[title("value")] = validation + min(trained, given.seconds or trained)
        parts[measuring("value")] = look + (weighty if stages(config)[-1] != "value" else 0.0)
    if train.dpg.epochs > 0:
        steps = max(1, train.dpg.epochs * train.dpg.prompts // train.dpg.batch)
        trained = train.dpg.epochs * replies * token * 2.5 + validation * (steps / train.validate_every)
        parts[title("dpg")] = validation + min(trained, train.dpg.seconds or trained)
        parts[measuring("dpg")] = look + (weighty if engine(config) else 0.0)
    if engine(config):
        given = train.chosen
        if isinstance(given, RecordedConfig):
            parts[MEMORY_RECORDED] = 5.0
        if isinstance(given, DistilConfig):
            parts[MEMORY_ENGINE] = train.dpg.prompts * (given.group * (2.0 * token + read) + first)
        trained = given.steps * given.prompts * given.group * token * given.passes_cost
        if given.learner().on_policy:
            trained += given.steps * given.prompts * (given.group * read + first)
        trained += validation * given.steps / train.validate_every
        parts[title(train.engine)] = validation + min(trained, given.seconds or trained)
        parts[measuring(train.engine)] = look
    if stages(config):
        parts[title(stages(config)[0])] += unseen
        parts[RULER] = heldout * measured.draws * token * 0.7
    parts[REPORT] = 2.5 + heldout * measured.draws * SECONDS_A_DRAW_REPORTED
    return parts


def timed(config: RunConfig) -> dict[str, float]:
    """Of the stages that their `seconds` will end, those seconds: no machine makes them longer."""
    free = config.model_copy(update={"train": _untimed(config.train)})
    budgets = {"value": config.train.value.seconds, "dpg": config.train.dpg.seconds, **_engine_seconds(config)}
    whole = plan(free)
    return {
        title(name): given
        for name, given in budgets.items()
        if given is not None and title(name) in whole and whole[title(name)] > given
    }


def _engine_seconds(config: RunConfig) -> dict[str, float | None]:
    return {config.train.engine: config.train.chosen.seconds}


def _untimed(train: TrainConfig) -> TrainConfig:
    """The same training without limits by the clock."""
    parts = {"value": train.value, "dpg": train.dpg, train.engine: train.chosen}
    return train.model_copy(update={n: part.model_copy(update={"seconds": None}) for n, part in parts.items()})
