"""The arguments of MAIL and RCPT: good ones, and bad ones with the reply that refuses them."""

import pytest

from hsl.mime.addresses import MAX_ADDRESS
from hsl.runtime.model import NULL_SENDER, Address
from hsl.smtpd import paths
from hsl.smtpd.paths import Refused, check_mail_parameters, parse_mail, parse_rcpt

GOOD = [
    ("TO:<a@b.example>", b"a", b"b.example"),
    ("to:<a@b.example>", b"a", b"b.example"),
    ("To:  <a@b.example>", b"a", b"b.example"),
    ("TO:<First.Last+tag@B.Example>", b"First.Last+tag", b"B.Example"),
    ("TO:<!#$%&'*+-/=?^_`{|}~@b.example>", b"!#$%&'*+-/=?^_`{|}~", b"b.example"),
    ('TO:<"a b"@b.example>', b'"a b"', b"b.example"),
    ('TO:<"a@c>d\\""@b.example>', b'"a@c>d\\""', b"b.example"),
    ("TO:<a@[192.0.2.1]>", b"a", b"[192.0.2.1]"),
    ("TO:<a@[IPv6:2001:db8::1]>", b"a", b"[IPv6:2001:db8::1]"),
    ("TO:<@x.example,@y.example:a@b.example>", b"a", b"b.example"),
    ("TO:<postmaster>", b"postmaster", b""),
    ("TO:<PostMaster>", b"PostMaster", b""),
    ("TO:<a@under_score.example>", b"a", b"under_score.example"),
    ("TO:<a:b@c.example>", None, None),
]
BAD = [
    "TO:<>", "TO:<@b.example>", "TO:<a@>", "TO:<a>", "TO:<a@b@c.example>", "TO:<a b@c.example>", "TO:<.a@b.example>",
    "TO:<a.@b.example>", "TO:<a..b@c.example>", "TO:<a@-b.example>", "TO:<a@b..example>", "TO:<a@b.example.>",
    "TO:<a@[300.0.0.1]>", "TO:<a@[IPv6:zz]>", "TO:<a@[tag:x]>", "TO:<a@[IPv6:fe80::1%lo]>", 'TO:<"a@b.example>',
    'TO:<"a"b@c.example>', "TO:<a@b.example", "TO:<a@b.example>x", "TO:<<a@b.example>>", "TO:<a\0@b.example>",
    "TO:<" + "a" * 250 + "@b.example>", "TO:<a@" + "b" * 64 + ".example>", "TO:<@x.example:>", "TO:<postmaster@>",
]  # fmt: skip


@pytest.mark.parametrize(("argument", "localpart", "domain"), GOOD)
def test_good_recipients(argument, localpart, domain):
    if localpart is None:
        with pytest.raises(Refused):
            parse_rcpt(argument)
    else:
        assert parse_rcpt(argument) == (Address(localpart, domain), {})


@pytest.mark.parametrize("argument", BAD)
def test_bad_recipients(argument):
    with pytest.raises(Refused) as caught:
        parse_rcpt(argument)
    assert caught.value.reply is paths.BAD_RECIPIENT


@pytest.mark.parametrize("argument", ["", "FROM:<a@b.example>", "a@b.example", "TO", "TO:a@b.example", "TO:"])
def test_what_is_no_path_gets_the_syntax(argument):
    with pytest.raises(Refused) as caught:
        parse_rcpt(argument)
    assert caught.value.reply is paths.RCPT_SYNTAX


@pytest.mark.parametrize("mailbox", ["\xc3\xa4@b.example", "a@b\xc3\xbc.example", '"\xff"@b.example'])
def test_other_than_ascii_needs_smtputf8(mailbox):
    for parse, keyword in ((parse_rcpt, "TO"), (parse_mail, "FROM")):
        with pytest.raises(Refused) as caught:
            parse(f"{keyword}:<{mailbox}>")
        assert str(caught.value.reply).startswith("553 5.6.7")


def test_the_longest_path_and_one_octet_more():
    mailbox = "a" * (MAX_ADDRESS - len("@b.example")) + "@b.example"
    assert parse_rcpt(f"TO:<{mailbox}>")[0].path == mailbox.encode()
    with pytest.raises(Refused):
        parse_rcpt(f"TO:<a{mailbox}>")


def test_senders():
    assert parse_mail("FROM:<>") == (NULL_SENDER, {})
    assert parse_mail("FROM:<> SIZE=1") == (NULL_SENDER, {"SIZE": "1"})
    assert parse_mail("FROM:<a@b.example> size=1 Body=8bitmime") == (
        Address(b"a", b"b.example"), {"SIZE": "1", "BODY": "8bitmime"},
    )  # fmt: skip
    for argument in ("FROM:<a>", "FROM:<postmaster>", "FROM:<a@>"):
        with pytest.raises(Refused) as caught:
            parse_mail(argument)
        assert caught.value.reply is paths.BAD_SENDER


@pytest.mark.parametrize(
    "text", ["=1", "SIZE=1 size=2", "SIZE==", "A=\x01", "é=1", " ".join(f"K{n}" for n in range(21))]
)
def test_parameters_that_are_none(text):
    with pytest.raises(Refused) as caught:
        parse_mail(f"FROM:<a@b.example> {text}")
    assert caught.value.reply is paths.BAD_PARAMETERS


@pytest.mark.parametrize(
    ("parameters", "extended", "auth", "want"),
    [
        ({}, True, False, 0),
        ({}, False, False, 0),
        ({"SIZE": "1000"}, True, False, 1000),
        ({"SIZE": "1001"}, True, False, "552 5.3.4"),
        ({"SIZE": "9" * 20}, True, False, "552 5.3.4"),
        ({"SIZE": "9" * 21}, True, False, "501 5.5.4"),
        ({"SIZE": ""}, True, False, "501 5.5.4"),
        ({"SIZE": "-1"}, True, False, "501 5.5.4"),
        ({"SIZE": "1"}, False, False, "555 5.5.4"),
        ({"BODY": "7bit"}, True, False, 0),
        ({"BODY": "8BITMIME"}, True, False, 0),
        ({"BODY": "BINARYMIME"}, True, False, "501 5.5.4"),
        ({"AUTH": "<>"}, True, True, 0),
        ({"AUTH": "a+2Bb@c.example"}, True, True, 0),
        ({"AUTH": "a+2"}, True, True, "501 5.5.4"),
        ({"AUTH": ""}, True, True, "501 5.5.4"),
        ({"AUTH": "<>"}, True, False, "555 5.5.4"),
        ({"SMTPUTF8": ""}, True, True, "555 5.5.4"),
        ({"RET": "FULL"}, True, True, "555 5.5.4"),
        ({"ENVID": "x"}, True, True, "555 5.5.4"),
    ],
)
def test_mail_parameters(parameters, extended, auth, want):
    if isinstance(want, int):
        assert check_mail_parameters(parameters, extended=extended, auth=auth, size_limit=1000) == want
    else:
        with pytest.raises(Refused) as caught:
            check_mail_parameters(parameters, extended=extended, auth=auth, size_limit=1000)
        assert str(caught.value.reply).startswith(want)
