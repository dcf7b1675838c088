"""The page's comparison as a Weights & Biases workspace and report, built by code; nothing here needs a server.

Every key is one that the runs log: panels are made of what `summary_of_fields` and `tables_of_fields` give for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from fdsr.callbacks import logged_names as names
from fdsr.records import RunFolder
from fdsr.report.figures.quality import scores_against_cost
from fdsr.report.page import study_notes, study_table
from fdsr.report.runs import TestedRun
from fdsr.report.studies import EVERY, Study
from fdsr.report.sweep_table import NAMES, SweepTable
from fdsr.report.wandb import results

TITLE = "Comparison of methods"
_LINE = "wandb/line/v0"  # W&B's own chart of a table's columns
_COLUMNS = (names.METHOD, names.SEED, names.MEMBERS, names.NFE)


@dataclass(frozen=True)
class Section:
    """A part of the page. text: Markdown above the panels."""

    name: str
    text: str
    panels: Sequence[Any] = ()

    def copies(self) -> list[Any]:
        """Of the panels: the grid that shows them places them."""
        return deepcopy(list(self.panels))


@dataclass(frozen=True)
class Chapter:
    """A study, or a sweep's table. ids: its W&B runs. columns: of the list of runs, best known first."""

    title: str
    notes: Sequence[str]
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    sections: tuple[Section, ...]


def chapters(studies: Sequence[Study], sweeps: Sequence[SweepTable]) -> list[Chapter]:
    """What the page shows, in its order."""
    found = [*map(_study, studies), *map(_sweep, sweeps)]
    titles = [chapter.title for chapter in found]
    # sections are told apart by their names
    return [
        replace(part, title=f"{part.title} ({number})") if titles.count(part.title) > 1 else part
        for number, part in enumerate(found, start=1)
    ]


def make_workspace(entity: str, project: str, found: Sequence[Chapter]) -> ws.Workspace:
    """A saved view of the project: one section a part, of the runs that were compared."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[
            ws.Section(
                name=f"{chapter.title}: {section.name}" if len(found) > 1 else section.name,
                panels=[*([wr.MarkdownPanel(markdown=section.text)] if section.text else []), *section.copies()],
                is_open=True,
            )
            for chapter in found
            for section in chapter.sections
        ],
        runset_settings=ws.RunsetSettings(
            filters=_among(id for chapter in found for id in chapter.ids),
            pinned_columns=list(dict.fromkeys(column for chapter in found for column in chapter.columns)),
        ),
    )


def make_report(entity: str, project: str, found: Sequence[Chapter]) -> wr.Report:
    """A W&B report: the tables as they stand on the page, and the panels of each study's own runs."""
    blocks: list[Any] = [wr.TableOfContents()]
    for chapter in found:
        blocks += [wr.H1(chapter.title), *([wr.UnorderedList(list(chapter.notes))] if chapter.notes else [])]
        runs = _among(chapter.ids)
        for section in chapter.sections:
            blocks += [wr.H2(section.name), *([wr.MarkdownBlock(section.text)] if section.text else [])]
            if section.panels:
                # of the report's own project: another one would be looked up on the server
                runset = wr.Runset(name=chapter.title, filters=runs)
                blocks.append(wr.PanelGrid(runsets=[runset], panels=section.copies()))
    return wr.Report(entity=entity, project=project, title=TITLE, blocks=blocks, width="fluid")


def specification(workspace: ws.Workspace, report: wr.Report) -> dict[str, Any]:
    """Both as the server takes them, in plain values."""
    return {
        name: json.loads(built._to_model().model_dump_json(by_alias=True, exclude_none=True))
        for name, built in (("workspace", workspace), ("report", report))
    }


def run_ids(run: TestedRun) -> list[str]:
    """The W&B runs of a tested run and of its training, which a sweep keeps one folder above; none if it was not logged."""
    own, above = run.folder.wandb_runs.read(), run.folder.above.wandb_runs.read()
    return [id for id in (own.get("test"), own.get("fit") or above.get("fit")) if id and "test" in own]


# -- fields ------------------------------------------------------------------------------------------------------------


def _study(study: Study) -> Chapter:
    runs = study.runs
    logged = {key: None for run in runs for key in results.summary_of_fields(run)}
    tables = {key: columns for run in runs for key, columns, _ in results.tables_of_fields(run)}
    wanted = [
        names.either(score.name, score.stand_in, v) if score.stand_in else names.score(score.name, v)
        for v, score in product(study.variables, scores_against_cost(study))
    ]
    shown = [key for key in wanted if key in logged]
    times = [names.SECONDS_PER_MEMBER] if names.SECONDS_PER_MEMBER in logged else []
    costs: dict[str, Any] = {"network evaluations a member": wr.Config(names.NFE)}
    if times:
        costs["seconds a member"] = wr.SummaryMetric(names.SECONDS_PER_MEMBER)
    drawn = any(run.folder.figure.is_file() for run in runs)
    maps = [wr.MediaBrowser(title="first time of the test", media_keys=[names.FIGURE])] if drawn else []
    ranks = _charts(tables, results.RANK_COLUMNS, 0, 1)
    markdown = "\n\n".join(_markdown(study, variable) for variable in (EVERY, *study.variables))
    sections = (
        Section("Table", markdown),
        Section("Quality against cost", "Lower left is better.", _against(costs, {key: key for key in shown})),
        Section("Power against the truth's", "", _charts(tables, results.RATIO_COLUMNS, 0, 2)),
        Section("Spectra", "", _charts(tables, results.SPECTRA_COLUMNS, 0, 3, stroke=2)),
        Section("Rank histograms", "Flat is calibrated; a bowl is too narrow.", ranks),
        Section("Training", "", _curves(_losses(runs))),
        Section("Maps", "", maps),
        Section("Runs", "", [wr.RunComparer(diff_only="split")]),
    )
    return Chapter(
        study.title,
        study_notes(study),
        tuple(dict.fromkeys(id for run in runs for id in run_ids(run))),
        (*(f"config:{name}.value" for name in _COLUMNS), *(f"summary:{key}" for key in [*shown, *times])),
        tuple(section for section in sections if section.name == "Table" or section.panels),
    )


def _markdown(study: Study, variable: str) -> str:
    """One table of the page; the best values of a column are bold."""
    table = study_table(study, variable)
    lines = [["method", *(heading for heading, _ in table["columns"])]]
    lines.append(["---"] * len(lines[0]))
    for row in table["rows"]:
        cells = []
        for cell in row["cells"]:
            text = cell.value + (f" ± {cell.spread}" if cell.spread else "")
            text = f"**{text}**" if cell.best else text
            cells.append(f"{text} {cell.mark}".strip())
        lines.append([row["label"].replace("|", "\\|"), *cells])
    return "\n".join([table["caption"] + ".", "", *("| " + " | ".join(line) + " |" for line in lines)])


def _against(costs: Mapping[str, Any], keys: Mapping[str, str], **settings: Any) -> list[Any]:
    """What is logged as `keys` (name → key) against each cost. A logarithmic axis has no place for no evaluation at all."""
    return [
        wr.ScatterPlot(title=f"{name} against {cost}", x=x, y=wr.SummaryMetric(key), log_x=True, **settings)
        for (name, key), (cost, x) in product(keys.items(), costs.items())
    ]


def _charts(
    tables: dict[str, tuple[str, ...]], wanted: tuple[str, ...], x: int, y: int, stroke: int | None = None
) -> list[Any]:
    """A line a run of every logged table that has the columns `wanted`."""
    fields = {"x": wanted[x], "y": wanted[y]} | ({} if stroke is None else {"stroke": wanted[stroke]})
    return [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": key}}, chart_name=_LINE, chart_fields=fields, chart_strings={"title": key}
        )
        for key, columns in tables.items()
        if columns == wanted
    ]  # fmt: skip


def _losses(runs: Sequence[TestedRun]) -> list[str]:
    """Keys that trainings have logged, other than scores; loggers are all told the same."""
    found: dict[str, None] = {}
    for path in dict.fromkeys(place.path for run in runs for place in (run.folder, run.folder.above)):
        if "fit" in RunFolder(path).wandb_runs.read():
            found |= {key: None for line in RunFolder(path).metrics.read() for key in line}
    return [key for key in found if key not in ("step", "epoch") and not key.startswith(f"{names.PREFIX}/")]


def _curves(keys: Sequence[str]) -> list[Any]:
    return [wr.LinePlot(title=key, x=names.STEP, y=[key]) for key in keys]


# -- images ------------------------------------------------------------------------------------------------------------


def _sweep(table: SweepTable) -> Chapter:
    keys = {NAMES[name]: names.distance(name) for name in table.distances}
    trained = [names.distance(name) for name in dict.fromkeys(table.curves.get("metric", ()))]
    seconds = {"seconds an image": wr.SummaryMetric(names.SECONDS_PER_IMAGE)}
    costs = {"network evaluations an image": wr.Config(names.NFE)} | seconds
    sections = (
        Section("Distance against steps", "", _against(costs, keys, log_y=True)),
        Section("Distance in training", "", _curves(trained)),
        Section("Samples", "", [wr.MediaBrowser(title="samples", media_keys=[names.SAMPLES])]),
    )
    columns = (
        *(f"config:{name}.value" for name in (names.METHOD, names.SEED, names.NFE)),
        *(f"summary:{key}" for key in [*keys.values(), names.SECONDS_PER_IMAGE]),
    )
    ids = dict.fromkeys(id for run in RunFolder.below(table.path.parent) for id in run.wandb_runs.read().values())
    return Chapter(table.name, (), tuple(ids), columns, tuple(s for s in sections if s.panels))


def _among(ids: Iterable[str]) -> str:
    """A filter that lets these runs pass; all of the project's where none was logged."""
    found = sorted(set(ids))
    return f"Metric('ID') in {json.dumps(found)}" if found else ""
