<?php

const SESSION = [
    ["EHLO", "client.example.net"], ["AUTH", "PLAIN"], ["MAIL", "ann@example.com"], ["RCPT", "bob@example.org"],
    ["RCPT", "carol@example.org"], ["NOOP", ""], ["DATA", "3500"], ["VRFY", "postmaster"], ["RSET", ""],
    ["MAIL", ""], ["RCPT", "postmaster@example.org"], ["DATA", "120"], ["HELP", ""], ["QUIT", ""],
];

function reply($state, $recipients, $verb, $argument)
{
    switch ($verb) {
        case "HELO":
        case "EHLO":
            return [250, "greeted", 0];
        case "AUTH":
            return [$argument == "PLAIN" ? 235 : 504, $state, $recipients];
        case "MAIL":
            if ($state != "greeted") {
                return [503, $state, $recipients];
            }
            return [250, "mail", 0];
        case "RCPT":
            if ($state == "mail" || $state == "rcpt") {
                return [250, "rcpt", $recipients + 1];
            }
            return [503, $state, $recipients];
        case "DATA":
            if ($recipients == 0) {
                return [503, $state, 0];
            }
            return [$argument == "3500" ? 250 : 452, "greeted", 0];
        case "RSET":
            return [250, "greeted", 0];
        case "NOOP":
            return [250, $state, $recipients];
        case "VRFY":
            return [252, $state, $recipients];
        case "QUIT":
            return [221, "closed", 0];
        default:
            return [502, $state, $recipients];
    }
}

function main(int $size): string
{
    $total = 0;
    for ($n = 0; $n < $size; $n++) {
        $state = "connected";
        $recipients = 0;
        foreach (SESSION as $command) {
            $answer = reply($state, $recipients, $command[0], $command[1]);
            $total += $answer[0];
            $state = $answer[1];
            $recipients = $answer[2];
        }
        $total = ($total + strlen($state)) % 1000003;
    }
    return "total $total";
}
