"""``python -m graphdb.info STORE``: what is in a store, and whether it is sound."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphdb.command import Parser, count, invocation, load, run
from graphdb.files import is_held, partial_path, skipped_path

if TYPE_CHECKING:  # NumPy, LMDB
    from graphdb.store import Store


def describe(store: "Store") -> dict[str, Any]:
    """What is in a store, as values for JSON: counts, sizes, graph settings, properties, fingerprints."""
    num_atoms, num_nodes, num_edges = (int(total) for total in store.sizes.sum(axis=0, dtype="int64"))
    size_bytes = store.path.stat().st_size
    return {
        "path": str(store.path),
        "num_crystals": len(store),
        "num_atoms": num_atoms,
        "num_nodes": num_nodes,
        "num_edges": num_edges,
        "size_bytes": size_bytes,
        "bytes_per_atom": round(size_bytes / max(1, num_atoms), 1),
        "settings": store.settings.as_dict(),
        "properties": {
            name: {
                "unit": entry.unit,
                "count": entry.count,
                "minimum": _finite(entry.minimum),
                "maximum": _finite(entry.maximum),
                "mean": _finite(entry.mean),
            }
            for name, entry in store.properties.items()
        },
        "num_skipped": store.num_skipped,
        "num_noted": store.num_noted,
        "fingerprint": store.fingerprint,
        "graphs_fingerprint": store.graphs_fingerprint,
        "created_by": store.created_by,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print(found: dict[str, Any], verified: bool) -> None:
    settings = ", ".join(f"{name}={value}" for name, value in found["settings"].items())
    print(f"{found['path']}: {count(found['num_crystals'], 'crystal')}, {count(found['num_atoms'], 'atom')}")
    print(f"  graphs:      {count(found['num_nodes'], 'node')}, {count(found['num_edges'], 'edge')} ({settings})")
    print(f"  size:        {found['size_bytes'] / 1e6:.1f} MB, {found['bytes_per_atom']:.0f} bytes an atom")
    print(f"  fingerprint: {found['fingerprint']}")
    print(f"  built by:    {', '.join(f'{name} {version}' for name, version in found['created_by'].items())}")
    print(f"  health:      {'every byte verified' if verified else 'opens; --verify checks every byte'}")
    if found["properties"]:
        width = max(len(name) for name in found["properties"])
        print("  properties:")
        for name, entry in found["properties"].items():
            numbers = "nothing known"
            if entry["count"]:
                span = f"{entry['minimum']:.4g} to {entry['maximum']:.4g}, mean {entry['mean']:.4g}"
                numbers = f"{entry['count']:>9,} known, {span}"
            print(f"    {name:<{width}}  {entry['unit'] or '(no unit)':<9} {numbers}")
    else:
        print(f"  properties:  none; add some with {invocation('graphdb.build')} SOURCE STORE --targets CSV")
    for label, key in (("skipped: ", "num_skipped"), ("noted:   ", "num_noted")):
        if found[key]:
            counts = ", ".join(f"{num:,} {reason}" for reason, num in found[key].items())
            print(f"  {label}    {counts}; see {skipped_path(Path(found['path']))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = Parser(
        "graphdb.info",
        "Tell what is in a store of graphs, and whether it is sound.",
        examples=["my.lmdb", "my.lmdb --verify", "my.lmdb --json | jq .properties"],
    )
    parser.add_argument(
        "store", metavar="STORE", type=Path, help=f"a finished build's file; see {invocation('graphdb.build')} --help"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--verify", action="store_true", help="read every byte and check it")
    return run(parser, _info, argv)


def _info(arguments: argparse.Namespace) -> int:
    load("numpy")
    from graphdb.store import Store

    with Store(arguments.store) as store:
        if arguments.verify:
            store.verify()
        found = describe(store)
    found["verified"] = bool(arguments.verify)
    found["build_in_progress"] = partial_path(arguments.store).exists()
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found, arguments.verify)
        if found["build_in_progress"]:
            if is_held(partial_path(arguments.store)):
                print("  note:        a later build of this store is running")
            else:
                print("  note:        a later build of this store was interrupted; run it again to finish it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
