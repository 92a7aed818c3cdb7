<?php

const LOG = [
    "Jan  3 10:15:01 mx1 smtpd[8213]: from=<ann@example.com> to=<bob@example.org> status=sent delay=12",
    "Jan  3 10:15:02 mx1 smtpd[8213]: connect from unknown[192.0.2.17]",
    "Jan  3 10:15:04 mx2 smtpd[771]: from=<carol.c@mail.example.net> to=<dave@example.org> status=deferred delay=3600",
    "Jan  3 10:15:09 mx2 smtpd[771]: disconnect from client.example.net[198.51.100.4] commands=7",
];

function main(int $size): string
{
    $connects = 0;
    $delays = 0;
    $letters = 0;
    for ($n = 0; $n < $size; $n++) {
        foreach (LOG as $line) {
            if (preg_match('/connect from [a-z.]+\[[0-9.]+\]/', $line)) {
                $connects += 1;
            }
            $pattern = '/from=<([^@>]*)@([^>]*)> to=<[^>]*> status=([a-z]+) delay=([0-9]+)/';
            if (preg_match($pattern, $line, $found)) {
                $delays += (int) $found[4];
                $letters += strlen($found[1]) + strlen($found[2]) + strlen($found[3]);
            }
            $letters += strlen(preg_replace('/[0-9]+/', "#", $line));
        }
    }
    return "connects $connects delays $delays letters $letters";
}
