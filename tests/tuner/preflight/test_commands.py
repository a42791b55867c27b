"""Mistakes in the commands, which a node finds when it starts."""

import pytest

from tests.tuner.preflight.stand_ins import Check, CheckMistake

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (r"\$RAY_HEAD_IP:", "$RAY_HAED_IP:", r"worker_start_ray_commands\[1\] .*\$RAY_HAED_IP.*'RAY_HEAD_IP'"),
        (r"\$RAY_HEAD_IP:", "${RAY_HEADIP}:", r"worker_start_ray_commands\[1\] .*\$RAY_HEADIP.*'RAY_HEAD_IP'"),
        (r"start --head ", "start --head --node-ip-address=$RAY_HEAD_IP ", r"RAY_HEAD_IP is set for workers only"),
        (r"/home/ubuntu/venv/bin/ray start --a", "ray start --a", r"must name ray by its absolute path.*/venv/bin/ray"),
        pytest.param(
            r'"\$\(ls -t',
            "$(ls -t",
            r"setup_commands\[\d\] .*must be a command of bash, but .*(EOF|matching)",
            marks=pytest.mark.needs("bash"),
        ),
        (r"--num-cpus=0", "--num-cpu=0", r"no option --num-cpu -> did you mean '--num-cpus'"),
        (r"--address=\$RAY_HEAD_IP:6379", "--address=$RAY_HEAD_IP:6380", r"must have the port of the head, 6379"),
        (r" --address=\$RAY_HEAD_IP:6379", "", r"must name the head"),
        (r" --autoscaling-config=\S+", "", r"must have --autoscaling-config"),
        (r"RAY_AUTH_MODE=token (RAY_.* start --head)", r"\1", r"head_start_ray_commands\[1\] .*CVE-2023-48022"),
        (r"start --head ", "start --head --dashboard-host=0.0.0.0 ", r"must not open the dashboard"),
    ],
)
def test_a_mistake_is_found_with_its_fix(old: str, new: str, expected: str, check_mistake: CheckMistake) -> None:
    check_mistake(old, new, expected)


def test_variables_that_somebody_sets_are_no_mistake(check: Check, real: str) -> None:
    loop = "for i in 1 2; do echo \"$A ${B:-none} $i '$HOME' \\$C\"; done; echo '$D'"
    command = f"    - >-\n      A=$(hostname -I | awk '{{print $1}}'); {loop}"
    status, found = check(real.replace("setup_commands:\n", f"setup_commands:\n{command}\n", 1))
    assert (status, found["error"]) == (0, [])
