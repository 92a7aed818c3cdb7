<?php

const HEADER = <<<'END'
"Smith, John" <john.smith@example.com>, ann@example.org (Ann (Annie) Lee),
 =?utf-8?q?B=C3=B6rje?= <b.j-1975@mail.example.net>; "x" y z 12 345 6789

END;

function is_word($c)
{
    return ($c >= "a" && $c <= "z") || ($c >= "A" && $c <= "Z") || ($c >= "0" && $c <= "9");
}

function scan($text)
{
    $words = 0;
    $letters = 0;
    $quoted = 0;
    $addresses = 0;
    $deepest = 0;
    $length = strlen($text);
    $i = 0;
    while ($i < $length) {
        $c = $text[$i];
        if (is_word($c)) {
            $start = $i;
            while ($i < $length && is_word($text[$i])) {
                $i += 1;
            }
            $word = substr($text, $start, $i - $start);
            $words += 1;
            $letters += strlen($word);
        } elseif ($c == '"') {
            $end = strpos($text, '"', $i + 1);
            $quoted += $end - $i - 1;
            $i = $end + 1;
        } elseif ($c == "<") {
            $end = strpos($text, ">", $i + 1);
            if (strpos(substr($text, $i + 1, $end - $i - 1), "@") !== false) {
                $addresses += 1;
            }
            $i = $end + 1;
        } elseif ($c == "(") {
            $depth = 1;
            $i += 1;
            while ($depth > 0) {
                $c = $text[$i];
                if ($c == "(") {
                    $depth += 1;
                } elseif ($c == ")") {
                    $depth -= 1;
                }
                if ($depth > $deepest) {
                    $deepest = $depth;
                }
                $i += 1;
            }
        } else {
            $i += 1;
        }
    }
    return $words + $letters * 3 + $quoted * 5 + $addresses * 7 + $deepest * 11;
}

function main(int $size): string
{
    $total = 0;
    for ($n = 0; $n < $size; $n++) {
        $total += scan(HEADER) + $n % 3;
    }
    return "total $total";
}
