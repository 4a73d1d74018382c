from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shazimd import paths
from shazimd.cli import run, service, units
from shazimd.errors import ConfigError, InternalError, UsageError

PREFIX = "/usr"


@pytest.fixture(autouse=True)
def _system_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that runs the tests may be in a home."""
    monkeypatch.setattr(sys, "base_prefix", PREFIX)


@pytest.fixture
def layout(tmp_path: Path) -> units.Layout:
    return units.system_layout(str(tmp_path / "root"))


@pytest.fixture
def photos(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    return str(tmp_path / "photos")


def install(layout: units.Layout, *directories: str) -> dict[str, str]:
    files = units.plan(layout, directories, PREFIX)
    units.write(files)
    return files


def tree(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def runnable(layout: units.Layout, photos: str) -> str:
    """The folder of the installed units, whose programs are there."""
    install(layout, photos)
    for path in Path(layout.units).rglob("*.service"):
        text = path.read_text()
        path.write_text(re.sub(r"/usr/bin/shazim[\w-]+", "/bin/true", text))
    return layout.units


def systemd_analyze(*words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", [*units.UNITS, "shazimd-model.service", "shazimd-link.service"])
def test_systemd_has_nothing_to_say(runnable: str, unit: str) -> None:
    """Every unit is verified in silence: unknown keys would only be warned of."""
    said = systemd_analyze("verify", "--man=no", f"{runnable}/{unit}")
    assert (said.stdout, said.stderr, said.returncode) == ("", "", 0)


@pytest.mark.parametrize("unit", [*units.UNITS, "shazimd-model.service", "shazimd-link.service"])
@pytest.mark.parametrize("templates", ["systemd", "systemd/user"])
def test_no_failure_makes_a_unit_stay_dead(monkeypatch: pytest.MonkeyPatch, templates: str, unit: str) -> None:
    """No limit of starts, and pauses that grow where systemd has them; else five seconds."""
    if not (Path(units.__file__).parents[1] / templates / unit).exists():
        pytest.skip("a system unit only")
    monkeypatch.setattr(units, "_systemd_version", lambda: 254)
    new = units._template(templates, unit, PREFIX).splitlines()
    monkeypatch.setattr(units, "_systemd_version", lambda: 253)
    old = units._template(templates, unit, PREFIX).splitlines()
    assert not any(line.startswith("@") for line in new + old)
    if unit in ("shazimd.service", "shazimd-hooks.service", "shazimd-link.service"):
        assert "StartLimitIntervalSec=0" in new
        assert [line for line in new if line.startswith("Restart")][1:4] == [
            "RestartSec=1",
            "RestartSteps=8",
            "RestartMaxDelaySec=5min",
        ]
        assert [line for line in old if line.startswith("Restart")][:2] == ["Restart=on-failure", "RestartSec=5"]
        assert len(old) == len(new) - 2


def test_the_model_unit_cannot_write_to_the_store(runnable: str) -> None:
    """It has another user than the daemon, which reads what it leaves."""
    daemon, model = (Path(runnable, unit).read_text() for unit in ("shazimd.service", "shazimd-model.service"))
    assert "User=shazimd\n" in daemon
    assert "User=shazimd-model\n" in model
    assert "StateDirectory=shazimd-model\n" in model
    staging = "Environment=SHAZIMD_STAGED_MODELS=%S/shazimd-model/models\n"
    assert staging in daemon
    assert staging in model


@pytest.mark.parametrize("unit", ["shazimd.service", "shazimd.socket", "shazimd-hooks.service"])
def test_user_units_are_sound_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    """The units of a person's own service are verified in silence."""
    for path in (Path(units.__file__).parents[1] / "systemd" / "user").iterdir():
        text = units._template("systemd/user", path.name, PREFIX)
        (tmp_path / path.name).write_text(re.sub(r"/usr/bin/shazim[\w-]+", "/bin/true", text))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    said = systemd_analyze("verify", "--user", "--man=no", str(tmp_path / unit))
    assert (said.stdout, said.stderr, said.returncode) == ("", "", 0)


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        ("shazimd.service", 4),
        ("shazimd-hooks.service", 25),
        ("shazimd-model.service", 25),
        ("shazimd-link.service", 25),
    ],
)
def test_exposure(runnable: str, unit: str, most: int) -> None:
    """systemd rates the daemon at most 0.4 (in tenths), and what needs a network at most 2.5."""
    said = systemd_analyze("security", "--offline=true", f"--threshold={most}", f"{runnable}/{unit}")
    assert said.returncode == 0, said.stdout.splitlines()[-1]


def test_users_keep_their_numbers_where_the_daemon_has_a_name_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only from systemd 258 on can one be made with all of them, and then the rating is 0.2."""
    for version, expected in ((257, []), (258, ["PrivateUsers=full"])):
        monkeypatch.setattr(units, "_systemd_version", lambda version=version: version)
        lines = units._template("systemd", "shazimd.service", PREFIX).splitlines()
        assert expected == [line for line in lines if line.startswith("PrivateUsers=")]


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (Path(units.__file__).parents[1] / "systemd").glob("*.*"))
)
def test_no_specifier_is_newer_than_the_systemd_of_a_distribution(name: str) -> None:
    """A line with an unknown one is passed over: %d, of systemd 251, lost the link its password on Ubuntu 22.04."""
    text = re.sub("^#.*$", "", units._template("systemd", name, PREFIX), flags=re.MULTILINE)
    assert set(re.findall("%([A-Za-z])", text)) <= set("nS")


def test_a_directory_of_programs_may_be_missing() -> None:
    """Without a dash systemd would not start the unit: Debian on ARM has no /lib64."""
    (line,) = re.findall("^ExecPaths=(.*)$", units._template("systemd", "shazimd.service", PREFIX), re.MULTILINE)
    assert {"-/usr", "-/lib64"} <= set(line.split())
    assert [place for place in line.split() if not place.startswith("-")] == []


def test_installing_twice_changes_nothing(layout: units.Layout, photos: str) -> None:
    """What is as it should be is not written again."""
    assert install(layout, photos) != {}
    assert install(layout, photos) == {}


def test_the_config_is_added_to_and_never_changed(layout: units.Layout, photos: str, tmp_path: Path) -> None:
    """Further directories come at the end; comments and keys stay as they were written."""
    Path(layout.config).parent.mkdir(parents=True)
    mine = f'# mine\n[match]\nthreshold=0.8\n[[watch]]\npath = "{photos}"\nmode="poll"\n'
    Path(layout.config).write_text(mine)
    (tmp_path / 'more "x"').mkdir()
    install(layout, photos, str(tmp_path / 'more "x"'))
    text = Path(layout.config).read_text()
    assert text.startswith(mine)
    assert [watch["path"] for watch in tomllib.loads(text)["watch"]] == [photos, str(tmp_path / 'more "x"')]


def test_a_config_stays_closed(layout: units.Layout, photos: str, tmp_path: Path) -> None:
    """Its mode is kept: a hook's token may stand in it."""
    install(layout, photos)
    Path(layout.config).chmod(0o640)
    (tmp_path / "b").mkdir()
    install(layout, str(tmp_path / "b"))
    assert Path(layout.config).stat().st_mode & 0o777 == 0o640


def test_the_environment_file_is_the_administrators(layout: units.Layout, photos: str) -> None:
    """What was changed in it is left, at an upgrade and when uninstalling."""
    install(layout, photos)
    (environment,) = layout.kept
    Path(environment).write_text("SHAZIMD_ARGS=--log-level debug\n")
    assert install(layout, photos) == {}
    units.remove(units.installed(layout, PREFIX))
    assert sorted(tree(Path(layout.config).parents[2])) == sorted([layout.config, environment])


def test_homes_are_opened_one_directory_at_a_time(layout: units.Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that the sandbox hides gets a line in the drop-in, quoted as systemd reads it; others none."""
    monkeypatch.setattr(os.path, "isdir", lambda _: True)
    install(layout, "/srv/p", '/home/a b/50%: "x"', "/tmp/p")
    lines = Path(layout.drop_in()).read_text().splitlines()
    assert [line for line in lines if line.startswith("Bind")] == [
        'BindReadOnlyPaths="-/home/a b/50%%\\: \\"x\\""',
        'BindReadOnlyPaths="-/tmp/p"',
    ]


def test_a_link_into_a_home_is_opened(layout: units.Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox hides the directory to which it leads."""
    (tmp_path / "home/ann").mkdir(parents=True)
    (tmp_path / "link").symlink_to("home/ann")
    monkeypatch.setattr(units, "HIDDEN_BY_THE_SANDBOX", (str(tmp_path / "home"),))
    install(layout, str(tmp_path / "link"))
    assert f'BindReadOnlyPaths="-{tmp_path}/home/ann"\n' in Path(layout.drop_in()).read_text()


def test_a_home_by_its_real_name_is_opened(
    layout: units.Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With /home a link to /var/home, the sandbox hides both."""
    (tmp_path / "var/home/ann").mkdir(parents=True)
    (tmp_path / "home").symlink_to("var/home")
    monkeypatch.setattr(units, "HIDDEN_BY_THE_SANDBOX", (str(tmp_path / "home"),))
    install(layout, str(tmp_path / "var/home/ann"))
    assert f'BindReadOnlyPaths="-{tmp_path}/var/home/ann"\n' in Path(layout.drop_in()).read_text()


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("/srv/store", ['ReadWritePaths="-/srv/store"', 'NoExecPaths="-/srv/store"']),
        ("/srv//a b/", ['ReadWritePaths="-/srv/a b"', 'NoExecPaths="-/srv/a b"']),
        ("/home/ann/store", ['BindPaths="-/home/ann/store"', 'NoExecPaths="-/home/ann/store"']),
        ("/var/lib/shazimd", []),
        ("/var/lib/shazimd/store", []),
    ],
)
def test_a_store_elsewhere_may_be_written(layout: units.Layout, photos: str, store: str, expected: list[str]) -> None:
    """But for it and the unit's own directory everything is read-only for the daemon."""
    Path(layout.config).parent.mkdir(parents=True)
    Path(layout.config).write_text(f'[store]\npath = "{store}"\n')
    install(layout, photos)
    lines = Path(layout.drop_in()).read_text().partition("[Service]\n")[2].splitlines()
    assert [line for line in lines if photos not in line] == expected


def test_systemd_takes_the_lines_of_a_store(layout: units.Layout, photos: str) -> None:
    """A key that it doesn't know would be named."""
    Path(layout.config).parent.mkdir(parents=True)
    Path(layout.config).write_text('[store]\npath = "/srv/a b: 50%"\n')
    install(layout, photos)
    unit = Path(layout.units, "shazimd.service")
    unit.write_text(
        unit.read_text().replace("/usr/bin/shazimd", "/bin/true").replace("/usr/bin/shazimctl", "/bin/true")
    )
    said = systemd_analyze("verify", "--man=no", str(unit))
    assert (said.stdout, said.stderr, said.returncode) == ("", "", 0)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_missing_store_is_made_for_the_user(tmp_path: Path, is_there: bool) -> None:
    """Elsewhere than in the unit's directory the daemon can't make it; one that is there is left as it is."""
    store, config = tmp_path / "store", tmp_path / "config.toml"
    config.write_text(f'[model]\nhandle = "none"\n[store]\npath = "{store}"\n')
    if is_there:
        store.mkdir()
    make = ["install", "-d", "-o", "shazimd", "-g", "shazimd", "-m", "0700", str(store)]
    assert (make in service._install_steps(False, str(config))) is not is_there
    assert make not in service._install_steps(True, str(config))


@pytest.mark.parametrize("written", ["{}/", "{}/../photos", "/{}", "{}/../link"])
def test_a_directory_that_is_watched_is_not_added(
    layout: units.Layout, photos: str, tmp_path: Path, written: str
) -> None:
    """By whatever name the configuration has it: a second table would take the place of the first one's keys."""
    (tmp_path / "link").symlink_to(photos)
    Path(layout.config).parent.mkdir(parents=True)
    mine = f'[[watch]]\npath = "{written.format(photos)}"\nreference = true\n'
    Path(layout.config).write_text(mine)
    install(layout, photos, photos + "/")
    assert Path(layout.config).read_text() == mine


@pytest.mark.parametrize(("present", "added"), [("photos", "photos/2024"), ("photos/2024", "photos")])
def test_directories_that_the_daemon_would_refuse_are_refused(
    layout: units.Layout, tmp_path: Path, present: str, added: str
) -> None:
    """Before the running daemon is stopped: it could not start again."""
    (tmp_path / "photos/2024").mkdir(parents=True)
    before = install(layout, str(tmp_path / present))
    with pytest.raises(ConfigError, match="expected roots side by side"):
        units.plan(layout, [str(tmp_path / added)], PREFIX)
    assert before[layout.config] == Path(layout.config).read_text()


@pytest.mark.parametrize(
    ("directories", "message"),
    [((), "no directory to watch, expected at least one"), (("/nowhere/at/all",), "/nowhere/at/all: not a directory")],
)
def test_nothing_to_watch_is_refused(layout: units.Layout, directories: tuple[str, ...], message: str) -> None:
    """The error says what is missing, before anything is written."""
    with pytest.raises(UsageError, match=message):
        units.plan(layout, directories, PREFIX)


def test_a_name_that_no_config_can_hold_is_refused(layout: units.Layout, tmp_path: Path) -> None:
    """A newline in a directory's name could write keys of its own."""
    bad = tmp_path / 'x"\nthreshold = 0'
    bad.mkdir()
    with pytest.raises(UsageError, match="not printable"):
        units.plan(layout, [str(bad)], PREFIX)


def test_a_program_that_the_service_could_not_see_is_refused(layout: units.Layout, photos: str) -> None:
    """Installed below a home it would not start: the error says where to install it."""
    for prefix in ("/home/me/venv", "/tmp/venv"):
        with pytest.raises(UsageError, match="install it in /opt/shazimd"):
            units.plan(layout, [photos], prefix)


def test_a_python_that_the_service_could_not_see_is_refused(
    layout: units.Layout, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of uv or pyenv is in a home, and the environment leads there."""
    monkeypatch.setattr(sys, "base_prefix", "/root/.local/share/uv/python/cpython-3.13")
    with pytest.raises(UsageError, match=r"the Python of /opt/shazimd is in /root/.+ such as /usr/bin/python3"):
        units.plan(layout, [photos], "/opt/shazimd")


def test_a_broken_config_is_not_built_upon(layout: units.Layout, photos: str) -> None:
    """The fault is told, and nothing is written."""
    Path(layout.config).parent.mkdir(parents=True)
    Path(layout.config).write_text("[[watch")
    with pytest.raises(ConfigError, match="not a TOML file"):
        units.plan(layout, [photos], PREFIX)


def test_a_full_disk_leaves_all_as_it_was(layout: units.Layout, photos: str, tmp_path: Path) -> None:
    """When one of the files can't be written, none of them is put in place, and no rest is left."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    root = tmp_path / "root"
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(root)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(InternalError, match="No space left on device; the service was not installed"):
            install(layout, photos)
        assert tree(root) == {}
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_links_lead_to_the_program_and_spare_what_is_not_ours(layout: units.Layout, tmp_path: Path) -> None:
    """A link is made where nothing is or one of ours; a file of somebody else's stays."""
    prefix = tmp_path / "venv"
    (prefix / "bin").mkdir(parents=True)
    for name in ("shazimd", "shazimctl"):
        (prefix / "bin" / name).touch()
    theirs = tmp_path / "root/usr/local/bin/shazimd"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    units.link(units.links(layout, str(prefix)))
    assert theirs.read_text() == "theirs"
    mine = theirs.with_name("shazimctl")
    assert os.readlink(mine) == str(prefix / "bin/shazimctl")
    assert str(mine) in units.installed(layout, str(prefix))
    assert str(theirs) not in units.installed(layout, str(prefix))


def test_a_dry_run_shows_and_writes_nothing(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file and every step is shown."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(["service", "install", "--user", "--dry-run", photos]) == 0
    said = capsys.readouterr().out
    assert f"==> {tmp_path}/config/systemd/user/shazimd.service\n" in said
    assert f"ExecStart={sys.prefix}/bin/shazimd\n" in said
    assert f'path = "{photos}"\n' in said
    assert "$ systemctl --user enable shazimd.socket shazimd.service\n" in said
    assert not (tmp_path / "config").exists()


def test_the_config_may_name_variables_of_the_service(
    layout: units.Layout,
    photos: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are in the environment file of the units, and in no shell's: an upgrade of the package runs this, too."""
    install(layout, photos)
    (environment,) = layout.kept
    monkeypatch.setattr(paths, "SYSTEM_ENVIRONMENT", environment)
    monkeypatch.setattr(units, "system_layout", lambda: layout)
    monkeypatch.setattr(units, "HIDDEN_BY_THE_SANDBOX", ())
    monkeypatch.setenv("BASE", "/elsewhere")
    Path(environment).write_text(f'# BASE=/no\nBASE="{tmp_path}"\n')
    Path(layout.config).write_text('[[watch]]\npath = "$BASE/photos"\n')
    assert run(["service", "install", "--dry-run", photos]) == 0
    assert layout.config not in capsys.readouterr().out  # the directory is watched already


@pytest.mark.parametrize(
    "unit", ["shazimd.service", "shazimd-hooks.service", "shazimd-model.service", "shazimd-link.service"]
)
def test_every_unit_that_reads_the_config_has_its_variables(unit: str) -> None:
    """The environment file of the service comes first, one of the unit's own counts."""
    found = re.findall("^EnvironmentFile=-(.+)$", units._template("systemd", unit, PREFIX), re.MULTILINE)
    assert found[0] == paths.SYSTEM_ENVIRONMENT


def test_an_upgrade_restarts_the_link_of_a_cluster_if_it_runs(
    layout: units.Layout, photos: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last: it is a client of the daemon. A user's service has none."""
    monkeypatch.setattr(units, "HIDDEN_BY_THE_SANDBOX", ())
    monkeypatch.setattr(units, "system_layout", lambda: layout)
    monkeypatch.setattr(units, "user_layout", lambda: layout)
    last = []
    for kind in ([], ["--user"]):
        assert run(["service", "install", "--dry-run", *kind, photos]) == 0
        last.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("$ ")][-1])
    assert last == [
        "$ systemctl try-restart shazimd-link.service",
        "$ systemctl --user restart shazimd.socket shazimd.service",
    ]


@pytest.mark.parametrize("joined", [False, True], ids=["alone", "in a cluster"])
def test_uninstalling_disables_each_unit_that_it_removes(
    layout: units.Layout,
    photos: str,
    joined: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it was enabled or not: systemctl itself disables them, below another root."""
    if shutil.which("systemctl") is None:
        pytest.skip("systemctl is not installed")
    systemctl = ["systemctl", f"--root={tmp_path}/root"]
    install(layout, photos)
    link = ["shazimd-link.service"] if joined else []
    subprocess.run([*systemctl, "enable", "shazimd.socket", "shazimd.service", *link], check=True)
    monkeypatch.setattr(units, "system_layout", lambda: layout)
    assert run(["service", "uninstall", "--dry-run"]) == 0
    said = capsys.readouterr().out
    removed = re.findall(rf"^remove {layout.units}/([^/]+)$", said, re.MULTILINE)
    (disable,) = re.findall(r"^\$ systemctl disable --now (.+)$", said, re.MULTILINE)
    assert "shazimd-link.service" in removed
    assert sorted(disable.split()) == sorted(removed)
    subprocess.run([*systemctl, "disable", *disable.split()], check=True)
    assert [path for path in Path(layout.units).rglob("*") if path.is_symlink()] == []


def test_a_purge_keeps_the_journals_of_clean_ups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie in the directory of a user's store; without them the whole directory goes."""
    monkeypatch.setattr(service, "_run_steps", lambda _steps: None)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = tmp_path / "shazimd"
    monkeypatch.setattr(paths, "store_directory", lambda: str(store))
    (store / "clean").mkdir(parents=True)
    (store / "clean" / "20260102-030405.jsonl").touch()
    (store / "models").mkdir()
    (store / "data.mdb").touch()
    assert run(["service", "uninstall", "--user", "--purge", "--yes"]) == 0
    assert f"keep {store}/clean" in capsys.readouterr().out
    assert [str(path.relative_to(store)) for path in store.rglob("*")] == ["clean", "clean/20260102-030405.jsonl"]
    shutil.rmtree(store / "clean")
    assert run(["service", "uninstall", "--user", "--purge", "--yes"]) == 0
    assert not store.exists()


def test_the_end_of_the_input_is_a_no(
    photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-D at the question, which is asked on a terminal."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ours, its = pty.openpty()
    os.write(ours, b"\x04")
    with os.fdopen(its) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert run(["service", "install", "--user", photos]) == 1
    os.close(ours)
    assert capsys.readouterr().out.endswith("Continue? [y/N] \n")
    assert not (tmp_path / "config").exists()


def test_an_empty_directory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It would be taken for the working directory."""
    with pytest.raises(SystemExit, match="2"):
        run(["service", "install", "--user", "--dry-run", ""])
    assert "expected a path" in capsys.readouterr().err


def test_nobody_to_ask(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal and without --yes nothing is written."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(["service", "install", "--user", photos]) == 2
    assert "--dry-run" in capsys.readouterr().err
    assert not (tmp_path / "config").exists()
