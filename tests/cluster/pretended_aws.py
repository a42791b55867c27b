"""On a lab's launcher: a pretended AWS. `python pretended_aws.py ADDRESS PORT FOLDER`, until it is killed.

moto answers every request as AWS would. What it does not do is done here:
- each request is a line of FOLDER/requests.jsonl: who called what;
- RunInstances is refused for the instance types named in FOLDER/sold_out, as when there is no spot capacity;
- the parameter that names AWS's deep-learning image has a value.
Each change of an instance is a JSON line on stdout, which tests/cluster/cloud.py reads.
"""

import datetime
import io
import json
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.ssm.models import Parameter, ssm_backends
from werkzeug.serving import run_simple

ACCOUNT, REGION = "123456789012", "us-west-2"
IMAGE_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
_SOLD_OUT = (
    "<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code><Message>We currently do not have sufficient "
    "{} capacity.</Message></Error></Errors><RequestID>0</RequestID></Response>"
)


class Gate:
    """WSGI in front of moto: notes requests, refuses what is sold out."""

    def __init__(self, app: Callable[..., Iterable[bytes]], folder: Path) -> None:
        self._app = app
        self._folder = folder
        self._log = (folder / "requests.jsonl").open("a", buffering=1)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
        service = scope[3] if len(scope) > 3 else "?"
        form = urllib.parse.parse_qs(body.decode("latin-1")) if service not in ("s3", "?") else {}
        action = form.get("Action", [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"])[0]
        kind = form.get("InstanceType", [""])[0]
        refused = action == "RunInstances" and kind in (self._folder / "sold_out").read_text().split()
        line = {"time": time.time(), "from": environ["REMOTE_ADDR"], "service": service, "action": action}
        tokens = form.get("MetadataOptions.HttpTokens") == ["required"]
        self._log.write(json.dumps({**line, "type": kind, "refused": refused, "imdsv2": tokens}) + "\n")
        if refused:
            start_response("500 Internal Server Error", [("Content-Type", "text/xml")])
            return [_SOLD_OUT.format(kind).encode()]
        return self._app(environ, start_response)


def watch() -> None:
    """Print each change of an instance."""
    seen: dict[str, tuple[str, ...]] = {}
    while True:
        for reservation in list(ec2_backends[ACCOUNT][REGION].reservations.values()):
            for instance in list(reservation.instances):
                state = (str(instance._state.name), str(instance.private_ip), str(instance.instance_type))
                if seen.get(instance.id) != state:
                    seen[instance.id] = state
                    print(json.dumps([instance.id, *state]), flush=True)
        time.sleep(0.2)


def main(argv: list[str]) -> int:
    """Serve until killed."""
    address, port, folder = argv[0], int(argv[1]), Path(argv[2])
    (folder / "sold_out").touch()
    image = next(image.id for image in ec2_backends[ACCOUNT][REGION].describe_images())
    now = datetime.datetime.now(datetime.UTC)
    text = (image, "String", None, None, None, now, 1, "text")
    value = Parameter(ACCOUNT, IMAGE_PARAMETER, *text)  # type: ignore[abstract]
    ssm_backends[ACCOUNT][REGION]._parameters[IMAGE_PARAMETER].append(value)
    threading.Thread(target=watch, daemon=True).start()
    app = DomainDispatcherApplication(create_backend_app)
    run_simple(address, port, Gate(app, folder), threaded=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
