"""Every function of the reference's chapters is there, under today's name and the older ones, and documented."""

from __future__ import annotations

import pytest

from hsl.builtins import Chapter
from hsl.library import CHAPTERS, core_registry

OF_2015 = """
array_keys array_reverse count explode implode in_array range
hmac_md5 hmac_sha1 md5 sha1
array number string is_array is_number is_string
executiontime rand sleep strftime time timelocal uptime
is_subdomain in_network
base64_encode base64_decode json_encode json_decode
abs ceil floor log pow round sqrt
serial gethostname uuid syslog
chr str_repeat str_replace strlen strpos strrpos strtolower strtoupper substr trim
pcre_match pcre_match_all pcre_replace
"""

OF_2019 = """
array_every array_filter array_find array_includes array_join array_keys array_map array_range array_reduce
array_reverse array_sort
hmac_sha2 sha2 hash random_bytes random_number
length boolean is_boolean is_function is_object
strptime domain_includes inet_includes inet_ntop inet_pton inet_reverse
ord str_find str_rfind str_lower str_upper str_slice str_split str_strip pcre_quote
csv_decode pack unpack
memory_add memory_dec memory_delete memory_exists memory_fetch memory_inc memory_store memory_update
"""

ALIASES = {
    "count": "length",
    "strlen": "length",
    "strpos": "str_find",
    "strrpos": "str_rfind",
    "substr": "str_slice",
    "strtolower": "str_lower",
    "strtoupper": "str_upper",
    "trim": "str_strip",
    "rand": "random_number",
    "is_subdomain": "domain_includes",
    "in_network": "inet_includes",
    "GetAddressList": "header_addresslist_extract",
}


@pytest.mark.parametrize("name", [*OF_2015.split(), *OF_2019.split()])
def test_the_function_exists(name: str) -> None:
    assert core_registry().get(name) is not None


def test_older_names_lead_to_todays() -> None:
    assert core_registry().current == ALIASES


@pytest.mark.parametrize("builtin", core_registry().unique(), ids=lambda builtin: builtin.name)
def test_the_documentation_is_one_sentence_first(builtin: object) -> None:
    summary = builtin.summary  # type: ignore[attr-defined]
    assert summary.endswith(".")
    assert len(summary) <= 120


def test_chapters_have_the_references_titles() -> None:
    assert list(dict.fromkeys(chapter.title for chapter in CHAPTERS)) == [
        "Array",
        "Cryptographic",
        "Data types",
        "Date and time",
        "DNS",
        "Encodings and JSON",
        "Exception",
        "Mathematical",
        "Misc",
        "String",
        "Regular expression",
        "Shared memory",
    ]


def test_a_hosts_chapters_join_by_stage() -> None:
    chapter = Chapter("Mail")

    @chapter.function("OnlyData", stages=("data",))
    def only_data() -> None:
        """Do nothing."""

    assert core_registry([chapter], "data").get("OnlyData") is not None
    assert core_registry([chapter], "helo").get("OnlyData") is None


def test_a_name_declared_twice_is_refused() -> None:
    chapter = Chapter("Mail")

    @chapter.function("strlen")
    def strlen() -> None:
        """Do nothing."""

    with pytest.raises(ValueError, match="strlen is declared twice"):
        core_registry([chapter])
