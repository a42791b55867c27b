"""Mistakes in the cluster file that Ray finds late or never: the real file, with one change each."""

import json
import os
import re
from pathlib import Path

import pytest

from tuner.preflight.__main__ import main

pytestmark = pytest.mark.ray


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a checkout after `make wheel`, and a home with a token."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "crystune-0.1.0-py3-none-any.whl").touch()
    (tmp_path / "dist" / "constraints.txt").touch()
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("secret")
    token.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filled(repository: Path) -> str:
    return (repository / "cluster.yaml").read_text(encoding="utf-8")


def check(
    place: Path, text: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, list[str]]]:
    """Exit status, and the findings by severity, each as one text."""
    (place / "cluster.yaml").write_text(text)
    status = main(["cluster.yaml", "--offline", "--json", *options])
    found: dict[str, list[str]] = {"error": [], "warning": [], "ok": []}
    for finding in json.loads(capsys.readouterr().out)["findings"]:
        found[finding["severity"]].append(f"{finding['where']}: {finding['what']} -> {finding['fix']}")
    return status, found


@pytest.mark.needs("bash")
def test_the_real_file_passes(place: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = check(place, filled(repository), capsys)
    assert (status, found["error"], found["warning"]) == (0, [], [])


@pytest.mark.needs("bash")
def test_the_file_for_own_machines_passes_once_its_values_are_changed(
    place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (repository / "cluster.local.yaml").read_text(encoding="utf-8")
    (place / ".ssh").mkdir()
    (place / ".ssh" / "id_ed25519").touch(0o600)
    status, found = check(place, text, capsys)
    left = [error for error in found["error"] if "must be changed" in error]
    assert status == 2
    assert left == found["error"]
    assert len(left) == 4
    changed = text.replace("192.0.2.", "10.0.0.").replace("ssh_user: CHANGE", "ssh_user: me")
    status, found = check(place, changed, capsys)
    assert (status, found["error"], found["warning"]) == (0, [], [])
    assert main(["cluster.yaml", "--offline"]) == 0
    assert capsys.readouterr().out.endswith("Next:\n  ray up cluster.yaml\n")
    (place / "cluster.yaml").write_text(changed.replace("RAY_enable_autoscaler_v2=0", ""))
    assert main(["cluster.yaml", "--offline"]) == 0
    assert capsys.readouterr().out.endswith("Next:\n  RAY_UP_enable_autoscaler_v2=0 ray up cluster.yaml\n")
    (place / "dist" / "crystune-0.1.0-py3-none-any.whl").unlink()
    assert any("needs one crystune-*.whl in dist" in error for error in check(place, changed, capsys)[1]["error"])


def test_values_left_to_change_are_named(place: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = filled(repository).replace("LaunchTemplate: {LaunchTemplateName: crystune-head}", "ImageId: ami-CHANGE")
    status, found = check(place, text, capsys)
    assert status == 2
    assert any("ImageId (line" in error and "ami-CHANGE" in error for error in found["error"])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # YAML
        (r"(?m)^max_workers: 4", "max_workers: 4\nmax_workers: 8", r"max_workers \(line \d+\): must stand once.*line"),
        (r"(?m)^provider:", "provider", r"cluster.yaml, line \d+: must be YAML"),
        # keys and types
        (r"(?m)^max_workers:", "max_worker:", r"max_worker \(line \d+\):.* did you mean 'max_workers'"),
        (r"(?m)^max_workers: 4", "max_workers: four", r"max_workers \(line \d+\): .*'four' is not of type 'integer'"),
        (r"cache_stopped_nodes", "cache_stoped_nodes", r"provider.cache_stoped_nodes.*'cache_stopped_nodes'"),
        (
            r"region: us-west-2",
            "region: us-west-2\n    availability_zones: a",
            r"provider.availability_zones .*'availability_zone'",
        ),
        (r"type: aws", "type: awz", r"provider.type .*no provider 'awz' -> did you mean 'aws'"),
        (r"ssh_user:", "ssh_username:", r"auth.ssh_username .*did you mean 'ssh_user'"),
        (r"(?m)^( +)min_workers:", r"\1minworkers:", r"available_node_types.[\w-]+.minworkers .*'min_workers'"),
        (r"GPU: 1", "GPUs: 1", r"resources.GPUs .*did you mean 'GPU'"),
        (r"(?m)^head_node_type: head", "head_node_type: haed", r"head_node_type .*did you mean 'head'"),
        (r"(?m)^( +)min_workers: 0", r"\1min_workers: 5", r"min_workers .*must be at most max_workers = 4"),
        # node_config, which Ray hands on unread
        (r"LaunchTemplate: .*", "ImageID: ami-0a2363a9cff180a64", r"node_config.ImageID .*EC2.*did you mean 'ImageId'"),
        (r"VolumeSize:", "VolumeSise:", r"BlockDeviceMappings\[0\].Ebs.VolumeSise .*did you mean 'VolumeSize'"),
        (r"VolumeSize: 100", "VolumeSize: big", r"VolumeSize .*must be a whole number, got 'big'"),
        (r"VolumeType: gp3", "VolumeType: gp33", r"VolumeType .*did you mean 'gp3'"),
        (r"HttpTokens: required", "HttpTokens: require", r"HttpTokens .*did you mean 'required'"),
        (r"MarketType: spot", "MarketType: spott", r"InstanceMarketOptions.MarketType .*did you mean 'spot'"),
        (r"InstanceType: g6.xlarge", "InstanceType: g6.xlrge", r"InstanceType .*did you mean 'g6.xlarge'"),
        (r"LaunchTemplate: .*", "ImageId: ami_0a23", r"ImageId .*must look like ami-0123"),
        (r"LaunchTemplate: .*", "SecurityGroupIds: sg-0123456789abcdef0", r"SecurityGroupIds .*must be a list"),
        (r"LaunchTemplate: .*", "", r"node_config .*lets the whole world reach port 22"),
        (r"GPU: 1", "GPU: 2", r"resources.GPU .*must be at most the 1 that g6.xlarge has, got 2"),
        (r"--num-gpus=0", "--num-gpus=1", r"resources.GPU .*must agree with --num-gpus=1"),
        # commands
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
        (r": dist\b", ": distt", r"file_mounts./home/ubuntu/crystune .*distt is none"),
        (r"(?m)^ +/home/ubuntu/.ray/auth_token: .*$", "", r"must copy the token to every node"),
    ],
)
def test_a_mistake_is_found_with_its_mend(
    old: str, new: str, expected: str, place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = filled(repository)
    broken = re.sub(old, new, text, count=1)
    assert broken != text, "the change must change something"
    status, found = check(place, broken, capsys)
    assert status == 2
    assert any(re.search(expected, error) for error in found["error"]), found["error"]
    assert len(found["error"]) <= 4, "one mistake shall not be told many times"


def test_variables_that_somebody_sets_are_no_mistake(
    place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = "for i in 1 2; do echo \"$A ${B:-none} $i '$HOME' \\$C\"; done; echo '$D'"
    command = f"    - >-\n      A=$(hostname -I | awk '{{print $1}}'); {loop}"
    text = filled(repository).replace("setup_commands:\n", f"setup_commands:\n{command}\n", 1)
    status, found = check(place, text, capsys)
    assert (status, found["error"]) == (0, [])


def test_a_missing_or_open_token_and_a_missing_wheel_are_found(
    place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = filled(repository)
    (place / ".ray" / "auth_token").chmod(0o644)
    assert any("chmod 600" in error for error in check(place, text, capsys)[1]["error"])
    (place / ".ray" / "auth_token").unlink()
    assert any("ray get-auth-token --generate" in error for error in check(place, text, capsys)[1]["error"])
    (place / "dist" / "crystune-0.2.0-py3-none-any.whl").touch()
    errors = check(place, text.replace("ls -t ", "ls "), capsys)[1]["error"]
    assert any("needs one crystune-*.whl in dist, got crystune-0." in error for error in errors)
    for wheel in (place / "dist").glob("*.whl"):
        wheel.unlink()
    assert any("needs one crystune-*.whl in dist, got none" in e for e in check(place, text, capsys)[1]["error"])


def test_a_wheel_older_than_the_code_beside_it_is_found(
    place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "tuner").mkdir()
    (place / "tuner" / "new.py").touch()
    os.utime(place / "dist" / "crystune-0.1.0-py3-none-any.whl", (1e9, 1e9))
    status, found = check(place, filled(repository), capsys)
    assert status == 0
    assert any("tuner/new.py is newer" in warning for warning in found["warning"])


def test_a_private_key_that_others_can_read_is_found(
    place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = filled(repository).replace("ssh_user: ubuntu", "ssh_user: ubuntu\n    ssh_private_key: ~/key")
    errors = check(place, text, capsys)[1]["error"]
    assert any("ssh-keygen" in error for error in errors)
    assert any("must have KeyName" in error for error in errors)
    (place / "key").touch(0o644)
    assert any("chmod 600 ~/key" in error for error in check(place, text, capsys)[1]["error"])


@pytest.mark.needs("bash")
def test_the_list_for_people_ends_with_what_to_type_next(
    place: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "cluster.yaml").write_text(filled(repository))
    assert main(["cluster.yaml", "--offline"]) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings\nNext:\n  ray up cluster.yaml\n")


def test_a_file_that_is_not_there_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.yaml", "--offline"]) == 2
    assert capsys.readouterr().err == (
        "error: the cluster file must be one such as cluster.yaml, but there is no nowhere.yaml\n"
    )
