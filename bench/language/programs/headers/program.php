<?php

const BLOCK =
    "Received: from mx.example.net (192.0.2.1); Tue, 3 Jan 2017 10:00:00 +0000\r\nFrom:  Ann <ann@example.com>\r\n"
    . "To: bob@example.org,\r\n\tcarol@example.org\r\nSUBJECT: a  subject that is\r\n folded twice\r\n over lines \r\n"
    . "Content-Type: multipart/mixed; boundary=xyz; charset=utf-8\r\nX-Spam: no\r\nReceived: by mail.example.com\r\n";

function parse($text)
{
    $lines = [];
    foreach (explode("\r\n", $text) as $line) {
        if ($line == "") {
            continue;
        }
        if ($line[0] == " " || $line[0] == "\t") {
            $lines[count($lines) - 1] .= " " . trim($line);
        } else {
            $lines[] = $line;
        }
    }
    $headers = [];
    foreach ($lines as $line) {
        $colon = strpos($line, ":");
        $name = strtolower(substr($line, 0, $colon));
        $values = [];
        foreach (explode(";", substr($line, $colon + 1)) as $part) {
            $values[] = trim($part);
        }
        if (!isset($headers[$name])) {
            $headers[$name] = [];
        }
        $headers[$name][] = $values;
    }
    return $headers;
}

function main(int $size): string
{
    $total = 0;
    for ($n = 0; $n < $size; $n++) {
        $headers = parse(BLOCK);
        foreach ($headers as $name => $entries) {
            $total += strlen($name) * count($entries);
            foreach ($entries as $values) {
                $total += strlen(implode("|", $values));
            }
        }
        $total += strlen($headers["content-type"][0][1]) + $n % 2;
    }
    return "total $total";
}
