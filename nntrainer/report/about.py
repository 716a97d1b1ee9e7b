"""Sections about what was run, from what, and on which events."""

from __future__ import annotations

from typing import Any

import yaml

from nntrainer.report.blocks import (
    Block,
    Cell,
    Code,
    Fold,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    cell,
    facts,
    measured,
    number,
    percent,
    seconds,
    size,
    table,
)
from nntrainer.report.findings import Checked, findings
from nntrainer.report.read import Run


def summary(run: Run, rules: list[Checked]) -> Section:
    """Return the numbers that people ask for first, and all that was found."""
    metrics, auc = run.metrics, run.metrics.get("auc", {})
    tiles: list[Tile] = []
    if auc:
        tiles.append(Tile("Test AUC", measured(auc["test"], auc["test_error"], 4), f"signal {metrics['signal']}"))
        if auc.get("folds_spread") is not None:
            spread = measured(auc["folds_mean"], auc["folds_spread"], 4)
            tiles.append(Tile("AUC of the folds", spread, f"mean and spread of {len(metrics['folds'])}"))
    agreement = [one["ks_p_value"] for classes in metrics.get("scores", {}).values() for one in classes.values()]
    if known := [p for p in agreement if p is not None]:
        tiles.append(Tile("Train against test", f"p ≥ {number(min(known), 2)}", f"KS test, smallest of {len(known)}"))
    for name, found in metrics.get("reconstruction", {}).items():
        right = found["network"]["matchable"]
        tiles.append(Tile(f"{name} right", _share(right), "of matchable events"))
    for name, found in metrics.get("regression", {}).items():
        tiles.append(Tile(f"{name} resolution", f"{number(found['width'], 3)} {found['unit']}".strip(), "half of 68 %"))
    if (total := metrics.get("binned", {}).get("total")) is not None:
        tiles.append(Tile("Expected significance", f"{total:.2f} σ", "in bins of the score"))
    if events := metrics.get("events"):
        tiles.append(Tile("Events", f"{sum(events.values()):,}", ", ".join(events)))
    if run.training:
        epochs = [str(one.get("epochs", "?")) for one in run.training.values()]
        spent = sum(one.get("seconds") or 0 for one in run.training.values())
        tiles.append(Tile("Training", seconds(spent), f"{', '.join(epochs)} epochs"))
    found = findings(run)
    checked = [
        (
            one.rule.name,
            one.rule.threshold,
            Cell("not told by this run")
            if not one.known
            else Cell(f"{len(one.findings)} found", mark="warning")
            if one.findings
            else Cell("nothing", mark="good"),
        )
        for one in rules
    ]
    blocks: list[Block] = [Tiles(tuple(tiles))] if tiles else []
    blocks += [Text(each.sentence, each.rule.level) for each in found]
    if not found:
        blocks.append(Text("None of the checks below found anything."))
    blocks.append(Fold("All checks and their thresholds", (table("", ("check", "speaks at", "found"), checked),)))
    return Section("summary", "Summary", tuple(blocks))


def _share(fraction: dict[str, Any]) -> str:
    value, error = fraction.get("value"), fraction.get("error")
    return "–" if value is None else f"{100 * value:.1f} ± {100 * (error or 0):.1f} %"


def provenance(run: Run) -> Section:
    """Return what was run: code, machine, stages, packages, configuration."""
    made, record = run.provenance, next((each for each in run.records if not each.get("part")), {})
    hosts = ", ".join(dict.fromkeys(str(each["host"]) for each in run.records if each.get("host")))
    begun = min((str(each["started"]) for each in run.records if each.get("started")), default="")
    ended = max((str(each["finished"]) for each in run.records if each.get("finished")), default="")
    known = facts(
        {
            "Training": run.key("name", default=""),
            "Run": run.path.resolve().name,
            "Configuration (SHA-256)": run.digest,
            "With its input files (SHA-256)": record.get("digest"),
            "Git commit": made.get("git_commit"),
            "Image digest": made.get("image_digest"),
            "nntrainer": made.get("version"),
            "Python": made.get("python"),
            "Host": hosts or made.get("host"),
            "Platform": made.get("platform"),
            "Site": run.deploy.get("site"),
            "Begun": begun,
            "Ended": ended,
            "Seed": run.key("seed"),
        }
    )
    blocks: list[Block] = [known]
    if run.stages:
        several = any(each.get("part") for each in run.records)
        rows = [
            [
                *([record.get("part") or ""] if several else []),
                name,
                Cell(str(stage.get("state", "")), mark="good" if stage.get("state") == "done" else "warning"),
                cell(stage.get("seconds"), seconds(stage.get("seconds"))),
                stage.get("detail", ""),
            ]
            for record, name, stage in run.stages
            if not (name == "report" and stage.get("state") == "running")
        ]
        columns = [*(["part"] if several else []), "stage", "state", "time", "result"]
        blocks.append(table("Stages", columns, rows))
    packages = made.get("packages", {})
    if packages:
        blocks.append(Fold("Packages", (table("", ("package", "version"), packages.items()),)))
    text = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    blocks.append(Fold("Configuration, every default spelt out", (Code(text),)))
    return Section("run", "What was run", tuple(blocks))


def data(run: Run) -> Section:
    """Return samples, events, weights and input files."""
    metrics, samples = run.metrics, run.metrics.get("samples", [])
    blocks: list[Block] = []
    if samples:
        blocks.append(_samples(samples))
    if metrics.get("events"):
        blocks.append(_classes(run))
    if splits := metrics.get("splits"):
        rows = [(one["fold"], one["train"], one["validation"], one["test"]) for one in splits]
        blocks.append(table("Events of each fold", ("fold", "train", "validation", "test"), rows))
    policies = run.key("preparation", "negative_weights", default={})
    chosen = facts(
        {
            "Tree": run.key("data", "tree"),
            "Selection": run.key("data", "selection"),
            "Weight": run.key("data", "weight"),
            "Luminosity": f"{number(run.key('data', 'luminosity_ipb', default=1.0))} pb⁻¹",
            "Negative weights": ", ".join(f"{name}: {policy}" for name, policy in policies.items()),
            "Class balance in training": str(run.key("preparation", "class_balance", default="")),
        }
    )
    if blocks or run.config:
        blocks.append(chosen)
    files = [
        (
            one["sample"],
            each["path"],
            cell(each["size"], size(each["size"])),
            cell(each["entries"][1] - each["entries"][0]),
            each["uuid"],
        )
        for one in samples
        for each in one["files"]
    ]
    if files:
        columns = ("sample", "file", "size", "entries", "UUID")
        blocks.append(Fold(f"Input files ({len(files):,})", (table("", columns, files),)))
    return Section("data", "Data and weights", tuple(blocks))


def _samples(samples: list[dict[str, Any]]) -> Table:
    rows = [
        (
            one["sample"],
            one["label"],
            one["entries"],
            one["events"],
            cell(one["events"] / one["entries"], percent(one["events"] / one["entries"])) if one["entries"] else "",
            cell(one["sum_of_weights"]),
            cell(one["negative_fraction"], percent(one["negative_fraction"])),
            cell(round(one["effective_events"])),
            one["duplicates"],
        )
        for one in samples
    ]
    columns = ("sample", "class", "entries", "events", "selected", "Σw", "w < 0", "(Σw)²/Σw²", "same id")
    note = "Σw is the signed sum of weights of the selected events; w < 0 the fraction of events with negative weights."
    return table("Samples", columns, rows, note)


def _classes(run: Run) -> Table:
    events, sums = run.metrics["events"], run.metrics["sum_of_weights"]
    total = sum(sums.values())
    rows = [
        (name, count, cell(sums[name]), cell(sums[name] / total, percent(sums[name] / total)) if total else "")
        for name, count in events.items()
    ]
    policy = run.metrics.get("negative_weights", "keep")
    return table("Classes", ("class", "events", "Σw", "share of Σw"), rows, f"Negative weights in reports: {policy}.")
