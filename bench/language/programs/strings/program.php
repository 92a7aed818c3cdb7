<?php

function main(int $size): string
{
    $text = "";
    $bytes = 0;
    $lines = 0;
    for ($i = 0; $i < $size; $i++) {
        $line = "id=" . $i;
        $line .= " from=<user$i@example.com>";
        for ($j = 0; $j < 3; $j++) {
            $line .= ",to" . $j . "=<r" . ($i % 100) . "@example.org>";
        }
        $line .= " status=";
        $line .= $i % 3 == 0 ? "deferred" : "sent";
        $text .= $line . "\n";
        $lines += 1;
        if ($lines == 200) {
            $bytes += strlen($text);
            $text = "";
            $lines = 0;
        }
    }
    $bytes += strlen($text);
    return "bytes $bytes last $line";
}
