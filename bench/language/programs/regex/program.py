import re

LOG = [
    "Jan  3 10:15:01 mx1 smtpd[8213]: from=<ann@example.com> to=<bob@example.org> status=sent delay=12",
    "Jan  3 10:15:02 mx1 smtpd[8213]: connect from unknown[192.0.2.17]",
    "Jan  3 10:15:04 mx2 smtpd[771]: from=<carol.c@mail.example.net> to=<dave@example.org> status=deferred delay=3600",
    "Jan  3 10:15:09 mx2 smtpd[771]: disconnect from client.example.net[198.51.100.4] commands=7",
]
CONNECT = re.compile(r"connect from [a-z.]+\[[0-9.]+\]")
DELIVERY = re.compile(r"from=<([^@>]*)@([^>]*)> to=<[^>]*> status=([a-z]+) delay=([0-9]+)")
NUMBER = re.compile(r"[0-9]+")


def main(size):
    connects = 0
    delays = 0
    letters = 0
    for _ in range(size):
        for line in LOG:
            if CONNECT.search(line):
                connects += 1
            found = DELIVERY.search(line)
            if found:
                delays += int(found[4])
                letters += len(found[1]) + len(found[2]) + len(found[3])
            letters += len(NUMBER.sub("#", line))
    return f"connects {connects} delays {delays} letters {letters}"
