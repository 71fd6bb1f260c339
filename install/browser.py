"""Install Debian's Chromium for the tests of the page, where that can be done; leave with 0 either way.

`make unit` calls it, `make demo` does not need it. Without a browser the tests that want one are skipped and say so.
Ubuntu's package of that name is a stub that asks for snap, so that nothing is installed there.
"""

import os
import shutil
import sys
from pathlib import Path

from system_packages import install_packages

BROWSER = "/usr/bin/chromium"
PACKAGES = ["chromium", "fonts-dejavu-core"]


def is_debian(os_release: str) -> bool:
    """Whether ``/etc/os-release`` says Debian."""
    return "ID=debian" in os_release.splitlines()


def main() -> None:
    """Install the browser, or say in one line why not."""
    release = Path("/etc/os-release")
    if os.access(BROWSER, os.X_OK):
        return
    if not (release.exists() and is_debian(release.read_text(encoding="utf-8")) and shutil.which("apt-get")):
        reason = "this is not Debian"
    elif os.geteuid() != 0:
        reason = f"that needs root (sudo apt-get install --yes {' '.join(PACKAGES)})"
    else:
        try:
            install_packages(PACKAGES)
            return
        except SystemExit as error:
            reason = str(error).splitlines()[0]
    print(f"The tests of the page in a browser will be skipped: no {BROWSER}, and {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
