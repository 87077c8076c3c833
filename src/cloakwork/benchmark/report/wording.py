"""Numbers and flags in words that people read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from cloakwork import registry, specs
from cloakwork.benchmark.report import leaderboard
from cloakwork.benchmark.results import Flag, Results, TableResults
from cloakwork.evaluation.statistics import Estimate


def number(value: float, unit: str = "", *, signed: bool = False) -> str:
    """Write a number with as many digits as mean something: two for shares and what is above 1,
    three for small numbers.

    >>> number(0.4567, "share"), number(0.4567), number(123.4)
    ('0.46', '0.457', '123')
    >>> number(-0.25, signed=True), number(math.nan)
    ('−0.250', 'unscored')
    """
    if math.isnan(value):
        return "unscored"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or unit == "share" else 3
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def seconds(value: float) -> str:
    """Write seconds with two digits after the point, and none that are not there.

    >>> seconds(0.001), seconds(0.5)
    ('< 0.01', '0.50')
    """
    return "< 0.01" if value < 0.01 else number(value, "share")


def interval(estimate: Estimate, unit: str = "", *, signed: bool = False) -> str:
    """Write an interval as [low, high].

    >>> interval(Estimate(0.5, 0.1, 0.75, 6, 2, 96), "share")
    '[0.10, 0.75]'
    """
    low, high = (number(end, unit, signed=signed) for end in (estimate.low, estimate.high))
    return f"[{low}, {high}]"


def p_value(p: float | None) -> str:
    """Write a p value; nothing for none.

    >>> p_value(0.034), p_value(0.0001), p_value(None)
    ('p = 0.034', 'p < 0.001', '')
    """
    if p is None or math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def safer(better: str) -> str:
    """Say which way a metric goes when a protection works, given which way is better for the
    attacker.

    >>> safer("higher"), safer("")
    ('lower is safer', '')
    """
    return {"higher": "lower is safer", "lower": "higher is safer"}.get(better, "")


def count(n: int, thing: str) -> str:
    """Write a number of things.

    >>> count(1, "photo set"), count(12000, "picture")
    ('1 photo set', '12 000 pictures')
    """
    return f"{n:,} {thing}{'s' * (n != 1)}".replace(",", " ")


def join_names(names: Iterable[str]) -> str:
    """Join names for a sentence.

    >>> join_names(["a", "b", "c"]), join_names([])
    ('a, b and c', 'none')
    """
    *others, last = list(names) or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


def victims(findings: Results) -> list[str]:
    """Return the models that attackers used."""
    return sorted({c.victim for t in findings.tables for c in t.cells})


def about_metric(name: str) -> str:
    """Return the first line of a metric's help; nothing for one from outside the package.

    Args:
        name: of the metric, or that with its settings.
    """
    return dict(registry.listing("metrics")).get(name.partition(":")[0], "")


def stealth(table: TableResults) -> dict[str, str]:
    """Return metrics of how visible a table's protections are -> which way is less visible."""
    metrics = dict.fromkeys(m for by in table.stealth.values() for m in by)
    return {m: specs.module("metrics", m).METRIC.better for m in metrics}


def sample_size(table: TableResults) -> str:
    """Say what a table rests on, such as "6 photo sets, 2 seeds, 96 pictures a cell"."""
    size = f"{count(len(table.subjects), 'photo set')}, {count(table.seeds, 'seed')}"
    pictures = {c.mean.pictures for c in table.cells if c.mean and c.mean.pictures}
    if not pictures:
        return size
    ends = dict.fromkeys((min(pictures), max(pictures)))
    return f"{size}, {' to '.join(map(str, ends))} pictures a cell"


def grouped(flags: Iterable[Flag]) -> dict[str, list[Flag]]:
    """Return flags by kind, the most frequent kind first."""
    by_kind: dict[str, list[Flag]] = {}
    for flag in flags:
        by_kind.setdefault(flag.kind, []).append(flag)
    return dict(sorted(by_kind.items(), key=lambda item: -len(item[1])))


def verdicts(table: TableResults) -> Iterator[str]:
    """Yield what a table shows, in sentences."""
    first, metric = table.threat_models[0], table.metrics[0]
    judged = [r for r in leaderboard.leaderboard(table, first) if not r.control]
    good = [r.protection for r in judged if r.verdict == "yes"]
    scored = [r for r in judged if r.verdict in ("yes", "no")]
    if scored:
        share = f"{len(good)} of {count(len(judged), 'protection')}"
        verb = "leaves" if len(good) == 1 else "leave"
        named = f": {join_names(good)}" if good else ""
        yield (
            f"Under {first}, {share} {verb} the attacker less than clean photos and than noise do, "
            f"by {metric}{named}."
        )
    elif judged:
        yield f"Under {first}, no protection can be judged by {metric}."
    if len(table.threat_models) > 1 and scored:
        all_over = leaderboard.winners(table, table.threat_models)
        attackers = len(table.threat_models)
        yield f"Less under every one of {attackers} attackers: {join_names(all_over)}."
    if lost := sum(not leaderboard.known(cell.mean) for cell in table.cells):
        verb = "have" if lost > 1 else "has"
        yield f"{count(lost, 'cell')} of {len(table.cells)} {verb} no number."


def flag_meaning(kind: str) -> str:
    """Return what a kind of flag means, as the checks say it; "" for one that they do not know."""
    from cloakwork.benchmark.flags import FLAG_KINDS

    text = FLAG_KINDS.get(kind, "")
    return text[:1].upper() + text[1:]
