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
    from turbospec_operator.main import run
    from turbospec_operator.settings import Settings, SettingsError

    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    run(settings)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
