"""The arguments of MAIL and RCPT: good ones, and bad ones with the reply that refuses them."""

import pytest

from hsl.mime.addresses import MAX_ADDRESS
from hsl.runtime.model import NULL_SENDER, Address
from hsl.smtpd import paths
from hsl.smtpd.paths import (
    MAIL_PARAMETERS,
    Refused,
    check_mail_parameters,
    check_rcpt_parameters,
    parse_chunk,
    parse_mail,
    parse_rcpt,
)

ANNOUNCED = frozenset({"SIZE", "8BITMIME", "AUTH", "SMTPUTF8", "DSN", "CHUNKING"})

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
    ("parameters", "want"),
    [
        ({}, 0),
        ({"SIZE": "1000"}, 1000),
        ({"SIZE": "1001"}, "552 5.3.4"),
        ({"SIZE": "9" * 20}, "552 5.3.4"),
        ({"SIZE": "9" * 21}, "501 5.5.4"),
        ({"SIZE": ""}, "501 5.5.4"),
        ({"SIZE": "-1"}, "501 5.5.4"),
        ({"SIZE": "1e3"}, "501 5.5.4"),
        ({"SIZE": "\u0663"}, "501 5.5.4"),
        ({"BODY": "7bit"}, 0),
        ({"BODY": "8BITMIME"}, 0),
        ({"BODY": "BINARYMIME"}, "501 5.5.4"),
        ({"BODY": ""}, "501 5.5.4"),
        ({"AUTH": "<>"}, 0),
        ({"AUTH": "a+2Bb@c.example"}, 0),
        ({"AUTH": "a+2"}, "501 5.5.4"),
        ({"AUTH": "a+2b"}, "501 5.5.4"),
        ({"AUTH": ""}, "501 5.5.4"),
        ({"SMTPUTF8": ""}, 0),
        ({"SMTPUTF8": "yes"}, "501 5.5.4"),
        ({"RET": "full"}, 0),
        ({"RET": "HDRS"}, 0),
        ({"RET": "ALL"}, "501 5.5.4"),
        ({"RET": ""}, "501 5.5.4"),
        ({"ENVID": "x" * 100}, 0),
        ({"ENVID": "+20" * 100}, 0),
        ({"ENVID": "x" * 101}, "501 5.5.4"),
        ({"ENVID": ""}, "501 5.5.4"),
        ({"ENVID": "a+2"}, "501 5.5.4"),
        ({"ENVID": "a+0D+0Ab"}, "501 5.5.4"),
        ({"ENVID": "\u00fc"}, "501 5.5.4"),
        ({"NOTIFY": "NEVER"}, "555 5.5.4"),
        ({"ORCPT": "rfc822;a@b.example"}, "555 5.5.4"),
        ({"XFOO": "x"}, "555 5.5.4"),
        ({"SIZE": "1", "XFOO": ""}, "555 5.5.4"),
    ],
)
def test_mail_parameters(parameters, want):
    if isinstance(want, int):
        assert check_mail_parameters(parameters, announced=ANNOUNCED, size_limit=1000) == want
    else:
        with pytest.raises(Refused) as caught:
            check_mail_parameters(parameters, announced=ANNOUNCED, size_limit=1000)
        assert str(caught.value.reply).startswith(want)


@pytest.mark.parametrize("parameter", ["SIZE=1", "BODY=7BIT", "AUTH=<>", "SMTPUTF8", "RET=HDRS", "ENVID=x"])
def test_only_what_was_announced_may_be_used(parameter):
    _, parameters = parse_mail(f"FROM:<a@b.example> {parameter}")
    check_mail_parameters(parameters, announced=ANNOUNCED, size_limit=1000)
    [name] = parameters
    for announced in ((), ANNOUNCED - {MAIL_PARAMETERS[name]}):
        with pytest.raises(Refused) as caught:
            check_mail_parameters(parameters, announced=announced, size_limit=1000)
        assert str(caught.value.reply).startswith("555 5.5.4")


@pytest.mark.parametrize(
    ("text", "utf8", "want"),
    [
        ("NOTIFY=NEVER", False, None),
        ("notify=success,Failure,DELAY", False, None),
        ("NOTIFY=SUCCESS,SUCCESS", False, None),
        ("NOTIFY=NEVER,SUCCESS", False, "501 5.5.4"),
        ("NOTIFY=", False, "501 5.5.4"),
        ("NOTIFY", False, "501 5.5.4"),
        ("NOTIFY=SUCCESS,", False, "501 5.5.4"),
        ("NOTIFY=ALWAYS", False, "501 5.5.4"),
        ("NOTIFY=NEVER NOTIFY=NEVER", False, "501 5.5.4"),
        ("ORCPT=rfc822;a+2Bb@c.example", False, None),
        ("ORCPT=x400;/C+3Dde", False, None),
        ("ORCPT=rfc822;" + "a" * 493, False, None),
        ("ORCPT=rfc822;" + "a" * 494, False, "501 5.5.4"),
        ("ORCPT=rfc822;", False, "501 5.5.4"),
        ("ORCPT=a@b.example", False, "501 5.5.4"),
        ("ORCPT=rf+c;a", False, "501 5.5.4"),
        ("ORCPT=rfc822;a+zz", False, "501 5.5.4"),
        ("ORCPT=rfc822;a+0D+0AB:+20c", False, "501 5.5.4"),
        ("ORCPT=rfc822;\u00fc@b.example", True, "501 5.5.4"),
        ("ORCPT=utf-8;\u00fc@b.example", True, None),
        ("ORCPT=utf-8;\u00fc@b.example", False, "501 5.5.4"),
        (r"ORCPT=utf-8;\x{FC}@b.example", False, None),
        (r"ORCPT=utf-8;\x{fc}@b.example", False, "501 5.5.4"),
        ("ORCPT=utf-8;\udcff@b.example", True, "501 5.5.4"),
        ("RET=FULL", False, "555 5.5.4"),
        ("SIZE=1", False, "555 5.5.4"),
    ],
)
def test_recipient_parameters(text, utf8, want):
    argument = f"TO:<a@b.example> {text}".encode("utf-8", "surrogateescape").decode("latin-1")

    def parse(announced):
        _, parameters = parse_rcpt(argument, utf8=utf8)
        check_rcpt_parameters(parameters, announced=announced, utf8=utf8)

    if want is None:
        parse({"DSN"})
        want = "555"
        announced = set()
    else:
        announced = {"DSN"}
    with pytest.raises(Refused) as caught:
        parse(announced)
    assert str(caught.value.reply).startswith(want)


@pytest.mark.parametrize("mailbox", ["\u00fc@b.example", "a@b\u00fc.example", '"\u00fc \u65e5"@\u65e5\u672c.example'])
def test_other_than_ascii_with_smtputf8(mailbox):
    octets = mailbox.encode()
    wire = octets.decode("latin-1")
    want = Address.of(octets)
    assert parse_mail(f"FROM:<{wire}> SMTPUTF8") == (want, {"SMTPUTF8": ""})
    assert parse_rcpt(f"TO:<{wire}>", utf8=True) == (want, {})
    with pytest.raises(Refused) as caught:
        parse_rcpt("TO:<\xff@b.example>", utf8=True)
    assert caught.value.reply is paths.BAD_RECIPIENT


@pytest.mark.parametrize(
    ("argument", "want"),
    [
        ("0", (0, False)),
        ("1000 LAST", (1000, True)),
        ("10 last", (10, True)),
        ("9" * 20, (int("9" * 20), False)),
        ("", None),
        ("LAST", None),
        ("-1", None),
        ("1 2", None),
        ("1 LASTLY", None),
        ("1x", None),
        ("9" * 21, None),
        ("\xb2", None),
    ],
)
def test_chunks(argument, want):
    if want is None:
        with pytest.raises(Refused) as caught:
            parse_chunk(argument)
        assert caught.value.reply is paths.BDAT_SYNTAX
    else:
        assert parse_chunk(argument) == want
