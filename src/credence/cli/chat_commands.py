"""The chat's commands: each does one thing to the session, and says what it did."""

from typing import TYPE_CHECKING

from credence.cli.chat_words import ARGUMENTS, COMMANDS, WORDS, language

if TYPE_CHECKING:
    from credence.cli.chat_session import Session
    from credence.core.errors import CredenceError
    from credence.dialogue.choice import Choice
    from credence.dialogue.desk import Moved

LONG = 12
"""Steps of /why from which a bar is shown: about a second."""


def takes_nothing(name: str, rest: str) -> "CredenceError":
    """Words after a command that has no use for them: none is dropped in silence."""
    from credence.core.errors import ConfigError

    case = {"good": "good takes nothing", "bad": "good takes nothing", "why": "why takes all"}.get(
        name, "takes nothing"
    )
    more = {
        "good takes nothing": f" Nothing was rated: /{name} alone rates. A reply that would have been better: /better "
        "TEXT. To say it to the model, leave the slash out.",
        "why takes all": " /why, or /why all for every token.",
    }.get(case, f" Write /{name} alone.")
    return ConfigError(f"/{name} takes no words, and {rest[:40]!r} was given.{more}", case, name=name, rest=rest[:40])


def do_help(session: "Session", rest: str) -> None:
    """Every command with its meaning."""
    if session.as_json:
        session.done("help", commands={c: session.words[f"help {c}"] for c in COMMANDS})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for command in COMMANDS:
        argument = session.words[ARGUMENTS[command]] if command in ARGUMENTS else ""
        table.add_row(f"/{command} {argument}".strip(), session.words[f"help {command}"])
    session.console.print(table)
    session.tell(session.words["newline"])


def do_good(session: "Session", rest: str) -> None:
    """The last reply was good."""
    _rate(session, "good")


def do_bad(session: "Session", rest: str) -> None:
    """The last reply was bad."""
    _rate(session, "bad")


def do_better(session: "Session", rest: str) -> None:
    """This would have been better."""
    _rate(session, "better", rest)


def do_retract(session: "Session", rest: str) -> None:
    """The rating given last counts no more."""
    from credence.report.phrases import short

    last = session.talk.given[-1:]
    kept = session.talk.rate("retract")
    text = session.words["retract"].format(session.words[f"as {last[0].kind}"], short(kept.reply, 40))
    session.done("retract", text, rating=kept.id)


def _rate(session: "Session", kind: str, text: str = "") -> None:
    kept = session.talk.rate(kind, text)
    words, choice = session.words, session.talk.choice()
    told = words["learn"] if session.talk.chooser is None else words["learn choosing"].format(session.source)
    if choice is not None and kind == "better" and not choice.offers(kept.text):
        told = words["better elsewhere"]
    session.done(kind, words["gap"].join([words[kind], told]), rating=kept.id)


def do_why(session: "Session", rest: str) -> None:
    """What moved the last reply."""
    from credence.cli.chat_show import show_why, why_data
    from credence.cli.terminal import plain, progress

    if rest not in ("", "all"):
        raise takes_nothing("why", rest)
    talk = session.talk
    moved = talk.moved() if talk.turns else None
    if moved is not None:
        _why_knowledge(session, moved)
        return
    choice = talk.choice()
    if choice is not None:
        _why_choice(session, choice, rest == "all")
        return
    total = talk.why_work()
    if total > LONG:
        with progress(session.words["reading reply"], total, session.as_json, session.words["far"]) as advance:
            why = talk.why(advance)
    else:
        why = talk.why()
    if session.as_json:
        session.done("why", **plain(why_data(why)))
    else:
        show_why(session.console, why, talk.turns[-1], session.lang, rest == "all")


def _why_knowledge(session: "Session", moved: "Moved") -> None:
    from credence.cli.chat_moved import moved_data, show_moved

    if session.as_json:
        session.done("why", **moved_data(moved))
    else:
        show_moved(session.console, moved, session.words)


def _why_choice(session: "Session", choice: "Choice", every: bool) -> None:
    from credence.cli.chat_choice import choice_data, show_choice

    if session.as_json:
        session.done("why", **choice_data(choice))
    else:
        show_choice(session.console, choice, session.words, every)


def do_belief(session: "Session", rest: str) -> None:
    """What may have been asked, or what is known of the user's approval."""
    from credence.cli.chat_show import show_belief
    from credence.cli.terminal import progress

    talk = session.talk
    if talk.desk is not None and not talk.as_prior:
        belief = talk.desk.belief()
        if session.as_json:
            session.done("belief", asked=[{"question": q, "log_p": p} for q, p in belief])
        else:
            show_belief(session.console, belief, session.words)
        return
    found = None
    if session.approval is not None and talk.turns:
        total = session.approval.work(talk.turns[-1])
        if total:
            with progress(session.words["reading ratings"], total, session.as_json, session.words["far"]) as advance:
                found = session.approval.of(talk.turns[-1], advance)
        else:
            found = session.approval.of(talk.turns[-1])
    if found is None:
        session.done("belief", session.words["belief none"], ratings=0)
        return
    text = session.words["belief approval"].format(
        mean=found.mean, sd=found.sd, p=100 * found.probability, n=found.ratings
    )
    session.done("belief", text, mean=found.mean, sd=found.sd, probability=found.probability, ratings=found.ratings)


def do_prior(session: "Session", rest: str) -> None:
    """The prior answers, and back."""
    talk = session.talk
    words, wanted = session.words, not talk.as_prior
    talk.as_prior = False
    if talk.serving == "prior":
        session.done("prior", words["prior alone"], serving="prior")
        return
    talk.as_prior = wanted
    text = words["as prior"] if wanted else words["as policy"].format(words[talk.serving])
    session.done("prior", text, serving=talk.serving)


def do_beta(session: "Session", rest: str) -> None:
    """Another β; off goes back; nothing says where it stands."""
    from credence.core.errors import ConfigError

    talk, words = session.talk, session.words
    if rest:
        try:
            asked = None if rest.lower() in ("off", "-") else float(rest)
        except ValueError:
            raise ConfigError(
                f"/beta {rest[:40]}: a number above 0 is needed. {WORDS['en']['beta how']}",
                "beta number",
                given=rest[:40],
            ) from None
        talk.set_beta(asked)
    now = talk.own_beta if talk.beta is None else talk.beta
    if now is None:
        session.done("beta", words["beta none"], beta=None)
        return
    how = [words["beta now"].format(now, _beta_law(session))]
    if talk.own_beta is not None and now != talk.own_beta:
        how.append(words["beta strength"].format(talk.own_beta / now, talk.own_beta))
    session.done(
        "beta", words["gap"].join([*how, *([] if rest else [words["beta how"]])]), beta=now, serving=talk.serving
    )


def _beta_law(session: "Session") -> str:
    """What this β does to the reply that comes next."""
    talk, words = session.talk, session.words
    match talk.serving:
        case "reweighted" if talk.policy is None:
            return words["beta reweighted prior"].format(talk.of)
        case "reweighted":
            return words["beta reweighted"].format(talk.of)
        case "realigned":
            return words["beta realigned"].format((talk.own_beta or 1.0) / (talk.beta or 1.0))
        case "policy":
            return words["beta policy"]
        case "prior" | "knowledge" as serving:
            return words["beta idle"].format(words[serving])
        case serving:
            return words["beta engine"].format(words[serving])


def do_again(session: "Session", rest: str) -> None:
    """Answer anew."""
    turns = session.talk.turns
    before = turns[-1] if turns and not session.talk.heard else None
    session.answer(session.talk.again(session.tick))
    if before is not None and before.rating and not session.as_json and before not in session.talk.turns:
        session.tell(session.words["rating stays"].format(session.words[f"as {before.rating}"]))


def do_undo(session: "Session", rest: str) -> None:
    """Take the last exchange back; what was thought of its reply stands, and that is said."""
    from credence.report.phrases import short

    turn = session.talk.undo()
    text = session.words["undone"].format(short(turn.said, 60))
    if turn.rating:
        text += session.words["gap"] + session.words["rating stays"].format(session.words[f"as {turn.rating}"])
    session.done("undo", text, user=turn.said, rating=turn.rating or None)


def do_save(session: "Session", rest: str) -> None:
    """Write the talk to files."""
    from credence.dialogue.transcript import save

    paths = [str(p) for p in save(session.talk, rest)]
    session.done("save", session.words["saved"].format(", ".join(paths)), files=paths)


def do_lang(session: "Session", rest: str) -> None:
    """Another language for what the chat says of itself."""
    session.lang = language(rest or ("zh" if session.lang == "en" else "en"))
    session.done("lang", session.words["lang now"], lang=session.lang)
