"""Addresses of envelopes and headers: tables of RFC 5321 and 5322, of what mail in the wild does, hostile values."""

from __future__ import annotations

from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsl.errors import ScriptError
from hsl.library import core_registry
from hsl.library.mailaddresses import MAX_TOKENS, ExtractOptions
from hsl.values import Array

LONG = 10_000_000


def builtin(name: str) -> Any:
    """The Python function behind a builtin."""
    return core_registry().entries[name].builtin.implementation


ADDRESSES: list[tuple[str | bytes, str | bytes, str | bytes]] = [
    ("user@example.com", "user", "example.com"),
    ("User.Name+tag@Example.COM", "User.Name+tag", "Example.COM"),
    ("!#$%&'*+/=?^_`{|}~-@a", "!#$%&'*+/=?^_`{|}~-", "a"),
    ('"email address"@example.org', "email address", "example.org"),
    ('"a\\"b\\\\c"@x', 'a"b\\c', "x"),
    ('"a@b"@x', "a@b", "x"),
    ('""@x', "", "x"),
    ('"abc"@x', "abc", "x"),
    ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
    ("a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"),
    ("grå@exämple.com", "grå", "exämple.com"),
    ("用户@例子.广告", "用户", "例子.广告"),
    ("a@a_b.example", "a", "a_b.example"),
    ("a@1", "a", "1"),
    ("a" * 242 + "@example.com", "a" * 242, "example.com"),
    ("a@" + "b" * 63 + ".com", "a", "b" * 63 + ".com"),
]


@pytest.mark.parametrize(("address", "localpart", "domain"), ADDRESSES)
def test_envelope_addresses(call: Any, address: str, localpart: str, domain: str) -> None:
    assert call("envelope_address_parse", address) == {b"localpart": localpart.encode(), b"domain": domain.encode()}


NOT_ADDRESSES: list[str | bytes] = [
    "", "@", "user", "user@", "@example.com", "a b@x", "a..b@x", ".a@x", "a.@x", "a@x..y", "a@.x", "a@x.", "a@-x",
    "a@x-",
    "a@x y", "a@b@c", '"a@x', 'a"b"@x', '"a"b@x', '"a\nb"@x', '"a"."b"@x', "<a@x>", "a@x>", " a@x", "a@x ", "a@x\r\n",
    "a@x\0", "\0@x", "a(c)@x", "a@[1.2.3]", "a@[1.2.3.4", "a@[IPv6:1.2.3.4]", "a@[IPv6:::1%eth0]", "a@[x]", "a@[]",
    b"\xff@x", b"a@\xffx", b"a@x\xc3", "a" * 243 + "@example.com", "a@" + "b" * 64 + ".com", "a,b@x", "a@x,b@y",
    "@y:a@x",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_ADDRESSES)
def test_what_is_no_envelope_address(call: Any, address: str | bytes) -> None:
    assert call("envelope_address_parse", address) is None


ESCAPED = [
    ("user", b"user"),
    ("a.b+c", b"a.b+c"),
    ("grå", "grå".encode()),
    ("email address", b'"email address"'),
    ("", b'""'),
    ("a..b", b'"a..b"'),
    (".a", b'".a"'),
    ('"', b'"\\""'),
    ("\\", b'"\\\\"'),
    ("a@b", b'"a@b"'),
    ("<>", b'"<>"'),
]


@pytest.mark.parametrize(("localpart", "wanted"), ESCAPED)
def test_envelope_localpart_escape(call: Any, localpart: str, wanted: bytes) -> None:
    assert call("envelope_localpart_escape", localpart) == wanted


@pytest.mark.parametrize("localpart", ["a\r\nRCPT TO:<b>", "\0", "\x7f", "\t"])
def test_a_local_part_with_control_characters(call: Any, localpart: str) -> None:
    with pytest.raises(ScriptError, match="a local part has no control characters"):
        call("envelope_localpart_escape", localpart)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=60))
def test_local_parts_come_back(localpart: str) -> None:
    address = builtin("envelope_localpart_escape")(localpart.encode()) + b"@example.com"
    found = builtin("envelope_address_parse")(address)
    assert found.get(b"localpart") == localpart.encode()
    listed = builtin("header_addresslist_extract")(address, ExtractOptions())
    assert listed.items == [address]


# ------------------------------------------------------------ headers

# The examples of RFC 5322, appendix A, and of the reference.
LISTS: list[tuple[str | bytes, list[str]]] = [
    ("", []),
    (" \r\n ", []),
    ("John Doe <jdoe@machine.example>", ["jdoe@machine.example"]),
    ('"Joe Q. Public" <john.q.public@example.com>', ["john.q.public@example.com"]),
    ("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
     ["mary@x.test", "jdoe@example.org", "one@y.test"]),
    ('<boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>', ["boss@nil.test", "sysservices@example.net"]),
    ("A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
     ["c@a.test", "joe@where.test", "jdoe@one.test"]),
    ("Undisclosed recipients:;", []),
    ("Undisclosed recipients:", []),
    ("A: a@x; b@y, B: c@z;", ["a@x", "b@y", "c@z"]),
    ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", ["pete@silly.test"]),
    ("A Group(Some people)\r\n :Chris Jones <c@(Chris's host.)public.example>,\r\n joe@example.org;",
     ["c@public.example", "joe@example.org"]),
    ("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", []),
    ("Joe Q. Public <john.q.public@example.com>", ["john.q.public@example.com"]),
    ("Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example", ["mary@example.net", "jdoe@test.example"]),
    ("<@a,@b:c@d>", ["c@d"]),
    ("John Doe <jdoe@machine(comment).  example>", ["jdoe@machine.example"]),
    ("Charlie <charlie@example.org>; James <james@example.com>", ["charlie@example.org", "james@example.com"]),
    # quotes that an address does not need
    ('"john"@x, "a"."b"@x, "a b"@x, "a\\b"@x', ["john@x", "a.b@x", '"a b"@x', "ab@x"]),
    ("a@[192.0.2.1], a@[ IPv6:::1 ]", ["a@[192.0.2.1]", "a@[IPv6:::1]"]),
    # mail in the wild
    ("a@b.example <c@d>", ["c@d"]),
    ("Doe, John <j@x>, Smith, B., Ms. <s@y>", ["j@x", "s@y"]),
    ("Re: you <a@b>", ["a@b"]),
    ("MAILER-DAEMON <>", []),
    ("<>", []),
    ("a..b.@x", ['"a..b."@x']),
    ("=?utf-8?Q?a=2C_b?= <a@b>", ["a@b"]),
    (b"\xe9\x80 \x00 <a@b>", ["a@b"]),
    ("grå@exämple.com", ["grå@exämple.com"]),
    ("O\\'Neil [x] ) <a@b>", ["a@b"]),
    ("a@x,", ["a@x"]),
    (",;, a@x", ["a@x"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "wanted"), LISTS)
def test_header_addresslist_extract(call: Any, value: str | bytes, wanted: list[str]) -> None:
    assert call("header_addresslist_extract", value) == [address.encode() for address in wanted]


NOT_LISTS: list[str | bytes] = [
    "Charlie", "a@x, Charlie", "root (Cron)", "a@x b@y", "a@x <b@y> c", "<a@x> <b@y>", "<a@x", "a@x>", "<<a@x>>",
    "a <b", "<a>",
    "a@", "@x", "<@x>", "a@x@y", "a b@x", "a@x y", "a@-x", "a@x..y", "a@x.", "a@[x", "a@[x y\0]", "a@[]", '"a@x',
    'a"@x',
    "(a@x", "a@x (b", "a@x )", "a: b: c@x;;", ":a@x", "<a@x>: b@y", "Doe, a@x", "a, b: c@x", ". @x", b"\xff@x",
    b"a@\xc3",
    "a\x00b@x", '"a\nb"@x', '"a\0b"@x', "a\\@x", "<a,b@x>", "<a:b@x>", "a@x\x7f", '"', "\\", "a@" + "b" * 64, "<a@x>.",
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_LISTS)
def test_what_is_no_list(call: Any, value: str | bytes) -> None:
    assert call("header_addresslist_extract", value) is None


FIELDS: list[tuple[str, list[bytes] | None]] = [
    ("From: a@x", [b"a@x"]),
    ("from:a@x\r\n", [b"a@x"]),
    ("X-To \t: a@x,\r\n b@y", [b"a@x", b"b@y"]),
    ("To:", []),
    ("a@x", None),
    (": a@x", None),
    ("Fr om: a@x", None),
    ("", None),
]


@pytest.mark.parametrize(("field", "wanted"), FIELDS)
def test_a_whole_field(call: Any, field: str, wanted: list[bytes] | None) -> None:
    assert call("header_addresslist_extract", field, {"field": True}) == wanted


def test_the_older_name(call: Any) -> None:
    assert call("GetAddressList", "Charlie <charlie@example.org>") == [b"charlie@example.org"]


def test_the_tokens_of_a_list(call: Any) -> None:
    assert len(call("header_addresslist_extract", "<>," * (MAX_TOKENS // 3))) == 0
    assert call("header_addresslist_extract", "<>," * (MAX_TOKENS // 3 + 1)) is None
    assert call("header_addresslist_extract", "(" * (LONG // 2) + ")" * (LONG // 2)) is None


PIECES = [b"a@b,", b"(", b"(a", b"\\", b'"', b'"a\\', b"[", b"[a]", b"<", b"<>,", b",", b":", b";", b"@", b".", b" ",
          b"a", b"a ",
          b"a.", b"\0", b"\xff", b"()", b"\r\n ", b"=?a?q?", b"x:;", b"@a,"]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_ten_megabytes_are_read_or_refused(call: Any, piece: bytes) -> None:
    value = piece * (LONG // len(piece))
    assert call("header_addresslist_extract", value) in (None, [])
    assert call("envelope_address_parse", value) is None


def test_a_header_of_ten_megabytes(call: Any) -> None:
    name, count = "n" * 1000, LONG // 1020
    value = ", ".join(f'"{name}" (c) <u{number}@example.com>' for number in range(count))
    assert len(call("header_addresslist_extract", value)) == count


@given(st.text(st.sampled_from('ab@.,;:<>()[]" \\é\0'), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = builtin("header_addresslist_extract")(text.encode(), ExtractOptions())
    if found is None:
        return
    for address in found.values():  # what comes out is an address for this and for other readers
        again = builtin("header_addresslist_extract")(address, ExtractOptions())
        assert again.items == [address]
        assert [pair[1] for pair in getaddresses([address.decode()])] == [address.decode()]


# ------------------------------------------------------------ headers, written

COMPILED: list[tuple[list[Any], bytes]] = [
    ([], b""),
    (["a@x"], b"a@x"),
    (["a@x", "b@y"], b"a@x, b@y"),
    (['"a"@x', '"a b"@x'], b'a@x, "a b"@x'),
    ([{"address": "a@x"}], b"a@x"),
    ([{"name": "", "address": "a@x"}], b"a@x"),
    ([{"name": "James", "address": "a@x"}], b"James <a@x>"),
    ([{"name": "James T Kirk", "address": "a@x"}], b"James T Kirk <a@x>"),
    ([{"name": "James T. Kirk", "address": "a@x"}], b'"James T. Kirk" <a@x>'),
    ([{"name": "Smith, James", "address": "a@x"}], b'"Smith, James" <a@x>'),
    ([{"name": 'a "b" \\c', "address": "a@x"}], b'"a \\"b\\" \\\\c" <a@x>'),
    ([{"name": " a  b ", "address": "a@x"}], b'" a  b " <a@x>'),
    ([{"name": "é, ü", "address": "a@x"}], b"=?utf-8?B?w6ksIMO8?= <a@x>"),
    ([{"name": "=?utf-8?Q?x?=", "address": "a@x"}], b"=?utf-8?B?PT91dGYtOD9RP3g/PQ==?= <a@x>"),
    ([{"name": "a\r\nBcc: b@y", "address": "a@x"}], b"=?utf-8?B?YQ0KQmNjOiBiQHk=?= <a@x>"),
    ([{"localpart": "a b", "domain": "x"}], b'"a b"@x'),
    ([{"localpart": "a", "domain": "x", "name": "N"}], b"N <a@x>"),
    ([{"name": None, "address": "a@x"}], b"a@x"),
]


@pytest.mark.parametrize(("addresses", "wanted"), COMPILED)
def test_header_addresslist_compile(call: Any, addresses: list[Any], wanted: bytes) -> None:
    assert call("header_addresslist_compile", addresses) == wanted


NOT_COMPILED: list[tuple[Any, str]] = [
    ("a", '"a"'),
    ("a@x\r\nBcc: b@y", '"a@x\r\nBcc: b@y"'),
    ("N <a@x>", '"N <a@x>"'),
    ("", '""'),
    (1, "1"),
    (None, "none"),
    ({"name": "a"}, '["name"=>"a"]'),
    ({"name": 1, "address": "a@x"}, '["name"=>1,"address"=>"a@x"]'),
    ({"localpart": "a\n", "domain": "x"}, '["localpart"=>"a\n","domain"=>"x"]'),
    ({"localpart": "a"}, '["localpart"=>"a"]'),
]


@pytest.mark.parametrize(("address", "shown"), NOT_COMPILED)
def test_what_cannot_stand_in_a_list(call: Any, address: Any, shown: str) -> None:
    with pytest.raises(ScriptError) as caught:
        call("header_addresslist_compile", ["a@x", address])
    wanted = "header_addresslist_compile(): parameter 1 (addresses): wanted email addresses, got "
    assert caught.value.message == wanted + shown


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=5))
def test_lists_come_back(names: list[str]) -> None:
    items = [Array.record({b"name": name.encode(), b"address": b"u%d@example.com" % n}) for n, name in enumerate(names)]
    header = builtin("header_addresslist_compile")(Array.of(items))
    assert not any(byte < 32 or byte > 126 for byte in header)
    found = builtin("header_addresslist_extract")(header, ExtractOptions())
    assert found.items == [b"u%d@example.com" % number for number in range(len(names))]


def test_a_name_of_ten_megabytes(call: Any) -> None:
    header = call("header_addresslist_compile", [{"name": '"' * LONG, "address": "a@x"}])
    assert len(header) == 2 * LONG + 8
    assert call("header_addresslist_extract", header) == [b"a@x"]
    with pytest.raises(ScriptError, match="string exceeds"):
        call("header_addresslist_compile", [{"name": "x" * (2 * LONG), "address": "a@x"}])
