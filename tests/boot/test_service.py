"""The service on a booted Debian: installed by its one command, used, broken, mended, rebooted, removed."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import Machine
from patience import PATIENCE_S
from PIL import Image

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(900)]  # the first run makes the tree

CTL = "/usr/local/bin/shazimctl"
PHOTOS = "/srv/photos"
CONFIG = "/etc/shazimd/config.toml"
TINY = "/opt/tiny.tflite"
INFER = b"""
import numpy as np
from ai_edge_litert.interpreter import Interpreter

model = Interpreter(model_path="/opt/model.tflite")
model.allocate_tensors()
taken = model.get_input_details()[0]
model.set_tensor(taken["index"], np.zeros(taken["shape"], taken["dtype"]))
model.invoke()
print("inferred")
"""
QUICK_WATCHDOG = b"[Service]\nWatchdogSec=10\nTimeoutAbortSec=2\n"


def picture(seed: int) -> bytes:
    """A smooth random picture, unlike those of other seeds, as PNG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def service(machine: Machine) -> Machine:
    """The machine with the service installed as the manual says, and two pictures known."""
    machine.write(CONFIG, b'[model]\nhandle = "none"\n')
    machine.write("/etc/default/shazimd", b"SHAZIMD_ARGS=--log-level debug\n")
    for seed in (1, 2):
        machine.write(f"{PHOTOS}/{seed}.png", picture(seed))
    machine.run("useradd", "--create-home", "member")
    machine.run("useradd", "--create-home", "stranger")
    machine.run("/opt/shazimd/bin/shazimctl", "service", "install", "--yes", PHOTOS)
    machine.run("usermod", "-aG", "shazimd", "member")
    machine.run(CTL, "wait", "--timeout", str(int(PATIENCE_S)))
    return machine


def ask(machine: Machine, *words: str, user: str = "member") -> tuple[int, str]:
    """What shazimctl says to a user, and its exit status."""
    done = machine.call("runuser", "-u", user, "--", CTL, *words)
    return done.returncode, done.stdout.decode()


def alerts(machine: Machine, path: str) -> list[dict[str, Any]]:
    """The journal's entries of alerts about a path."""
    entries = machine.journal("shazimd.service")
    return [e for e in entries if e.get("json", {}).get("event") == "near_duplicate" and e["json"]["path"] == path]


def wait_for_restart(machine: Machine, old_pid: str) -> None:
    machine.wait(lambda: machine.show("shazimd.service", "MainPID") not in ("0", old_pid))
    machine.wait(lambda: ask(machine, "wait", "--timeout", "20")[0] == 0)


def test_it_is_up_and_says_how_it_is(service: Machine) -> None:
    """After installing it runs as its own user, with its status in systemctl."""
    assert service.show("shazimd.service", "ActiveState") == "active"
    assert service.run("ps", "-o", "user=", "-p", service.show("shazimd.service", "MainPID")).strip() == "shazimd"
    shown = 'Status: "ready: 2 images in 1 directory"'
    service.wait(lambda: shown in service.run("systemctl", "status", "shazimd"))


def test_units_are_sound(service: Machine) -> None:
    """systemd has nothing to say against any unit, manuals included."""
    for unit in ("shazimd.service", "shazimd.socket", "shazimd-hooks.service", "shazimd-model.service"):
        assert service.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}") == ""


def test_exposure_is_small(service: Machine) -> None:
    """systemd-analyze security rates the running daemon 0.4 or better (in tenths)."""
    service.run("systemd-analyze", "security", "--threshold=4", "shazimd.service")


def test_an_alert_is_in_the_journal_with_its_priority(service: Machine) -> None:
    """A copy that lands is told at warning (4), in words, and with fields of its own."""
    service.run("cp", f"{PHOTOS}/1.png", f"{PHOTOS}/copy.png")
    service.wait(lambda: alerts(service, f"{PHOTOS}/copy.png"))
    (entry,) = alerts(service, f"{PHOTOS}/copy.png")
    assert entry["PRIORITY"] == "4"
    assert entry["MESSAGE"] == f"{PHOTOS}/copy.png: same picture as {PHOTOS}/1.png (100%)"
    assert entry["MESSAGE"] in service.run("journalctl", "-u", "shazimd", "-p", "warning", "-o", "cat")
    fields = ["SHAZIMD_EVENT=near_duplicate", "SHAZIMD_VERDICT=exact", f"SHAZIMD_MATCH={PHOTOS}/1.png"]
    assert service.run("journalctl", "-o", "cat", "--output-fields=SHAZIMD_PATH", *fields) == f"{PHOTOS}/copy.png\n"
    assert (entry["json"]["match"], entry["json"]["verdict"]) == (f"{PHOTOS}/1.png", "exact")


def test_no_name_can_forge_an_entry(service: Machine) -> None:
    """A file's name with a newline and a priority in it makes one entry, of ours."""
    forged = f'{PHOTOS}/x\n<0>{{"event":"forged"}}.png'
    service.run("cp", f"{PHOTOS}/1.png", forged)
    service.wait(lambda: alerts(service, forged))
    assert [e["PRIORITY"] for e in service.journal() if e.get("json", {}).get("event") == "forged"] == []
    assert not any(e["PRIORITY"] == "0" for e in service.journal())


def test_members_may_ask_and_strangers_may_not(service: Machine) -> None:
    """A member of the group gets the answer; anyone else is told who may, with exit status 3."""
    service.write("/home/member/q.png", picture(2))
    assert ask(service, "find", "/home/member/q.png") == (0, f"Found 1 image(s)\n{PHOTOS}/2.png at 100% exact\n")
    status, said = ask(service, "status", user="stranger")
    assert status == 3
    assert "members of the group shazimd may connect" in said


def test_a_question_starts_it(service: Machine) -> None:
    """When it is stopped, the socket starts it for whoever asks."""
    service.run("systemctl", "stop", "shazimd.service")
    assert service.show("shazimd.service", "ActiveState") == "inactive"
    assert ask(service, "status")[0] == 0
    service.wait(lambda: service.show("shazimd.service", "ActiveState") == "active")  # it answers before it says so


def test_it_comes_back_after_a_kill(service: Machine) -> None:
    """kill -9 costs a second, no picture and no question."""
    pid = service.show("shazimd.service", "MainPID")
    service.run("kill", "-9", pid)
    wait_for_restart(service, pid)
    assert ask(service, "find", "/home/member/q.png")[0] == 0


def test_the_watchdog_ends_a_hang(service: Machine) -> None:
    """A daemon that stands still is ended and started anew."""
    service.write("/etc/systemd/system/shazimd.service.d/quick.conf", QUICK_WATCHDOG)
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "restart", "shazimd.service")
    pid = service.show("shazimd.service", "MainPID")
    service.run("kill", "-STOP", pid)
    wait_for_restart(service, pid)
    assert any("atchdog" in str(e["MESSAGE"]) for e in service.journal())


def test_the_watchdog_is_answered_while_idle(service: Machine) -> None:
    """It asks, and no restart comes of it: the time stamp of the last answer moves on."""
    pid, first = (service.show("shazimd.service", key) for key in ("MainPID", "WatchdogTimestampMonotonic"))
    service.wait(lambda: service.show("shazimd.service", "WatchdogTimestampMonotonic") != first)
    assert service.show("shazimd.service", "MainPID") == pid
    service.run("rm", "/etc/systemd/system/shazimd.service.d/quick.conf")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "restart", "shazimd.service")
    assert service.show("shazimd.service", "WatchdogUSec") == "30s"


def in_the_daemons_place(machine: Machine, *command: str) -> list[str]:
    """What a program says that runs under the daemon's unit instead of the daemon."""
    unit = machine.run("cat", "/etc/systemd/system/shazimd.service").splitlines()
    replaced = ("ExecStart=", "ExecReload=", "Type=", "Wants=", "Restart", "Watchdog")
    kept = [line for line in unit if not line.startswith(replaced)]
    at = kept.index("[Service]") + 1
    words = ["Type=oneshot", f"ExecStart={' '.join(command)}"]
    machine.write("/etc/systemd/system/probe.service", "\n".join([*kept[:at], *words, *kept[at:]]).encode())
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "probe.service")
    return machine.journalctl("-b", "-u", "probe.service", "-o", "cat").splitlines()


def test_each_rule_of_the_sandbox_holds(service: Machine) -> None:
    """A program in the daemon's place is stopped at every way out."""
    service.write("/usr/local/lib/probe.py", (Path(__file__).parent / "probe.py").read_bytes())
    service.write("/home/member/secret", b"secret")
    service.run("chmod", "755", "/home/member")
    said = in_the_daemons_place(service, "/usr/bin/python3", "/usr/local/lib/probe.py", PHOTOS)
    (told,) = [json.loads(line) for line in said if line.startswith("{")]
    assert told.pop("can read the photos") is True
    assert told.pop("can write the store") is True
    assert {what for what, could in told.items() if could} == set(), json.dumps(told, indent=1)
    assert len(told) > 15


@pytest.mark.parametrize("run", ["unit", "by hand"])
def test_a_worker_that_was_taken_over_is_stopped_at_every_way_out(service: Machine, run: str) -> None:
    """With no layer missing: under the unit the service's empty network stands for a namespace of its own."""
    workers = Path(__file__).parents[1] / "workers"
    service.write("/opt/probe/break_out.py", (workers / "break_out.py").read_bytes())
    service.write("/opt/probe/sitecustomize.py", b"import break_out\n")
    service.write("/opt/probe/worker_probe.py", (Path(__file__).parent / "worker_probe.py").read_bytes())
    program = ["/opt/shazimd/bin/python", "/opt/probe/worker_probe.py", PHOTOS]
    if run == "unit":
        said = in_the_daemons_place(service, *program)
    else:
        me = ["runuser", "-u", "member", "--", "env", "STATE_DIRECTORY=/home/member"]
        said = service.run(*me, *program).splitlines()
    told = [json.loads(line) for line in said if line.startswith("{")][-1]  # the journal has former probes too
    assert [way for way, worked in told["ways"].items() if worked] == []
    assert len(told["ways"]) > 70
    assert (told["calls"], told["missing"], told["secret"]) == ([], [], "secret!!")


def test_a_model_runs_in_the_sandbox(service: Machine, shared: Path) -> None:
    """LiteRT needs none of what the unit takes away, such as memory to write and execute."""
    (flatbuffer,) = (shared / "models").glob("*_ptq.tflite")
    service.write("/opt/model.tflite", flatbuffer.read_bytes())
    service.write("/opt/infer.py", INFER)
    assert "inferred" in in_the_daemons_place(service, "/opt/shazimd/bin/python", "/opt/infer.py")


def test_a_reload_that_fails_says_why_and_changes_nothing(service: Machine) -> None:
    """`systemctl reload` reports a broken config; the daemon goes on with the settings from before."""
    sound = service.run("cat", CONFIG)
    service.write(CONFIG, b"broken")
    assert service.call("systemctl", "reload", "shazimd.service").returncode != 0
    assert any("not a TOML file" in str(e["MESSAGE"]) for e in service.journal())
    assert ask(service, "find", "/home/member/q.png")[0] == 0
    service.write(CONFIG, sound.encode())
    service.run("systemctl", "reload", "shazimd.service")


def test_a_wrong_config_at_start_is_told_to_whoever_asks(service: Machine) -> None:
    """The unit waits for a person: each question gets the reason, however many, and mending the config is enough."""
    sound = service.run("cat", CONFIG)
    service.write(CONFIG, b"broken")
    service.call("systemctl", "restart", "shazimd.service")
    for _ in range(8):
        status, said = ask(service, "status")
        assert (status, "not a TOML file" in said) == (5, True), said
    service.wait(lambda: service.show("shazimd.service", "ExecMainStatus") == "2")
    service.write(CONFIG, sound.encode())
    assert ask(service, "find", "/home/member/q.png")[0] == 0


def test_a_full_disk_at_start_is_waited_for(service: Machine) -> None:
    """The unit says so and starts when there is room, without a person."""
    service.run("systemctl", "stop", "shazimd.service", "shazimd.socket")
    service.run("mv", "/var/lib/shazimd", "/var/lib/aside")
    service.run("install", "-d", "-o", "shazimd", "-g", "shazimd", "-m", "700", "/var/lib/shazimd")
    service.run("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", "/var/lib/shazimd")
    service.run("systemctl", "start", "shazimd.socket")
    service.run("systemctl", "start", "--no-block", "shazimd.service")
    service.wait(lambda: "waiting to start" in service.show("shazimd.service", "StatusText"))
    assert service.show("shazimd.service", "ActiveState") == "activating"
    service.run("mount", "-o", "remount,size=64m", "/var/lib/shazimd")
    service.wait(lambda: service.show("shazimd.service", "ActiveState") == "active")
    service.run("systemctl", "stop", "shazimd.service", "shazimd.socket")
    service.run("umount", "/var/lib/shazimd")
    service.run("rmdir", "/var/lib/shazimd")
    service.run("mv", "/var/lib/aside", "/var/lib/shazimd")
    service.run("systemctl", "start", "shazimd.socket", "shazimd.service")
    assert ask(service, "find", "/home/member/q.png")[0] == 0


def test_members_may_not_change_and_admins_may(service: Machine) -> None:
    """The kernel names the user through the sandbox: a member is refused with exit status 3, a named admin is not."""
    status, said = ask(service, "store", "compact")
    assert (status, "may only ask" in said) == (3, True)
    sound = service.run("cat", CONFIG)
    service.write(CONFIG, f'{sound}\n[server]\nadmins = ["member"]\n'.encode())
    service.run("systemctl", "restart", "shazimd.service")
    assert ask(service, "store", "compact")[0] == 0
    service.write(CONFIG, sound.encode())
    service.run("systemctl", "restart", "shazimd.service")


def doctor(machine: Machine) -> str:
    return machine.run(CTL, "doctor", check=False)


def test_a_service_that_fails_often_comes_back_by_itself(service: Machine) -> None:
    """No number of failures makes it stay dead until a person resets it."""

    def runs_anew(pid: str) -> bool:
        return service.show("shazimd.service", "MainPID") not in ("0", pid)

    for _ in range(6):  # systemd's own limit is 5 starts in 10 s
        pid = service.show("shazimd.service", "MainPID")
        service.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "shazimd.service")
        service.wait(partial(runs_anew, pid))
    wait_for_restart(service, "0")
    assert "\nproblem" not in doctor(service)


def test_a_service_that_failed_starts_as_the_doctor_advises(service: Machine) -> None:
    """The commands in its advice show the cause and start the service again."""
    sound = service.run("cat", CONFIG)
    service.write(CONFIG, b"broken")
    service.call("systemctl", "restart", "shazimd.service")
    service.wait(lambda: service.show("shazimd.service", "ActiveState") == "failed")
    service.write(CONFIG, sound.encode())
    found = doctor(service)
    assert "problem  shazimd.service: failed, with the result exit-code" in found
    advice = "\n".join(line for line in found.splitlines() if line.startswith("   "))
    for command in re.findall("`([^`]+)`", advice):
        service.run("sh", "-c", command)
    service.wait(lambda: service.show("shazimd.service", "ActiveState") == "active")
    assert "\nproblem" not in doctor(service)


def test_a_broken_override_is_named(service: Machine) -> None:
    """The doctor says which drop-in and what is wrong in it; an upgrade over it fails with systemd's words, and works
    once it is gone."""
    drop_in = "/etc/systemd/system/shazimd.service.d/override.conf"
    service.write(drop_in, b"[Service]\nExecStart=\nExecStart=not/absolute\n")
    service.run("systemctl", "daemon-reload")
    assert f"{drop_in}:3:" in doctor(service)
    install = service.call(CTL, "service", "install", "--yes")
    assert install.returncode == 5
    assert b"systemctl restart shazimd.socket shazimd.service failed with exit status" in install.stdout
    service.run("rm", drop_in)
    service.run(CTL, "service", "install", "--yes")
    assert ask(service, "find", "/home/member/q.png")[0] == 0


def test_a_missing_group_is_named_and_made_again(service: Machine) -> None:
    """Without its group the socket can't be opened: the doctor says so, and installing makes it."""
    service.run("groupdel", "-f", "shazimd")
    service.run("systemctl", "stop", "shazimd.service", "shazimd.socket")
    assert service.call("systemctl", "start", "shazimd.socket").returncode != 0
    assert "problem  group shazimd: not found" in doctor(service)
    service.run(CTL, "service", "install", "--yes")
    service.run("usermod", "-aG", "shazimd", "member")
    assert ask(service, "find", "/home/member/q.png")[0] == 0


def test_a_root_that_may_not_be_read_is_named_and_forgets_nothing(service: Machine) -> None:
    """The doctor says what to do; what is known stays known, and what landed meanwhile is told once it can be read."""
    before = json.loads(ask(service, "status", "--json")[1])["images"]
    service.run("chmod", "700", PHOTOS)
    service.run("cp", f"{PHOTOS}/1.png", f"{PHOTOS}/meanwhile.png")
    service.run("systemctl", "restart", "shazimd.service")
    assert f"problem  directory {PHOTOS}: user shazimd may not read it" in doctor(service)
    service.call(CTL, "rescan")
    assert json.loads(ask(service, "status", "--json")[1])["images"] == before
    service.run("chmod", "755", PHOTOS)
    service.run(CTL, "rescan")
    service.wait(lambda: alerts(service, f"{PHOTOS}/meanwhile.png"))


def test_a_directory_in_a_home_is_opened_read_only(service: Machine) -> None:
    """Installing with a further directory adds it to the config and to the sandbox, and nothing beside it."""
    folder = "/home/member/My pictures: 100%"
    service.write(f"{folder}/1.png", picture(11))
    service.run("chmod", "-R", "go+rX", "/home/member")
    service.run(CTL, "service", "install", "--yes", folder)
    service.run(CTL, "wait", "--timeout", str(int(PATIENCE_S)))
    service.run("cp", f"{folder}/1.png", f"{folder}/2.png")
    service.wait(lambda: alerts(service, f"{folder}/2.png"))
    mounts = service.run("cat", f"/proc/{service.show('shazimd.service', 'MainPID')}/mountinfo")
    (mine,) = [line.split() for line in mounts.splitlines() if "/home/member" in line.split()[4]]
    assert mine[4].replace("\\040", " ") == folder
    assert "ro" in mine[5].split(",")


def test_a_hook_runs_without_the_daemons_rights(service: Machine) -> None:
    """An alert reaches the hook's command, which runs as another user than the daemon."""
    command = ["/bin/sh", "-c", "id -u > $STATE_DIRECTORY/who; cat >> $STATE_DIRECTORY/told"]
    hook = f'\n[[hook]]\nname = "log"\ncommand = {json.dumps(command)}\n'
    service.write(CONFIG, (service.run("cat", CONFIG) + hook).encode())
    service.run(CTL, "service", "install", "--yes")
    state = "/var/lib/private/shazimd-hooks"
    service.wait(lambda: service.call("test", "-e", f"{state}/log.position").returncode == 0)
    service.run("cp", f"{PHOTOS}/2.png", f"{PHOTOS}/hooked.png")
    service.wait(lambda: "hooked.png" in service.run("cat", f"{state}/told", check=False))
    assert service.run("cat", f"{state}/who") not in ("0\n", service.run("id", "-u", "shazimd"))


def test_nothing_is_decoded_again_after_a_reboot(service: Machine) -> None:
    """The next boot knows every picture without a look inside, and tells of what lands then."""
    service.reboot()
    service.wait(lambda: ask(service, "wait", "--timeout", "20")[0] == 0)
    events = [e["json"]["event"] for e in service.journal() if "json" in e]
    assert "started" in events
    assert "image_indexed" not in events
    service.run("cp", f"{PHOTOS}/2.png", f"{PHOTOS}/late.png")
    service.wait(lambda: alerts(service, f"{PHOTOS}/late.png"))


def test_a_person_has_a_service_of_their_own(service: Machine) -> None:
    """Without root: installed, asked, told of a copy, uninstalled; the machine's service is another."""
    pictures = "/home/stranger/Pictures"
    service.write(f"{pictures}/1.png", picture(21))
    service.write("/home/stranger/.config/shazimd/config.toml", b'[model]\nhandle = "none"\n')
    service.run("chown", "-R", "stranger:", "/home/stranger")
    service.run("loginctl", "enable-linger", "stranger")
    runtime = f"XDG_RUNTIME_DIR=/run/user/{service.run('id', '-u', 'stranger').strip()}"
    me = ["runuser", "-u", "stranger", "--", "env", "HOME=/home/stranger", runtime]
    service.wait(lambda: service.call(*me, "systemctl", "--user", "is-system-running", "--wait").returncode == 0)
    service.run(*me, CTL, "service", "install", "--user", "--yes", pictures)
    service.run(*me, CTL, "wait", "--timeout", str(int(PATIENCE_S)))
    service.run(*me, "cp", f"{pictures}/1.png", f"{pictures}/2.png")
    service.wait(lambda: pictures in service.run(*me, CTL, "alerts", check=False))
    assert "in 1 directory" in service.run(*me, "systemctl", "--user", "show", "-P", "StatusText", "shazimd")
    assert alerts(service, f"{pictures}/2.png") == []
    service.run(*me, CTL, "service", "uninstall", "--user", "--yes", "--purge")
    assert service.run("find", "/home/stranger", "-name", "*shazim*") == ""


def test_the_model_comes_by_the_unit_that_may_fetch_it(service: Machine) -> None:
    """A model that the config names is installed by its own unit, and the daemon uses it."""
    service.write(TINY, (Path(__file__).parents[1] / "models/data/tiny_float32.tflite").read_bytes())
    named = service.run("cat", CONFIG).replace('handle = "none"', f'handle = "{TINY}"')
    service.write(CONFIG, named.encode())
    service.run(CTL, "service", "install", "--yes")
    told = f" from {TINY}"
    service.wait(lambda: any(str(e["MESSAGE"]).endswith(told) for e in service.journal("shazimd-model.service")))
    service.wait(lambda: json.loads(ask(service, "status", "--json")[1])["model"]["state"] == "installed")
    assert json.loads(ask(service, "status", "--json")[1])["model"]["handle"] == TINY
    (staged,) = service.run("find", "/var/lib/shazimd-model", "-name", "model.tflite").split()
    assert service.run("stat", "-c", "%U", staged) == "shazimd-model\n"


def test_uninstalling_keeps_the_store(service: Machine) -> None:
    """The units go, config and store stay; a new installation knows all that was known."""
    before = json.loads(ask(service, "status", "--json")[1])["images"]
    service.run(CTL, "service", "uninstall", "--yes")
    assert service.call("systemctl", "cat", "shazimd.service").returncode != 0
    assert service.call("test", "-e", CTL).returncode != 0
    service.run("/opt/shazimd/bin/shazimctl", "service", "install", "--yes")
    service.run(CTL, "wait", "--timeout", str(int(PATIENCE_S)))
    assert json.loads(ask(service, "status", "--json")[1])["images"] == before


def test_purging_leaves_nothing(service: Machine) -> None:
    """With --purge the config and the store go too."""
    service.run(CTL, "service", "uninstall", "--yes", "--purge")
    assert service.run("find", "/etc", "/var/lib", "/usr/local", "/run", "-xdev", "-name", "*shazim*") == ""
