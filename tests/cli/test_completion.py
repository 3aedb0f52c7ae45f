import contextlib
import io
import os
import pty
import select
import shutil
import subprocess
import sys
import time
import typing
from pathlib import Path
from unittest import mock

import pytest

from marsbench import cli
from marsbench.cli.complete import join_pieces
from marsbench.cli.data import INFO_KEYS
from marsbench.config.schema import Mode, SourceName, config_keys, parse_subset
from marsbench.models.zoo.catalog import ALIASES, MODELS
from marsbench.results.ids import short_ids
from marsbench.results.store import Store
from marsbench.tasks.catalog import TASKS
from tests.report.fake_store import Fake, fake_record, write

BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}


def ask(**variables: str) -> list[str]:
    """Ask in this process, as the scripts for the shells do: by environment variables."""
    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, variables),
        contextlib.redirect_stdout(out),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    assert not ended.value.code
    return [line for line in out.getvalue().splitlines() if line]


def bash(*pieces: str) -> list[str]:
    """What bash is told: the pieces are COMP_WORDS, the last is being typed."""
    return ask(
        COMP_WORDS="\n".join(["marsbench", *pieces]),
        COMP_CWORD=str(len(pieces)),
        _MARSBENCH_COMPLETE="complete_bash",
    )


def zsh(line: str) -> str:
    return "\n".join(ask(_TYPER_COMPLETE_ARGS=line, _MARSBENCH_COMPLETE="complete_zsh"))


def fish(line: str) -> list[str]:
    answer = ask(
        _TYPER_COMPLETE_ARGS=line,
        _MARSBENCH_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    return [text.partition("\t")[0] for text in answer]


CASES = {
    "values": (["run", "task", "=", "fro"], ["frost_cls"]),
    "all values": (["run", "task", "="], list(TASKS)),
    "modes": (["run", "mode", "="], [m.value for m in Mode]),
    "several words": (["run", "task", "=", "frost_cls", "mode", "=", "fi"], ["finetune"]),
    "group": (["run", "optim", "=", "s"], ["sgd"]),
    "enum in a group": (["run", "optim.name", "="], ["adam", "adamw", "sgd", "lbfgs", "knn"]),
    "boolean": (["run", "logger.csv", "="], ["true", "false"]),
    "number": (["run", "seed", "="], ["0"]),
    "number or null": (["run", "optim.lr", "="], ["null"]),
    "path": (["run", "root", "=", "/us"], []),
    "unknown key": (["run", "tsk", "=", "fro"], []),
    "library": (["run", "model", "=", "torchvision", ":", "res"], ["resnet101"]),
    "library alone": (["run", "model", "=", "timm", ":", "vit"], None),
    "option broken at =": (["run", "--format", "=", "t"], ["table"]),
    "keys": (["run", "mo"], ["model=", "mode="]),
    "only key": (["run", "sou"], [f"source={s.value}" for s in SourceName]),
    "only key, any number": (["run", "see"], ["seed=", "seed=0"]),
    "only key, a path": (["run", "roo"], ["root=", "root=null"]),
    "given already": (["run", "mode", "=", "frozen", "mo"], None),
    "not broken": (["run", "task=fro"], ["task=frost_cls"]),
    "task of info": (["data", "info", "fro"], ["frost_cls"]),
    "task of verify": (["data", "verify", "domars"], ["domars16k"]),
    "key of info": (["data", "info", "frost_cls", ""], [f"{key}=" for key in INFO_KEYS]),
    "value of info": (["data", "info", "frost_cls", "source", "=", "de"], ["demo"]),
    "key of verify": (["data", "verify", "frost_cls", ""], ["root=", "root=null"]),
    "commands": (["resu"], ["results"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bash_gets_the_piece_that_is_typed(case: str) -> None:
    pieces, expected = CASES[case]
    found = bash(*pieces)
    if case == "given already":
        assert found
        assert all(word.startswith("model=") for word in found)
    elif case == "library alone":
        assert found
        assert all(f"timm:{name}" in {s.architecture for s in MODELS.values()} for name in found)
    else:
        assert found == expected


def test_every_key_and_published_subset_is_offered() -> None:
    keys = bash("run", "")
    assert {f"{key}=" for key in config_keys()} < set(keys)
    assert "optim=" in keys
    subsets = bash("run", "subset", "=")
    assert len(subsets) == 14
    assert [str(parse_subset(name)) for name in subsets] == subsets
    assert set(bash("run", "model", "=")) == {*MODELS, *ALIASES}


def test_runs_of_the_store_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    records = [
        fake_record(Fake("frost_cls", model, seed=seed))
        for model, seed in (("resnet101", 0), ("resnet101", 12), ("vit_l_16", 1), ("swin_v2_b", 1))
    ]
    assert bash("predict", "frost") == []
    write(Store("runs"), records, predictions=False)
    ids = sorted(record.run_id for record in records)
    short = short_ids(ids)
    for command in (["predict"], ["ensemble"], ["card"], ["results", "groups"]):
        assert bash(*command, "") == ids
        assert bash(*command, "frost_cls/v") == [ids[-1]]
        assert bash(*command, "12") == [short[records[1].run_id]]
        assert len(bash(*command, "1-")) == 2
    assert bash("spectra", "submission", "0") == [short[records[0].run_id]]
    assert bash("ensemble", ids[0], "frost") == ids[1:]
    assert bash("evaluate", "frost") == ids
    assert bash("evaluate", ids[0], "task", "=", "frost") == ["frost_cls"]
    assert {*ids, "task="} <= set(bash("evaluate", ""))
    (tmp_path / "runs").rename(tmp_path / "other")
    assert bash("predict", "12") == []
    assert bash("predict", "--store", "other", "12") == [short[records[1].run_id]]
    assert bash("evaluate", "store", "=", "other", "12") == [short[records[1].run_id]]


def test_zsh_and_fish_get_whole_words() -> None:
    assert '"task=frost_cls"' in zsh("marsbench run task=fro")
    assert '"model="' in zsh("marsbench run task=frost_cls mo")
    assert '"frost_cls"' in zsh("marsbench data info fro")
    assert r'"model=timm\\:resnet18.a1_in1k"' in zsh("marsbench run model=timm:resnet18")
    assert fish("marsbench run task=fro") == ["task=frost_cls"]
    assert fish("marsbench run optim=s") == ["optim=sgd"]
    assert fish("marsbench data info frost_cls source=d") == ["source=demo"]


@pytest.mark.parametrize(
    ("pieces", "words", "done"),
    [
        (["a", "task", "=", "fro"], ["a", "task=fro"], "task="),
        (["a", "task", "="], ["a", "task="], "task="),
        (["a", "task", "=", ""], ["a", "task=", ""], ""),
        (["a", "m", "=", "timm", ":", "x"], ["a", "m=timm:x"], "m=timm:"),
        (["a", "m", "=:", "x"], ["a", "m=:x"], "m=:"),
        (["a", "x=1", "task", "=", "f", "mo"], ["a", "x=1", "task=f", "mo"], ""),
        (["a", ""], ["a", ""], ""),
    ],
)
def test_join_pieces(pieces: list[str], words: list[str], done: str) -> None:
    assert join_pieces(pieces) == (words, done)


def test_completion_loads_nothing_heavy() -> None:
    """A user waits for every press of the tab key."""
    check = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write(' '.join(m for m in "
        "('torch', 'hydra', 'numpy', 'timm', 'pandas', 'gradio', 'huggingface_hub', 'jinja2') "
        "if m in sys.modules)))\n"
        "sys.argv = ['marsbench']\nfrom marsbench.cli import main; main()"
    )
    asked = {
        "COMP_WORDS": "marsbench\nrun\n",
        "COMP_CWORD": "2",
        "_MARSBENCH_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-c", check],
        env={**ENVIRONMENT, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "task=" in done.stdout.splitlines()


class Terminal:
    """A shell as a person meets it, but for the history it would keep."""

    plain: typing.ClassVar = {"TERM": "dumb", "COLUMNS": "200", "HISTFILE": "/dev/null"}

    def __init__(self, *command: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {**ENVIRONMENT, **self.plain})
        self.seen = ""

    def type(self, keys: str, until: str) -> None:
        os.write(self.fd, keys.encode())
        end = time.monotonic() + 20
        while until not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.pid, 0)


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -D -u; "),
}

TYPED = {
    "marsbench run ta\tfro\t": "marsbench run task=frost_cls",
    "marsbench run task=frost_cls model=timm:vi\tmode=fi\t": (
        "marsbench run task=frost_cls model=timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k "
        "mode=finetune"
    ),
    "marsbench data info fro\tsou\tde\t": "marsbench data info frost_cls source=demo",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes(shell: str) -> None:
    command, setup = SHELLS[shell]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{shell} is not installed")
    terminal = Terminal(*command)
    try:
        script = f'{setup}eval "$(_MARSBENCH_COMPLETE=source_{shell} marsbench)"'
        # Written so that the echo of the typed line is not taken for the answer.
        terminal.type(f"{script}; echo REA''DY\n", "READY\r")
        for typed, line in TYPED.items():
            # The last keys go to the start of the line and print it instead of running it.
            terminal.type(f"{typed}\x01: ; echo RESULT:\n", f"\nRESULT:{line}".rstrip())
    finally:
        terminal.close()
