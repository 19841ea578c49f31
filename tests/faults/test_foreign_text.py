"""Everything foreign is text: hostile names, settings, notes and messages in one real home, through every output."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image, ImageDraw

from datadream.cli import complete
from datadream.cli.main import main
from datadream.home import experiments, labels, marks, state
from datadream.home.layout import Home, open_home
from datadream.home.provenance import Masked
from datadream.home.sets import make_set
from datadream.models.presets import HERE
from datadream.plans import enqueue
from datadream.report.exports import FORMATS
from datadream.text import csv_cell, html, json_text, latex, log_text, markdown, shown
from tests.conftest import TINY, run_cli
from tests.faults.scale import record, scale
from tests.runners import rehearsals
from tests.tui.looking import looking

EVIL = (
    "\x1b[2J\x1b]0;own\x07\x9b31m\u202e\u2066\u2028\r\n<img src=x onerror=alert(1)><script>[bold]x|*a*_b_`c`"
    "$(touch canary)\\input{z}%&#~^{{id}}https:own.example 'q' \"d\""
)
METHOD = "@recipe" + "".join(c for c in EVIL if c >= " ")  # a method's name may hold no control of ASCII
JOINERS = "\u200c\u200d"
STYLES = re.compile(r"\x1b\[[0-9;]*m")


def steering(text: str, allowed: str = "\n") -> list[str]:
    """Characters that a terminal or a reader of text would take for more."""
    categories = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return [c for c in text if unicodedata.category(c) in categories and c not in allowed + JOINERS]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which every field that can be foreign is. Real commands made it; then records were tampered with."""
    root = tmp_path_factory.mktemp("foreign")
    home = open_home(root / f"home{EVIL}")
    pictures = root / f"=source{EVIL}"
    for label, name in enumerate((f"@class{EVIL}", "dog")):
        (pictures / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (9, 9), (40 * i, 90 * label, 7)).save(pictures / name / f"-{i}{EVIL}.png")
    model = root / f"+model{EVIL}"
    for part in ("sd", "clip"):
        shutil.copytree(HERE / "weights" / "mini" / part, model / f"{part}{EVIL}")
    recipe = root / f"@recipe{EVIL}.toml"
    words = {"extends": "name-only", "name": METHOD, "about": f"=about{EVIL}"}
    head = "".join(f"{key} = {json.dumps(value)}\n" for key, value in words.items())
    recipe.write_text(f"{head}[generate]\nguidance_scale = 1.5\n")
    name = f"=set{EVIL}"
    make_set(home, str(pictures), 1, 1, split_seed=0, name=name, check="all")
    ran = run_cli(
        *(
            "run",
            recipe,
            "zero-shot",
            "real-only",
            "--set",
            name,
            "--data",
            "synth,real+synth",
            "--experiment",
            f"+exp{EVIL}",
        ),
        *("--diffusion", model / f"sd{EVIL}", "--clip", model / f"clip{EVIL}"),
        *(part for key, value in TINY.items() if not key.startswith("adapt") for part in ("-o", f"{key}={value}")),
        home=home.path,
    )
    assert ran.returncode == 0, ran.stderr
    assert not steering(ran.stdout + ran.stderr)
    for path in (home.path / "runs").glob("*.json"):
        labels.tag(home, path.stem, add=[f"+tag{EVIL}"])
        labels.note(home, path.stem, f"-note{EVIL}")
    (synth,) = (path.name for path in (home.path / "artifacts" / "synthetic").glob("[0-9a-f]*"))
    marks.mark_image(home, synth, marks.names_of(home, synth, ["dog/0"])[0], f"=why{EVIL}")
    experiments.make_experiment(home, f"\t{EVIL}")
    _tamper(home)
    return home


def _tamper(home: Home) -> None:
    """What no command of ours writes, in the files that are read back."""
    failed, lost = enqueue.enqueue(home, rehearsals(2), {}, experiment=f"+exp{EVIL}")
    for job, kind in ((failed, "user"), (lost, "unexpected")):
        request = state.read_dict(home.job(job) / "request.json") or {}
        (home.job(job) / "request.json").write_text(json.dumps({**request, "title": f"=title{EVIL}"}))
        state.claim(home, job, 1, {"slot": "cpu:0", "launcher": "local", "worker": {}})
        error = {"kind": kind, "message": f"=error{EVIL}", "attempt": 1}
        (home.job(job) / "error.json").write_text(json.dumps(error))
        state.write_history(home, job, "failed", f"=reason{EVIL}", 1)
        (home.job(job) / "log.txt").write_text(f"=log{EVIL}\n", encoding="utf-8")
        (home.job(job) / "launcher.txt").write_text(EVIL, encoding="utf-8")
        (home.job(job) / "environment.json").write_text(json.dumps({"host": EVIL, "variables": {EVIL: EVIL}}))
        events = [
            {"kind": "progress", "done": 1, "total": 2, "unit": f"=unit{EVIL}"},
            {"kind": "metric", "step": 1, "loss": 0.5, f"=metric{EVIL}": 0.25},
            {"kind": "warning", "text": f"=warning{EVIL}"},
            {"kind": EVIL, "at": EVIL},
        ]
        lines = [json.dumps({"seq": i, "attempt": 1, "seconds": i, **event}) for i, event in enumerate(events, 1)]
        (home.job(job) / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
        (home.queue / job).unlink()


def called(home: Home, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """A command in this process: exit code, output, errors."""
    before, sys.argv = sys.argv, ["datadream", *map(str, words), "--home", str(home.path)]
    capsys.readouterr()
    try:
        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.argv = before
    return (status, *capsys.readouterr())


def ids(home: Home) -> dict[str, str]:
    found = {
        kind: next((home.path / "artifacts" / kind).glob("[0-9a-f]*")).name
        for kind in ("synthetic", "classifier", "set")
    }
    found["run"] = sorted(path.stem for path in (home.path / "runs").glob("[0-9a-f]*.json"))[0]
    found["job"] = next(path.name for path in (home.path / "jobs").iterdir() if (path / "error.json").exists())
    return found


COMMANDS: dict[str, tuple[str, ...]] = {
    "sets": ("set", "ls"),
    "a set": ("set", "show", "{set}"),
    "jobs": ("job", "ls", "--columns", "id,title,state,reason,experiment,unit"),
    "all of jobs": ("job", "ls"),
    "a job": ("job", "show", "{job}"),
    "a log": ("job", "log", "{job}"),
    "waiting": ("job", "wait", "{job}"),
    "no retry": ("job", "priority", "{job}", "5"),
    "runs": ("runs", "ls", "--columns", "id,method,settings,source,backbone,tags,created"),
    "a run": ("runs", "show", "{run}"),
    "synthetic sets": ("synth", "ls"),
    "a synthetic set": ("synth", "show", "{synthetic}"),
    "marks": ("synth", "marks", "{synthetic}"),
    "a mark": ("synth", "mark", "{synthetic}", f"@class{EVIL}/0"),
    "no mark": ("synth", "mark", "{synthetic}", f"{EVIL}/9"),
    "classifiers": ("classifier", "ls"),
    "a classifier": ("classifier", "show", "{classifier}"),
    "experiments": ("experiment", "ls"),
    "an experiment": ("experiment", "show", f"+exp{EVIL}"),
    "tags": ("tag", "ls"),
    "a note": ("note", "{run}"),
    "a filter": ("runs", "ls", "--where", f"method={EVIL}"),
    "no column": ("runs", "ls", "--columns", EVIL),
    "no set": ("set", "show", EVIL),
    "the table": ("compare",),
    "the table turned": ("compare", "--pivot", "method+data,shots+source"),
    "checks": ("registry", "check"),
    "rebuilding": ("registry", "rebuild"),
    "leftovers": ("gc",),
    "the home": ("home", "show"),
    "the queue": ("queue", "show"),
    "a plan": ("run", "zero-shot", "--set", f"=set{EVIL}", "--dry-run"),
}  # fmt: skip
JSON = ("sets", "a set", "jobs", "a job", "runs", "a run", "a synthetic set", "marks", "an experiment", "tags", "checks",
        "leftovers", "the home")  # fmt: skip


def words_of(name: str, home: Home) -> list[str]:
    known = ids(home)
    return [known.get(word[1:-1], word) if re.fullmatch(r"\{\w+\}", word) else word for word in COMMANDS[name]]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_text_only(name: str, foreign: Home, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = called(foreign, capsys, *words_of(name, foreign))
    assert status in (0, 1, 2)
    assert "unexpected" not in err
    assert not steering(out + err), ascii(out + err)
    if name in ("sets", "jobs", "runs", "a run", "a set", "marks", "tags", "a note"):
        assert "[bold]x|*a*_b_`c`" in out  # no mark-up


@pytest.mark.parametrize("name", JSON)
def test_json_is_plain_and_gives_the_very_text(name: str, foreign: Home, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = called(foreign, capsys, *words_of(name, foreign), "--json")
    assert status in (0, 1), err
    assert not steering(out), ascii(out)
    found = json.loads(out)
    if name in ("sets", "jobs", "runs", "tags", "a run", "a set", "marks"):
        assert EVIL in json.dumps(found, ensure_ascii=False).encode().decode("utf-8") or _holds(found)


def _holds(value: Any) -> bool:
    """Whether the hostile text is somewhere in it, to the letter."""
    if isinstance(value, dict):
        return any(map(_holds, value)) or any(map(_holds, value.values()))
    return any(map(_holds, value)) if isinstance(value, list) else isinstance(value, str) and EVIL in value


def test_a_recipe_of_a_file_is_shown_as_text(foreign: Home, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in foreign.path.parent.iterdir() if path.name.startswith("@recipe"))
    for more in ((), ("--json",)):
        before, sys.argv = sys.argv, ["datadream", "recipe", "show", str(path), *more]
        capsys.readouterr()
        main_quietly()
        sys.argv = before
        out = capsys.readouterr().out
        assert "guidance_scale" in out
        assert not steering(out)


def main_quietly() -> None:
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code


TTY = ["jobs", "the table", "sets", "runs", "the table turned", "an experiment"]


@pytest.mark.parametrize("name", scale(TTY[:2], TTY))
def test_a_terminal_gets_nothing_but_styles(name: str, foreign: Home) -> None:
    command = [sys.executable, "-m", "datadream", *words_of(name, foreign), "--home", str(foreign.path)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "300"}
    mine, theirs = pty.openpty()
    child = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(mine, 65536):
            said += part
    except OSError:  # the other end was closed
        pass
    child.wait()
    os.close(mine)
    text = said.decode()
    assert child.returncode == 0, text
    assert not steering(STYLES.sub("", text), "\r\n"), ascii(text)
    assert not re.findall(r"\x1b\][^m]*|\x1b\[2J", text)


def exported(foreign: Home, capsys: pytest.CaptureFixture[str], format_: str, *more: str) -> str:
    status, out, err = called(foreign, capsys, "compare", "--format", format_, *more)
    assert status == 0, err
    assert not steering(out), ascii(out)
    return out


PIVOT = ("--pivot", "method+data,shots")


@pytest.mark.parametrize("more", [(), PIVOT], ids=["rows", "turned"])
def test_no_cell_of_csv_is_calculated(more: tuple[str, ...], foreign: Home, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.reader(io.StringIO(exported(foreign, capsys, "csv", *more))))
    assert len({len(row) for row in rows}) == 1
    cells = [cell for row in rows for cell in row]
    assert any(cell.startswith("'=source") for cell in cells)
    assert any(cell.startswith("'@recipe") for cell in cells)
    for cell in cells:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or float(cell) is not None


@pytest.mark.parametrize("more", [(), PIVOT], ids=["rows", "turned"])
def test_markdown_renders_as_the_same_text(
    more: tuple[str, ...], foreign: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    text = exported(foreign, capsys, "md", *more)
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    tags = set(re.findall(r"<(\w+)", page))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "p"}
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "*a*_b_`c`" in page


@pytest.mark.parametrize("more", [(), PIVOT], ids=["rows", "turned"])
def test_latex_holds_no_command_of_a_name(
    more: tuple[str, ...], foreign: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    text = exported(foreign, capsys, "latex", *more)
    ours = {
        *("begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "textbf", "pm", "cdot", "approx"),
        *("textasciitilde", "textasciicircum", "textbackslash", "textless", "textgreater", "textbar"),
    }
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= ours
    assert re.sub(r"\\.", "", text).count("%") == 0
    assert r"\textbackslash{}input\{z\}" in text


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_and_its_curves_hold_no_element_of_a_name(foreign: Home, capsys: pytest.CaptureFixture[str]) -> None:
    page = Page()
    text = exported(foreign, capsys, "html")
    page.feed(text)
    assert not page.tags & {"img", "script", "a", "iframe", "link"}
    assert not {name for name in page.attributes if name.startswith("on")}
    assert "<img src=x onerror=alert(1)><script>[bold]x|*a*_b_`c`" in page.text
    from datadream.report.curves import Curve, Point
    from datadream.report.exports import _svg

    points = (Point(1, 50.0, 0.0, 1), Point(2, 60.0, 0.0, 1))
    svg = _svg([Curve(EVIL, points)], EVIL)
    assert not steering(svg)
    assert {element.tag for element in ElementTree.fromstring(svg).iter()} <= {
        "svg",
        "path",
        "text",
        "polyline",
        "circle",
    }


def test_a_picture_draws_text_only(
    foreign: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    original = ImageDraw.ImageDraw.text

    def noted(self: ImageDraw.ImageDraw, xy: Any, text: str, *rest: Any, **named: Any) -> None:
        drawn.append(text)
        original(self, xy, text, *rest, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    status, _, err = called(foreign, capsys, "compare", "--format", "png", "--output", tmp_path / "table.png")
    assert status == 0, err
    from datadream.report.figures import confusion_map, sample_grid

    sample_grid([EVIL, EVIL], [(EVIL, [[Image.new("RGB", (4, 4))], []])])
    confusion_map([[1, 2], [3, 4]], [EVIL, "dog"])
    assert any("onerror" in text for text in drawn)
    assert not steering("".join(drawn), "")


def test_what_tab_offers_is_a_plain_word(foreign: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    shutil.copytree(foreign.path, home, ignore=shutil.ignore_patterns("hf"))
    (home / "runs" / f"{EVIL}.json").write_text("{}")
    (home / "artifacts" / "synthetic" / f"-{EVIL}").mkdir()
    (home / "jobs" / EVIL).mkdir()
    monkeypatch.setenv("DATADREAM_HOME", str(home))
    context: Any = type("Context", (), {"params": {}})()
    finders = (
        complete.jobs,
        complete.sets,
        complete.runs,
        complete.experiments,
        complete.synthetics,
        complete.anything,
    )
    for find in finders:
        offered = find(context, "")
        assert offered
        assert all(re.fullmatch(r"[A-Za-z0-9@%+=:,./_][A-Za-z0-9@%+=:,./_-]*", word) for word in offered), offered


def test_logs_on_the_disk_steer_no_terminal(foreign: Home) -> None:
    logs = [path for path in foreign.path.rglob("*") if path.suffix in (".txt", ".log") and path.is_file()]
    ours = [path for path in logs if not (path.parent / "error.json").exists() and "artifacts" not in path.parts]
    assert ours
    for path in ours:
        assert not steering(path.read_text(encoding="utf-8"), "\n\r\t"), path
    heard = io.StringIO()
    Masked(heard).write(f"{EVIL}\n\t\r")
    assert not steering(heard.getvalue(), "\n\r\t")


async def _walk(home: Home, size: tuple[int, int]) -> list[str]:
    """Everything that is on the screens of the app, one after another."""
    found: list[str] = []
    known = ids(home)
    async with looking(home, size) as looker:

        async def look() -> None:
            for _ in range(3):
                await looker.pilot.pause()
                await asyncio.sleep(0.05)
            found.append(looker.text())
            found.append(looker.toasts())

        for key in "1234567890":
            await looker.press(key)
            await look()
            for more in ("v", "down", "v"):
                await looker.press(more)
                await look()
        await looker.press("escape", "2", "enter")
        await look()
        for key in ("tab", "l", "escape", "7"):
            await looker.press(key)
            await look()
        for key in ("v", "v", "i", "escape", "6", "enter", "tab", "escape", "question_mark", "escape", "at", "escape"):
            await looker.press(key)
            await look()
        for kind in ("synth", "set"):
            from tui.screens.gallery import GalleryScreen

            looker.app.push_screen(GalleryScreen(known["synthetic" if kind == "synth" else "set"], kind))
            await look()
            await looker.press("enter")
            await look()
            await looker.press("escape", "escape")
        looker.app.open_lineage(known["synthetic"])
        await look()
        for screen, keys in (("6", ("t", "escape", "e", "escape", "slash")), ("2", ("t", "escape", "colon"))):
            await looker.press("escape", screen)
            for key in keys:
                await looker.press(key)
                await look()
        looker.app.say(EVIL)
        await look()
    return found


@pytest.mark.parametrize("size", scale([(120, 40)], [(120, 40), (80, 24)]), ids=str)
def test_the_app_shows_text_only(size: tuple[int, int], foreign: Home) -> None:
    found = asyncio.run(_walk(foreign, size))
    everything = "\n".join(found)
    assert "onerror" in everything or "=source" in everything
    assert "=title" in everything
    assert "[bold]x" in everything  # no mark-up
    assert not steering(everything), {ascii(line) for line in everything.splitlines() if steering(line)}


def test_the_app_exports_text_only(foreign: Home) -> None:
    from datadream.report import pivot as pivots
    from datadream.report.assemble import compare_home
    from datadream.report.exports import export

    found = pivots.pivot(compare_home(foreign))
    for format_ in FORMATS:
        data = export(found, format_, f"=title{EVIL}")
        if format_ != "png":
            assert not steering(data.decode())
        if format_ in ("html", "md"):
            assert "<script>" not in data.decode()


TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from([*"=+-@\t\r\n#*_`[]()<>&|~!$\\{}%^\"'. 1a", "\x1b[", "\u202e", "\x9b", "http://x", "www.x.y", "[a](b)", "[a]: b", "[x] ", "é"]),
    max_size=20,
).map("".join)  # fmt: skip


@settings(max_examples=scale(150, 5000), deadline=None)
@given(TEXTS)
def test_every_owner_of_showing_lets_letters_through_and_nothing_else(text: str) -> None:
    for way in (shown, markdown, html, latex):
        assert not steering(way(text), ""), way
    assert not steering(log_text(text), "\n\r\t")
    assert json.loads(json_text({"a": text})) == {"a": text}
    assert not steering(json_text([text], indent=2))
    cell = csv_cell(text)
    assert not steering(cell, "")
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@")) or re.fullmatch(r"[+-][\d.eE+-]+", cell)
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough", "linkify"])
    page.options["linkify"] = False
    rendered = page.render(f"| a |\n|---|\n| {markdown(text)} |\n\n- {markdown(text)}\n")
    assert set(re.findall(r"<(\w+)", rendered)) <= {"table", "thead", "tbody", "tr", "th", "td", "ul", "li", "p"}, (
        rendered
    )
    parsed = Page()
    parsed.feed(f'<p title="{html(text)}">{html(text)}</p>')
    assert parsed.tags == {"p"}
    assert parsed.text == shown(text)
    assert not re.search(r"(?<!\\)[%&#_~]", latex(text).replace("\\&", ""))
    assert csv_cell(-1.5) == -1.5
    assert csv_cell("-1.5") == "-1.5"


def test_it_is_counted() -> None:
    record(
        "foreign-text", commands=len(COMMANDS), formats=len(FORMATS) + 2, outcome="text in every output, nothing run"
    )


@pytest.fixture(autouse=True)
def _nothing_ran(foreign: Home) -> Iterator[None]:
    yield
    assert not list(foreign.path.parent.rglob("canary"))
    assert not Path("canary").exists()
