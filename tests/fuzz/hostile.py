"""Values, names and texts that readers have been known to trip over. Nothing here harms: what would run code imports a
module that does not exist, and the attempt is seen."""

from __future__ import annotations

import math

CANARY = "smidgen_fuzz_canary"

NUMBERS: tuple[int | float, ...] = (
    *(0, -1, 1, 2, 3, 7, 255, 256, 4096, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1),
    *(2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**12, -(10**12), 10**30, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, -0.5, 1.5, 1e-320, 1e-30, 1e30, 1e300, -1e300, 1.7976931348623157e308),
    *(math.inf, -math.inf, math.nan),
)
# Names of files that would lead out of a directory, or that file systems refuse.
NAMES = (
    *("", ".", "..", "/", "//", "\0", "a\0b", " ", "~", "~root", "-rf", "*", "?", "nul", "CON"),
    *("../../escaped", "../../../../../../etc/passwd", "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem"),
    *("..\\..\\escaped", "C:\\escaped", "a/b", "a/../../b", "file:///etc/passwd", "a" * 255, "a" * 256, "a" * 5000),
    *("x/" * 3000, "ÿ" * 200, "\u202egpj", "\n", "\r\nx", ".lock", ".partial-x", "episode.json"),
)
TEXTS = (
    *NAMES,
    f"{CANARY}:Policy",
    f"__import__('{CANARY}')",
    f"!!python/object/apply:{CANARY}.run []",
    f"{{{{ ''.__class__.__mro__ }}}}{{% import {CANARY} %}}",
    f"${{oc.env:{CANARY}}}",
    f"c{CANARY}\nPolicy\n.",
    *("${oc.env:HOME}", "${hydra:runtime.cwd}", "${x}", "${", "${..}", "???", "null", "true", "nan", "1e999", "0x10"),
    *(
        "\ud800",
        "\udfff\ud800",
        "é",
        "e\u0301",
        "😀",
        "\u2028",
        "\x1b[2J\x1b]0;x\x07",
        "\x7f",
        "\ufeff",
        "١٢٣",
        "²",
        "½",
    ),
    *("<script>alert(1)</script>", "</style>", "' onload='x", "javascript:alert(1)", "=1+1", "|`id`", "$(id)", ";id"),
    *(
        "%s%n%x",
        "{0}",
        "{x.__class__}",
        "%(x)s",
        "\\",
        '"',
        "'",
        "`",
        "|",
        "--help",
        "9" * 4301,
        "9" * 100,
        "a" * 70_000,
    ),
)
KEYS = (
    "",
    "schema_version",
    "_target_",
    "__class__",
    "__init__",
    "__proto__",
    "self",
    "\0",
    "../x",
    "a" * 300,
    "0",
    "é",
)
TARGETS = (
    "/etc/passwd",
    "/dev/zero",
    "/dev/null",
    "../../../escaped",
    "{folder}",
    "missing",
    ".",
    "/proc/self/environ",
)
# Unpickling either imports the canary.
PICKLES = (f"c{CANARY}\nPolicy\n.".encode(), b"\x80\x04\x8c\x13smidgen_fuzz_canary\x94\x8c\x06Policy\x94\x93\x94)R.")
BYTES = (
    *PICKLES,
    *(b"", b"\0", b"\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x80\x04.", b"PK\x03\x04", b"PK\x05\x06"),
    *(b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 4301, b"null", b"{}", b"[]", b'""', b'"\\ud800"', b"[" * 3000),
    *(b'{"a":' * 900, b"[" * 900 + b"]" * 900, b"\x93NUMPY\x01\x00", b"../../x", b"!!python/object:x", b"\x7fELF"),
)
