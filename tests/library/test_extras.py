"""The modules behind `extras://`: each loads, and does what its comments say."""

from __future__ import annotations

import base64
import hmac
import re
from pathlib import Path
from typing import Any

import pytest
from snippets import load, mistakes, output_of

from hsl.builtins import Chapter
from hsl.errors import CompileError
from hsl.loader import FileLoader, shipped_module
from hsl.run import Run
from hsl.values import Array

NOW = 1_700_000_000  # day 19675, 219 modulo 1024: `G3`


def with_module(name: str, text: str) -> str:
    """A script that begins with the module's text."""
    return f"{shipped_module(name).text}\n{text}"


def lines(name: str, text: str, **options: Any) -> list[str]:
    return output_of(with_module(name, text), **options)


@pytest.mark.parametrize("name", ["batv", "srs", "ulid"])
def test_modules_load_without_a_stage(name: str) -> None:
    assert mistakes(shipped_module(name).text) == []
    assert load(shipped_module(name).text).warnings == []


def test_modules_are_imported(tmp_path: Path) -> None:
    text = """
        import { srs_forward as forward, srs_reverse } from "extras://srs";
        import * as batv from "extras://batv";
        import { ulid } from "extras://ulid";
        echo srs_reverse(forward("u", "a.example"))["domain"];
        echo batv::batv_verify(batv::batv_sign("a@b", "k"), ["k"]);
        echo length(ulid());
    """
    written: list[bytes] = []
    Run(load(text, loader=FileLoader(tmp_path)), output=written.append).execute()
    assert written == [b"a.example\n", b"pass\n", b"26\n"]


# ---------------------------------------------------------------- rate


def test_rate_needs_the_function_of_the_stages() -> None:
    with pytest.raises(CompileError) as caught:
        load(shipped_module("rate").text)
    assert "rate()" in caught.value.errors[0].message


def test_rate_passes_everything_on() -> None:
    chapter = Chapter("Test")

    @chapter.function("rate")
    def rate(namespace: bytes, entry: bytes, count: float, interval: float, options: Array) -> float:
        """Return how many options there were."""
        assert (namespace, entry, count, interval) == (b"ns", b"entry", 3.0, 60.0)
        return float(len(options))

    text = 'echo rate("ns", "entry", 3, 60); echo rate("ns", "entry", 3, 60, ["sync" => false]);'
    assert lines("rate", text, chapters=[chapter]) == ["0", "1"]


# ---------------------------------------------------------------- ulid


def test_ulids_sort_by_time_and_differ() -> None:
    made = lines("ulid", "for ($i = 0; $i < 50; $i += 1) echo ulid();")
    assert len(set(made)) == 50
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", item) for item in made)
    times = [item[:10] for item in made]
    assert times == sorted(times)


def test_the_time_of_a_ulid() -> None:
    before, made, after = lines("ulid", "echo floor(time() * 1000); echo ulid(); echo floor(time() * 1000);")
    milliseconds = 0
    for digit in made[:10]:
        milliseconds = milliseconds * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(digit)
    assert int(before) <= milliseconds <= int(after)


# ---------------------------------------------------------------- srs


def srs_hash(secret: str, *parts: str, length: int = 4) -> str:
    digest = hmac.digest(secret.encode(), "".join(parts).lower().encode(), "sha1")
    return base64.b64encode(digest).decode()[:length]


def srs(text: str) -> list[str]:
    return lines("srs", f'$o = ["secret" => "s3", "time" => {NOW}];{text}')


def test_srs_forward() -> None:
    wanted = f"SRS0={srs_hash('s3', 'G3', 'Example.com', 'User')}=G3=Example.com=User"
    assert srs('echo srs_forward("User", "Example.com", $o);') == [wanted]


def test_srs_hash_length() -> None:
    wanted = srs_hash("", "G3", "example.com", "u", length=9)
    text = f'echo srs_forward("u", "example.com", ["hashlen" => 9, "time" => {NOW}]);'
    assert lines("srs", text) == [f"SRS0={wanted}=G3=example.com=u"]


def test_srs_of_the_next_forwarder_names_the_first_one() -> None:
    first = f"SRS0={srs_hash('s3', 'G3', 'a.example', 'u')}=G3=a.example=u"
    second = f"SRS1={srs_hash('s3', 'b.example', first[4:])}=b.example={first[4:]}"
    text = f"""
        $second = srs_forward("{first}", "b.example", $o);
        echo $second;
        echo srs_forward($second, "c.example", $o);
        echo srs_reverse($second, $o);
    """
    assert srs(text) == [second, second, f'["localpart"=>"{first}","domain"=>"b.example"]']


@pytest.mark.parametrize("localpart", ["u", "u=v=w", "SRS2=x", "srs", "", "user+tag"])
def test_srs_there_and_back(localpart: str) -> None:
    text = f'echo srs_reverse(srs_forward("{localpart}", "a.example", $o), $o);'
    assert srs(text) == [f'["localpart"=>"{localpart}","domain"=>"a.example"]']


def test_srs_may_change_its_case_on_the_way() -> None:
    text = 'echo srs_reverse(str_lower(srs_forward("u", "a.example", $o)), $o)["localpart"];'
    assert srs(text) == ["u"]


@pytest.mark.parametrize(
    ("days", "options", "valid"),
    [(0, "", True), (21, "", True), (22, "", False), (-1, "", False), (1023, "", False), (1024, "", True),
     (5, '"maxage" => 4', False), (5, '"maxage" => 5', True)],
)  # fmt: skip
def test_srs_age(days: int, options: str, valid: bool) -> None:
    text = f"""
        $p = $o;
        $p["time"] += {days} * 86400;
        $p += [{options}];
        echo srs_reverse(srs_forward("u", "a.example", $o), $p) !== none;
    """
    assert srs(text) == [str(valid).lower()]


@pytest.mark.parametrize(
    "localpart",
    [
        "user",
        "SRS0",
        "SRS0=",
        "SRS0=AAAA=G3=a.example=u",
        "SRS0=AAAA=G3=a.example",
        "SRS1=AAAA=b.example",
        "SRS1=AAAA=b.example==x",
        f"SRS0={srs_hash('other', 'G3', 'a.example', 'u')}=G3=a.example=u",
        f"SRS0={srs_hash('s3', 'G3', 'a.example', 'u')}=G3=a.example=v",
        f"SRS0={srs_hash('s3', '01', 'a.example', 'u')}=01=a.example=u",
        f"SRS0={srs_hash('s3', 'G', 'a.example', 'u')}=G=a.example=u",
    ],
)
def test_srs_refuses(localpart: str) -> None:
    assert srs(f'echo srs_reverse("{localpart}", $o);') == ["none"]


# ---------------------------------------------------------------- batv

TAGGED = re.compile(r"prvs=(([0-9])([0-9]{3}))([0-9a-f]{6})=(.*)")


def test_batv_sign() -> None:
    signed, day = lines("batv", 'echo batv_sign("me@a.example", "key", ["keyid" => 3]); echo floor(time() / 86400);')
    match = TAGGED.fullmatch(signed)
    assert match is not None
    assert match[2] == "3"
    assert int(match[3]) == (int(day) + 7) % 1000
    assert match[4] == hmac.digest(b"key", f"{match[1]}me@a.example".encode(), "sha1").hex()[:6]
    assert match[5] == "me@a.example"


def test_batv_days_have_three_digits() -> None:
    text = "echo batv_day(0); echo batv_day(7); echo batv_day(20042); echo batv_day(20999);"
    assert lines("batv", text) == ["000", "007", "042", "999"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('batv_verify(batv_sign("a@b", "k"), ["k"])', "pass"),
        ('batv_verify(str_replace("prvs", "PRVS", batv_sign("a@b", "k")), ["k"])', "pass"),
        ('batv_verify(batv_sign("a@b", "k", ["keyid" => 2]), [2 => "k"])', "pass"),
        ('batv_verify(batv_sign("a@b", "k", ["days" => 0]), ["k"])', "pass"),
        ('batv_verify(batv_sign("a@b", "k", ["days" => -1]), ["k"])', "expired"),
        ('batv_verify(batv_sign("a@b", "k", ["days" => 30]), ["k"])', "expired"),
        ('batv_verify(batv_sign("a@b", "k", ["days" => 30]), ["k"], ["days" => 30])', "pass"),
        ('batv_verify(batv_sign("a@b", "k"), ["other"])', "checksum"),
        ('batv_verify(str_replace("a@b", "c@b", batv_sign("a@b", "k")), ["k"])', "checksum"),
        ('batv_verify(batv_sign("a@b", "k", ["keyid" => 2]), ["k"])', "invalid"),
        ('batv_verify("prvs=12=a@b", ["k"])', "invalid"),
        ('batv_verify("a@b", ["k"])', "missing"),
        ('batv_strip(batv_sign("a=x@b", "k"))', "a=x@b"),
        ('batv_strip("a@b")', "a@b"),
        ('batv_strip("prvs=12=a@b")', "prvs=12=a@b"),
    ],
)
def test_batv(text: str, wanted: str) -> None:
    assert lines("batv", f"echo {text};") == [wanted]
