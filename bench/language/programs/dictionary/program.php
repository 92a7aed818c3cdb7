<?php

function main(int $size): string
{
    $counts = [];
    $bytes = [];
    $seed = 7;
    $dropped = 0;
    for ($i = 0; $i < $size; $i++) {
        $seed = ($seed * 1103 + 12345) % 65536;
        $sender = "user" . ($seed % 3000) . "@example.com";
        if (isset($counts[$sender])) {
            $counts[$sender] += 1;
            $bytes[$sender]["total"] += $seed % 100;
        } else {
            $counts[$sender] = 1;
            $bytes[$sender] = ["total" => $seed % 100, "first" => $i];
        }
        if ($counts[$sender] > 40) {
            unset($counts[$sender]);
            $dropped += 1;
        }
    }
    $messages = 0;
    foreach ($counts as $sender => $count) {
        $messages += $count + strlen($sender);
    }
    $sum = 0;
    foreach ($bytes as $entry) {
        $sum += $entry["total"] + $entry["first"];
    }
    return "senders " . count($counts) . " messages $messages dropped $dropped sum $sum";
}
