"""Print `ranks rank device` for each device of this machine in an hccl rank table.

python3 scripts/rank_table.py TABLE

With several machines in the table, SERVER_ID in the environment says which this is, else its addresses do.
Needs nothing but Python.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def rows_of(table: dict, addresses: list[str]) -> list[tuple[int, int, int]]:
    """Return (ranks in all, rank, device id) for the devices of the server that one of `addresses` names, by rank.

    Raises:
        KeyError, TypeError, ValueError: not a rank table.
        LookupError: no server, or several, by these addresses.
    """
    servers = table["server_list"]
    size = sum(len(server["device"]) for server in servers)
    mine = servers if len(servers) == 1 else [server for server in servers if server["server_id"] in addresses]
    if len(mine) != 1 or not size:
        names = ", ".join(server["server_id"] for server in servers)
        raise LookupError(f"this machine is none of its servers ({names}); set SERVER_ID to one of them")
    return sorted((size, int(device["rank_id"]), int(device["device_id"])) for device in mine[0]["device"])


def main() -> int:
    path = Path(sys.argv[1])
    if "SERVER_ID" in os.environ:
        addresses = [os.environ["SERVER_ID"]]
    else:
        addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    try:
        rows = rows_of(json.loads(path.read_text()), addresses)
    except (KeyError, TypeError, ValueError) as error:
        print(f"error: {path}: not a rank table in hccl's JSON format ({error!r})", file=sys.stderr)
        return 2
    except LookupError as error:
        print(f"error: {path}: {error}", file=sys.stderr)
        return 2
    for row in rows:
        print(*row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
