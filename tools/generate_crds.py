"""Write the CustomResourceDefinitions of the wire models to crds/ and the chart: ``python tools/generate_crds.py``."""

import sys
from pathlib import Path

import yaml

from turbospec.wire.crd import CUSTOM_RESOURCES, GROUP, CustomResource, crd_manifest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "crds", ROOT / "charts" / "turbospec" / "files" / "crds")
HEADER = "# Written by tools/generate_crds.py out of controller/turbospec/wire; change the models, then run it again.\n"


def rendered(resource: CustomResource) -> str:
    """The YAML of one CustomResourceDefinition."""
    return HEADER + yaml.safe_dump(crd_manifest(resource), sort_keys=False, width=120, allow_unicode=True)


def file_name(resource: CustomResource) -> str:
    """The name of its file, as controller-gen would call it."""
    return f"{GROUP}_{resource.plural}.yaml"


def main() -> int:
    """Write every file that differs and name it."""
    for folder in FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
        for resource in CUSTOM_RESOURCES:
            path = folder / file_name(resource)
            text = rendered(resource)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
