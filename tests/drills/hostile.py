"""Values made to break parsers (F-15): whole bodies, members of signed objects, fields of forms."""

from tests.attacks.test_bad_input import HOSTILE_FORMS, HOSTILE_JSON

# Keys that have one hash, as integers
COLLIDING = b"{" + b",".join(b'"%d":0' % (n * (2**61 - 1)) for n in range(8_000)) + b"}"
BODIES = {
    **HOSTILE_FORMS,
    **HOSTILE_JSON,
    "F-15 names that would collide as integers": COLLIDING,
    "F-15 the same as a form": b"&".join(b"%d=0" % (n * (2**61 - 1)) for n in range(10_000)),
    "F-15 objects 30,000 deep": b'{"a":' * 30_000,
    "F-15 a surrogate unescaped": b'{"name":"\xed\xa0\x80"}',
    "F-15 a surrogate in a name": b'{"\\udfff":1}',
    "F-15 an exponent of a million": b'{"name":1e1000000}',
}
# What may stand in a member of a signed object; what else is said there is honest.
TEXTS = {
    "2,000 deep": "[" * 2_000 + "]" * 2_000,
    "4,000 digits": "9" * 4_000,
    "the greatest integer": str(2**63 - 1),
    "the least integer": str(-(2**63)),
    "beyond every integer": str(2**63),
    "a great number": "1e308",
    "an infinite number": "1e999",
    "a lone surrogate": '"\\ud800"',
    "a NUL": '"a\\u0000b"',
    "NaN": "NaN",
    "null": "null",
    "true": "true",
    "a list": '["a",["a"]]',
    "an object": '{"a":{"a":1}}',
    "names that would collide as integers": COLLIDING[:3_000].rpartition(b",")[0].decode() + "}",
    "3,000 characters": '"' + "\N{SNOWMAN}" * 1_000 + '"',
    "markup": '"<script>\'\\"\\\\"',
}
# The same for a field of a form, percent-encoded.
VALUES = {
    "JSON 5,000 deep": b"[" * 5_000,
    "a million digits": b"9" * 60_000,
    "a lone surrogate": b"\xed\xa0\x80",
    "an escaped surrogate": b'{"id":"\\ud800","rawId":"\\ud800","type":"public-key","response":{}}',
    "NUL": b"a\x00b",
    "names that would collide as integers": COLLIDING[:60_000],
    "a number": b"-1",
    "the greatest integer": b"9223372036854775808",
    "right to left": "\u202e\ufdfa\u0000".replace("\u0000", "").encode() * 500,
}
