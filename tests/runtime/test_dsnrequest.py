"""What a sender asks about notifications: who is told of what, what goes with a copy, what is kept and written."""

import pytest

from hsl.runtime.dsnrequest import DSNRequest, original_recipient, pack, read_request, unpack, wants

EVENTS = ("SUCCESS", "FAILURE", "DELAY")


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        (None, {"FAILURE", "DELAY"}),
        ((), {"FAILURE", "DELAY"}),
        (("NEVER",), set()),
        (("SUCCESS",), {"SUCCESS"}),
        (("FAILURE", "DELAY"), {"FAILURE", "DELAY"}),
        (EVENTS, set(EVENTS)),
    ],
)
def test_who_is_told_of_what(notify, told):
    request = None if notify is None else DSNRequest(notify=notify)
    assert {event for event in EVENTS if wants(request, event)} == told


@pytest.mark.parametrize(
    ("notify", "copied"),
    [((), ()), (("NEVER",), ("NEVER",)), (("SUCCESS",), ("NEVER",)), (EVENTS, ("FAILURE", "DELAY"))],
)
def test_a_copy_tells_nobody_of_its_arrival(notify, copied):
    request = DSNRequest("FULL", "e", notify, "rfc822;a@b").for_copy()
    assert request == DSNRequest("FULL", "e", copied, "")
    assert not wants(request, "SUCCESS")


def test_what_was_read_is_passed_on_and_kept():
    sender, recipient = {"RET": "hdrs", "ENVID": "a+2Bb", "SIZE": "1"}, {"NOTIFY": "delay,SUCCESS", "ORCPT": "rfc822;x"}
    request = read_request(sender, recipient)
    assert request is not None
    assert request.sender_params == {"RET": "HDRS", "ENVID": "a+2Bb"}
    assert request.recipient_params == {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;x"}
    assert unpack(pack(request)) == request
    assert read_request({"SIZE": "1"}, {}) is None
    assert (pack(None), unpack("")) == ("", None)


@pytest.mark.parametrize(
    ("orcpt", "shown", "passed_on"),
    [
        ("rfc822;a+2Bb@c.example", "rfc822; a+b@c.example", "rfc822;a+2Bb@c.example"),
        ("X400;/C+3Dde/", "X400; /C=de/", "X400;/C+3Dde/"),
        ("utf-8;ü@b.example", r"utf-8; \x{FC}@b.example", r"utf-8;\x{FC}@b.example"),
        (r"utf-8;\x{1F600}@b.example", r"utf-8; \x{1F600}@b.example", r"utf-8;\x{1F600}@b.example"),
    ],
)
def test_the_original_recipient_of_a_report_and_of_the_next_hop(orcpt, shown, passed_on):
    request = read_request({}, {"ORCPT": orcpt})
    assert request is not None
    assert original_recipient(request) == shown
    assert request.recipient_params == {"ORCPT": passed_on}
    assert unpack(pack(request)) == request
