<?php

function main(int $size): string
{
    $seed = 11;
    $checksum = 0;
    for ($round = 0; $round < $size; $round++) {
        $records = [];
        for ($i = 0; $i < 500; $i++) {
            $seed = ($seed * 1103 + 12345) % 65536;
            $records[] = ["name" => "host" . (1000 + $i), "score" => $seed % 50];
        }
        $sorted = $records;
        usort($sorted, function ($a, $b) {
            if ($a["score"] != $b["score"]) {
                return $a["score"] > $b["score"] ? -1 : 1;
            }
            return $a["name"] < $b["name"] ? -1 : 1;
        });
        $place = 0;
        foreach ($sorted as $record) {
            $place += 1;
            $checksum += $place * $record["score"] + (int) substr($record["name"], 4) * ($place % 7);
        }
        $checksum = $checksum % 1000003;
    }
    return "checksum $checksum";
}
