HEADER = """"Smith, John" <john.smith@example.com>, ann@example.org (Ann (Annie) Lee),
 =?utf-8?q?B=C3=B6rje?= <b.j-1975@mail.example.net>; "x" y z 12 345 6789
"""


def is_word(c):
    return ("a" <= c <= "z") or ("A" <= c <= "Z") or ("0" <= c <= "9")


def scan(text):
    words = 0
    letters = 0
    quoted = 0
    addresses = 0
    deepest = 0
    length = len(text)
    i = 0
    while i < length:
        c = text[i]
        if is_word(c):
            start = i
            while i < length and is_word(text[i]):
                i += 1
            word = text[start:i]
            words += 1
            letters += len(word)
        elif c == '"':
            end = text.find('"', i + 1)
            quoted += end - i - 1
            i = end + 1
        elif c == "<":
            end = text.find(">", i + 1)
            if text[i + 1 : end].find("@") >= 0:
                addresses += 1
            i = end + 1
        elif c == "(":
            depth = 1
            i += 1
            while depth > 0:
                c = text[i]
                if c == "(":
                    depth += 1
                elif c == ")":
                    depth -= 1
                if depth > deepest:
                    deepest = depth
                i += 1
        else:
            i += 1
    return words + letters * 3 + quoted * 5 + addresses * 7 + deepest * 11


def main(size):
    total = 0
    for n in range(size):
        total += scan(HEADER) + n % 3
    return f"total {total}"
