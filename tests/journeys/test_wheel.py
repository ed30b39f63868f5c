"""The wheel, installed outside the checkout, carries everything it needs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.service import ROOT, complete


def test_the_wheel_plays_the_demo(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "environment"
    venv.create(site, with_pip=True)
    python = str(site / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True)
    # The dependencies are borrowed from here; an editable install is not seen by this way.
    elsewhere = complete({"PYTHONPATH": sysconfig.get_path("purelib")})
    # The script of gunicorn beside ours runs by this Python, and so with the code of the wheel.
    gunicorn = site / "bin" / "gunicorn"
    gunicorn.write_text(f"#!{python}\nfrom gunicorn.app.wsgiapp import run\nrun()\n")
    gunicorn.chmod(0o755)
    where = [python, "-c", "import mailer; print(mailer.__file__)"]
    found = subprocess.run(where, env=elsewhere, cwd="/", capture_output=True, check=True)
    assert found.stdout.decode().startswith(str(site))
    played = subprocess.run(
        [site / "bin" / "mailer", "demo", "--once"],
        env=elsewhere,
        cwd="/",
        capture_output=True,
        check=False,
    )
    assert played.returncode == 0, played.stdout.decode() + played.stderr.decode()
