"""Writes a DATA script of so many lines as an administrator of a mail service would: always the same for a length.

Settings, functions of eight kinds with their own names, numbers and patterns, then the policy that calls them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

CUSTOMERS = [
    "acme", "borealis", "cedar", "delta", "ember", "fjord", "garnet", "harbor",
    "indigo", "juniper", "krypton", "lumen", "maple", "nimbus",
]  # fmt: skip
TOPICS = [
    "bulk", "spam", "phish", "invoice", "login", "bounce", "relay", "forward",
    "notice", "report", "survey", "signup", "alert", "digest",
]  # fmt: skip
HEADERS = [
    "X-Mailer", "X-Priority", "Precedence", "List-Id", "Return-Path", "Reply-To", "X-Campaign", "X-Origin",
    "Importance",
]  # fmt: skip
Draw = random.Random
Block = Callable[[Draw, str], list[str]]


def admin_script(lines: int) -> str:
    """A script of exactly so many lines, at least 100."""
    draw = Draw(20191201)
    settings, functions, calls = ["// Policy of the outbound gateways. Generated."], [], ["$score = 0;"]
    number = 0
    while True:
        number += 1
        name = f"{draw.choice(TOPICS)}_{draw.choice(CUSTOMERS)}_{number}"
        block = BLOCKS[number % len(BLOCKS)](draw, name)
        policy = call(draw, name, number)
        if len(settings) + len(functions) + len(calls) + len(block) + len(policy) + 2 > lines:
            break
        settings.append(setting(draw, name))
        functions += ["", *block]
        calls += policy
    filler = [f"// {name}" for name in range(lines - len(settings) - len(functions) - len(calls))]
    return "\n".join(settings + functions + calls + filler) + "\n"


def setting(draw: Draw, name: str) -> str:
    count, interval = draw.randrange(20, 900), draw.choice((60, 300, 3600, 28800))
    return f'$limit_{name} = ["count" => {count}, "interval" => {interval}, "tags" => ["{name[:4]}", "{count}"]];'


def call(draw: Draw, name: str, number: int) -> list[str]:
    """How the policy uses a function."""
    if number % 3:
        return [f"$score += check_{name}($senderdomain, $limit_{name});"]
    return [
        f"if (check_{name}($sender, $limit_{name}) > {draw.randrange(1, 9)} and ScanSA() > {draw.randrange(2, 9)})",
        f'\tDefer("{name.replace("_", " ")}: try later, $messageid");',
    ]


def rate_block(draw: Draw, name: str) -> list[str]:
    return f"""\
// At most so many messages of one {draw.choice(TOPICS)} sender
function check_{name}($domain, $limit) {{
	if ($domain == "" or domain_includes($domain, "{draw.choice(CUSTOMERS)}.example"))
		return 0;
	if (rate("{name}", $domain, $limit["count"], $limit["interval"]) == false) {{
		echo "{name}: $domain is over its limit of " . $limit["count"];
		return {draw.randrange(2, 9)};
	}}
	return 0;
}}""".split("\n")


def header_block(draw: Draw, name: str) -> list[str]:
    header, other = draw.sample(HEADERS, 2)
    return f"""\
function check_{name}($sender, $limit) {{
	$value = GetHeader("{header}");
	if (!isset($value) or $value == "")
		return GetHeader("{other}") ? 1 : 0;
	$value = strtolower(trim($value));
	switch ($value) {{
		case "{draw.choice(TOPICS)}":
		case "{draw.choice(CUSTOMERS)}":
			return {draw.randrange(1, 5)};
		case "list":
			if (strpos($sender, "-request@") >= 0)
				return 0;
			break;
		default:
			if (strlen($value) > {draw.randrange(60, 200)})
				return 2;
	}}
	return $value =~ "/^{draw.choice(TOPICS)}[-_ ]?[0-9]{{{draw.randrange(2, 6)},}}$/i" ? {draw.randrange(2, 7)} : 1;
}}""".split("\n")


def list_block(draw: Draw, name: str) -> list[str]:
    names = draw.sample(CUSTOMERS, 4)
    return f"""\
function check_{name}($domain, $limit) {{
	$known = [
		"{names[0]}.example" => {draw.randrange(9)},
		"{names[1]}.example.net" => {draw.randrange(9)}, // until the contract ends
		"mail.{names[2]}.example" => {draw.randrange(9)},
		"{names[3]}.example.org" => -{draw.randrange(1, 5)}
	];
	if (isset($known[$domain]))
		return $known[$domain];
	$best = 0;
	foreach ($known as $parent => $points) {{
		if (!domain_includes($domain, $parent))
			continue;
		if ($points > $best)
			$best = $points;
	}}
	return count($limit["tags"]) > {draw.randrange(3)} ? $best : $best + 1;
}}""".split("\n")


def parameter_block(draw: Draw, name: str) -> list[str]:
    return f"""\
/* {name}: parameters look like a={draw.randrange(99)}; b="x y" */
function check_{name}($text, $limit) {{
	$points = 0;
	foreach (explode("{draw.choice(";,|")}", $text) as $i => $part) {{
		$part = trim($part);
		if ($part == "")
			continue;
		$equals = strpos($part, "=");
		if ($equals < 0) {{
			$points += {draw.randrange(1, 4)};
		}} else {{
			$key = strtolower(substr($part, 0, $equals));
			$value = $part[$equals + 1:];
			if ($key == "{draw.choice(TOPICS)}" and number($value) >= $limit["count"] / {draw.randrange(2, 9)})
				$points = $points * 2 + $i;
		}}
	}}
	return $points;
}}""".split("\n")


def scan_block(draw: Draw, name: str) -> list[str]:
    return f"""\
function check_{name}($text, $limit) {{
	$digits = 0;
	$dots = 0;
	$length = strlen($text);
	for ($i = 0; $i < $length; $i++) {{
		$c = $text[$i];
		if ($c >= "0" and $c <= "9")
			$digits += 1;
		else if ($c == "." or $c == "{draw.choice("-_+=")}")
			$dots++;
	}}
	if ($length == 0)
		return {draw.randrange(1, 4)};
	return round(100 * ($digits + $dots) / $length) > {draw.randrange(20, 70)} ? {draw.randrange(1, 8)} : 0;
}}""".split("\n")


def callback_block(draw: Draw, name: str) -> list[str]:
    return f"""\
function check_{name}($domain, $limit) {{
	$labels = explode(".", $domain);
	$labels = array_filter(function ($label) {{ return strlen($label) > {draw.randrange(2, 6)}; }}, $labels);
	$lengths = array_map(function ($label) {{
		return strlen($label) * {draw.randrange(2, 5)};
	}}, $labels);
	$total = array_reduce(function ($sum, $n) {{ return $sum + $n; }}, $lengths, 0);
	if (in_array("{draw.choice(CUSTOMERS)}", $labels))
		$total = $total - {draw.randrange(5, 20)};
	return $total > $limit["count"] ? {draw.randrange(1, 6)} : 0;
}}""".split("\n")


def mark_block(draw: Draw, name: str) -> list[str]:
    header = draw.choice(HEADERS)
    return f"""\
// Leave a mark for the pre-delivery script
function check_{name}($sender, $limit) {{
	$mark = "v={draw.randrange(1, 4)}; by={name}; sender=$sender";
	$mark .= "; limit=" . $limit["count"] . "/" . $limit["interval"];
	$mark .= "; sum=" . md5($mark)[0:{draw.randrange(6, 16)}];
	if (GetHeader("{header}") == $mark)
		return 1;
	SetHeader("{header}", $mark);
	SetMetaData(["{name}" => "yes", "{draw.choice(TOPICS)}" => string($limit["interval"])]);
	return 0;
}}""".split("\n")


def retry_block(draw: Draw, name: str) -> list[str]:
    return f"""\
function check_{name}($key, $limit) {{
	$tries = 0;
	while ($tries < {draw.randrange(2, 6)}) {{
		$slot = $key . ":" . $tries;
		$used = rate("{name}", $slot, 0, {draw.choice((60, 600, 3600))});
		if ($used < $limit["count"]) {{
			rate("{name}", $slot, $limit["count"], $limit["interval"]);
			return $tries;
		}}
		$tries += 1;
	}}
	return -1;
}}""".split("\n")


BLOCKS: tuple[Block, ...] = (
    rate_block,
    header_block,
    list_block,
    parameter_block,
    scan_block,
    callback_block,
    mark_block,
    retry_block,
)
