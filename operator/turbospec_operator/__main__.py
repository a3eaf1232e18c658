"""``python -m turbospec_operator operator|webhook``: two processes of one image."""

import os
import sys

USAGE = "usage: python -m turbospec_operator operator|webhook"


def main(arguments: list[str]) -> int:
    """Run a subcommand; 2 for a wrong call or setting, with one line that says what is wrong."""
    if arguments == ["operator"]:
        return _operator()
    if arguments == ["webhook"]:
        # Imported here: neither process pays for, or depends on, what only the other needs.
        from turbospec_operator import webhook

        return webhook.main()
    sys.stderr.write(f"{USAGE}\n")
    return 2


def _operator() -> int:
    from turbospec_operator.cluster import NoClusterError
    from turbospec_operator.main import LeaseLostError, run
    from turbospec_operator.settings import Settings, SettingsError

    try:
        run(Settings.from_environment(os.environ))
    except (SettingsError, NoClusterError, OSError) as error:
        # No settings, no way to the API server, no port: everything later is the fleet loop's to survive.
        sys.stderr.write(f"cannot start: {' '.join(str(error).split())}\n")
        return 2
    except LeaseLostError:
        return 1  # the kubelet starts us again, with nothing left of the term that is over
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
